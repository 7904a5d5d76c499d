package rule

import (
	"cmp"
	"maps"
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// LeafSet records the times that many rules need, each once, at a cost that doesn't grow with rules that don't
// listen to the event. One stage records one set: two sets with rules of the same kind would count an event
// twice. It never changes and is safe for concurrent use on different profiles.
type LeafSet struct {
	byEvent map[string][]*Leaf
	byID    map[uint64]*Leaf
	kinds   [2]bool // which kinds of IDs, by their lowest bit, belong to this set
}

// NewLeafSet merges the leaves of the rules: equal ones become one that keeps what the highest threshold needs.
func NewLeafSet(rules ...*Rule) *LeafSet {
	s := &LeafSet{byEvent: map[string][]*Leaf{}, byID: map[uint64]*Leaf{}}
	for _, r := range rules {
		s.kinds[r.kind] = true
		for _, l := range r.leaves {
			if known := s.byID[l.ID]; known == nil || known.keep < l.keep {
				s.byID[l.ID] = l
			}
		}
	}
	for _, l := range s.Leaves() {
		s.byEvent[l.Event] = append(s.byEvent[l.Event], l)
	}
	return s
}

// Leaves are the merged leaves, sorted by ID.
func (s *LeafSet) Leaves() []*Leaf {
	return slices.SortedFunc(maps.Values(s.byID), func(a, b *Leaf) int { return cmp.Compare(a.ID, b.ID) })
}

// Record keeps the event's `occurred` for each leaf that it matches. Call it once per event, with p.Now set.
func (s *LeafSet) Record(p *profile.Profile, e *event.Event) {
	for _, l := range s.byEvent[e.CountName()] {
		if l.passes(e) {
			l.Record(p, e.Occurred)
		}
	}
}

// Expire drops the times of this set's leaves that can no longer matter at p.Now, also where nothing happened
// since. Its cost grows with what the profile holds only.
func (s *LeafSet) Expire(p *profile.Profile) {
	for id, times := range p.Windows {
		l := s.byID[id]
		if l == nil {
			continue
		}
		if kept := l.trim(times, p.Now); len(kept) == 0 {
			delete(p.Windows, id)
		} else if len(kept) < len(times) {
			p.Windows[id] = kept
		}
	}
}

// Forget drops the times of leaves that no rule asks for any more, of the kind of rules in this set: call it
// when the definitions have changed. An empty set forgets nothing, since it doesn't know its kind.
func (s *LeafSet) Forget(p *profile.Profile) {
	for id := range p.Windows {
		if s.kinds[id&1] && s.byID[id] == nil {
			delete(p.Windows, id)
		}
	}
}
