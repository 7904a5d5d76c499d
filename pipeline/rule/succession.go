package rule

import (
	"slices"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Succession is how a set of leaves takes the place of another one, of the same kind: what the two have in common it
// inherits, for the rest the past has to be read back. It never changes and is safe for concurrent use on different
// profiles.
type Succession struct {
	all    *LeafSet
	lacked *LeafSet // leaves that the set before doesn't have, or keeps fewer events of
}

// After says what the set lacks when it follows another one.
func (s *LeafSet) After(before *LeafSet) *Succession {
	lacked := &LeafSet{byEvent: map[string]*listeners{}, byID: map[uint64]*Leaf{}, kinds: s.kinds}
	for _, l := range s.Leaves() {
		if known := before.byID[l.ID]; known != nil && known.keep >= l.keep {
			continue
		}
		lacked.byID[l.ID] = l
		in := lacked.byEvent[l.Event]
		if in == nil {
			in = &listeners{}
			lacked.byEvent[l.Event] = in
		}
		in.add(l)
	}
	return &Succession{all: s, lacked: lacked}
}

// Lacked are the leaves for which the past has to be read back, sorted by ID.
func (s *Succession) Lacked() []*Leaf { return s.lacked.Leaves() }

// Record keeps what every leaf needs of an event.
func (s *Succession) Record(p *profile.Profile, e *event.Event) { s.all.Record(p, e) }

// RecordLacked keeps what the leaves that lack the past need of an event.
func (s *Succession) RecordLacked(p *profile.Profile, e *event.Event) { s.lacked.Record(p, e) }

// Expire drops what no longer matters at p.Now.
func (s *Succession) Expire(p *profile.Profile) { s.all.Expire(p) }

// Inherit copies what the profile keeps for the leaves that the two sets have in common.
func (s *Succession) Inherit(to, from *profile.Profile) {
	for id, times := range from.Windows {
		if s.inherits(id) {
			if to.Windows == nil {
				to.Windows = map[uint64][]event.Instant{}
			}
			to.Windows[id] = slices.Clone(times)
		}
	}
	for id, k := range from.Kept {
		if s.inherits(id) {
			if to.Kept == nil {
				to.Kept = map[uint64]*profile.Kept{}
			}
			to.Kept[id] = &profile.Kept{Entries: slices.Clone(k.Entries), Count: k.Count, Sum: k.Sum}
		}
	}
}

func (s *Succession) inherits(id uint64) bool {
	return s.all.byID[id] != nil && s.lacked.byID[id] == nil
}

// Wants tells whether an event of the past counts for a leaf that lacks it, at now.
func (s *Succession) Wants(e *event.Event, now event.Instant) bool {
	in := s.lacked.byEvent[e.CountName()]
	if in == nil {
		return false
	}
	wanted := false
	in.each(e, func(l *Leaf) { wanted = wanted || l.window.admits(e.Occurred) && !l.window.gone(e.Occurred, now) })
	return wanted
}

// Asks tells whether a leaf that lacks the past looks at the property of events of that name.
func (s *Succession) Asks(name, property string) bool {
	in := s.lacked.byEvent[name]
	if in == nil {
		return false
	}
	for _, l := range s.lacked.byID {
		if l.Event == name && (within(l.property, property) || slices.ContainsFunc(l.filter, func(c condition) bool { return within(c.path, property) })) {
			return true
		}
	}
	return false
}

// within tells whether a path is the property, or begins with it.
func within(path, property string) bool {
	return path == property || strings.HasPrefix(path, property) && path[len(property)] == '.'
}

// Reach is the earliest instant at which what occurred may still count at now for the leaf; ok is false where that is
// all time.
func (l *Leaf) Reach(now event.Instant) (since event.Instant, ok bool) {
	if l.window.kind == dates {
		return l.window.from, true
	}
	h := l.window.horizon()
	if h == never {
		return 0, false
	}
	return now - h, true
}

// Moves tells whether the time that counts passes on with the clock: neither fixed dates nor all time.
func (l *Leaf) Moves() bool { return l.window.horizon() != never }

// String is the leaf as it is asked for, for people.
func (l *Leaf) String() string {
	var b strings.Builder
	b.WriteString(l.Event)
	if len(l.filter) > 0 {
		b.WriteString(" ")
		writeFilter(&b, l.filter)
	}
	if w := l.window.String(); w != "" {
		b.WriteString(", " + w)
	} else {
		b.WriteString(", all time")
	}
	return b.String()
}
