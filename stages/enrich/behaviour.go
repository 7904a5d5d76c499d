package enrich

import (
	"bytes"

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

func keepCount(p *profile.Profile, e *event.Event, asked map[string]bool) {
	name := e.CountName()
	if name == "" {
		return
	}
	if p.Counts == nil {
		p.Counts = map[string]uint64{}
	}
	if room(p.Counts, name, asked) {
		p.Counts[name]++
	}
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
		if room(p.Traits, name, nil) {
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
		if room(p.Consents, channel, nil) {
			p.Consents[channel] = profile.Consent{Granted: granted, At: e.Occurred}
		}
	}
}

// room tells whether name may be kept in m, and makes room for it. Beside the asked names, a full map keeps
// those that are first in byte order: a name once dropped could never have stayed, so what is kept is exact in
// any order of arrival.
func room[V any](m map[string]V, name string, asked map[string]bool) bool {
	if _, ok := m[name]; ok || asked[name] {
		return true
	}
	if len(name) > maxNameSize {
		return false
	}
	if len(m) < profile.MaxNames {
		return true
	}
	others, last := 0, ""
	for known := range m {
		if !asked[known] {
			others, last = others+1, max(last, known)
		}
	}
	if others < profile.MaxNames {
		return true
	}
	if name > last {
		return false
	}
	delete(m, last)
	return true
}
