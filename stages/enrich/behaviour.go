package enrich

import (
	"bytes"
	"slices"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

const (
	// MaxTraitSize bounds the JSON text of one trait that is kept, in bytes.
	MaxTraitSize = 1 << 10
	// maxNameSize bounds the names of events, traits and channels that are kept, in bytes.
	maxNameSize = 256
)

func keepSpan(p *profile.Profile, occurred event.Instant) {
	if p.First == 0 || occurred < p.First {
		p.First = occurred
	}
	p.Last = max(p.Last, occurred)
}

// keepActivity counts the event under its name. Of too many names the first in byte order stay, beside the asked ones:
// see room.
func (st *Stage) keepActivity(p *profile.Profile, e *event.Event, amount event.Money) {
	name := e.CountName()
	if name == "" {
		return
	}
	if p.Count(name) == 0 && !st.asked[name] {
		if len(name) > maxNameSize {
			return
		}
		if last, full := st.lastOther(p); full && name > last {
			return
		} else if full {
			st.trimActivities(p, profile.MaxNames-1)
		}
	}
	p.Happens(name).At(e.Occurred, amount)
}

// boundActivities lets names go where a merge, which doesn't know who is asked for, has brought too many together.
func (st *Stage) boundActivities(s *pipeline.Step) {
	p := s.Profile
	if len(p.Activities) <= profile.MaxNames {
		return
	}
	if s.Loser != nil { // a later stage asks what the winner did before, whose names these may be
		p.Activities = slices.Clone(p.Activities)
	}
	st.trimActivities(p, profile.MaxNames)
}

// lastOther is the last name in byte order that nobody asks for, and whether there is no room for one more.
func (st *Stage) lastOther(p *profile.Profile) (last string, full bool) {
	if len(p.Activities) < profile.MaxNames {
		return "", false
	}
	others := 0
	for i := range p.Activities {
		if name := p.Activities[i].Name; !st.asked[name] {
			others, last = others+1, name
		}
	}
	return last, others >= profile.MaxNames
}

// trimActivities lets the last names go, so that at most so many stay beside the asked ones.
func (st *Stage) trimActivities(p *profile.Profile, most int) {
	others := 0
	p.Activities = slices.DeleteFunc(p.Activities, func(a profile.Activity) bool {
		if st.asked[a.Name] {
			return false
		}
		others++
		return others > most
	})
}

func keepTraits(p *profile.Profile, e *event.Event) {
	e.Traits.Fields(func(name string, v event.Value) bool {
		said := profile.Trait{Value: event.Object(v.Raw()), At: e.Occurred}
		if len(said.Value) > MaxTraitSize {
			said.Value = event.Object("null")
		}
		known, ok := p.Traits[name]
		if ok && (known.At > said.At || known.At == said.At && bytes.Compare(known.Value, said.Value) >= 0) {
			return true
		}
		if p.Traits == nil {
			p.Traits = map[string]profile.Trait{}
		}
		if room(p.Traits, name) {
			said.Value = bytes.Clone(said.Value) // not to hold on to the whole event
			p.Traits[name] = said
		}
		return true
	})
}

func keepConsents(p *profile.Profile, e *event.Event) {
	for channel, granted := range e.Consent {
		known, ok := p.Consents[channel]
		if ok && (known.At > e.Occurred || known.At == e.Occurred && !known.Granted) {
			continue
		}
		if p.Consents == nil {
			p.Consents = map[string]profile.Consent{}
		}
		if room(p.Consents, channel) {
			p.Consents[channel] = profile.Consent{Granted: granted, At: e.Occurred}
		}
	}
}

// room tells whether name may be kept in m, and makes room for it. A full map keeps the names that are first in byte
// order: a name once dropped could never have stayed, so what is kept is exact in any order of arrival.
func room[V any](m map[string]V, name string) bool {
	if _, ok := m[name]; ok {
		return true
	}
	if len(name) > maxNameSize {
		return false
	}
	if len(m) < profile.MaxNames {
		return true
	}
	last := ""
	for known := range m {
		last = max(last, known)
	}
	if name > last {
		return false
	}
	delete(m, last)
	return true
}
