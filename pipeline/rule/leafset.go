package rule

import (
	"cmp"
	"maps"
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// LeafSet records what many rules need, each once, at a cost that doesn't grow with rules that don't listen to the
// event, nor with those that listen to the same event with another value of a property. One stage records one set:
// two sets with rules of the same kind would count an event twice. It never changes and is safe for concurrent use
// on different profiles.
type LeafSet struct {
	byEvent map[string]*listeners
	byID    map[uint64]*Leaf
	kinds   [2]bool // which kinds of IDs, by their lowest bit, belong to this set
}

// listeners are the leaves of one event.
type listeners struct {
	any   []*Leaf
	keyed []keyed // by property, then by its value: those whose filter wants a string
}

type keyed struct {
	path    string
	byValue map[string][]*Leaf
}

// NewLeafSet merges the leaves of the rules: equal ones become one that keeps what the highest threshold needs.
func NewLeafSet(rules ...*Rule) *LeafSet {
	s := &LeafSet{byEvent: map[string]*listeners{}, byID: map[uint64]*Leaf{}}
	for _, r := range rules {
		s.kinds[r.kind] = true
		for _, l := range r.leaves {
			if known := s.byID[l.ID]; known == nil || known.keep < l.keep {
				s.byID[l.ID] = l
			}
		}
	}
	for _, l := range s.Leaves() {
		in := s.byEvent[l.Event]
		if in == nil {
			in = &listeners{}
			s.byEvent[l.Event] = in
		}
		in.add(l)
	}
	return s
}

func (in *listeners) add(l *Leaf) {
	i := slices.IndexFunc(l.filter, func(c condition) bool {
		return c.test.op == is && !c.negated && !slices.ContainsFunc(c.test.want, func(c constant) bool { return c.kind != aString })
	})
	if i < 0 {
		in.any = append(in.any, l)
		return
	}
	path := l.filter[i].path
	k := slices.IndexFunc(in.keyed, func(k keyed) bool { return k.path == path })
	if k < 0 {
		k = len(in.keyed)
		in.keyed = append(in.keyed, keyed{path: path, byValue: map[string][]*Leaf{}})
	}
	for _, want := range l.filter[i].test.want {
		if list := in.keyed[k].byValue[want.text]; !slices.Contains(list, l) {
			in.keyed[k].byValue[want.text] = append(list, l)
		}
	}
}

// each calls visit for every leaf that the event counts for.
func (in *listeners) each(e *event.Event, visit func(*Leaf)) {
	for _, l := range in.any {
		if l.passes(e) {
			visit(l)
		}
	}
	for i := range in.keyed {
		text, ok := textOf(e.Properties.Get(in.keyed[i].path))
		if !ok {
			continue
		}
		for _, l := range in.keyed[i].byValue[string(text)] {
			if len(l.filter) == 1 || l.passes(e) { // one was the key
				visit(l)
			}
		}
	}
}

// Leaves are the merged leaves, sorted by ID.
func (s *LeafSet) Leaves() []*Leaf {
	return slices.SortedFunc(maps.Values(s.byID), func(a, b *Leaf) int { return cmp.Compare(a.ID, b.ID) })
}

// MaxBytes is what all the leaves take at most in a stored profile.
func (s *LeafSet) MaxBytes() int {
	n := 0
	for _, l := range s.byID {
		n += l.MaxBytes()
	}
	return n
}

// Record keeps what each leaf that the event matches needs of it. Call it once per event, with p.Now set.
func (s *LeafSet) Record(p *profile.Profile, e *event.Event) {
	if in := s.byEvent[e.CountName()]; in != nil {
		in.each(e, func(l *Leaf) { l.Record(p, e) })
	}
}

// Expire drops what this set's leaves keep and that can no longer matter at p.Now, also where nothing happened
// since. Its cost grows with what the profile holds only.
func (s *LeafSet) Expire(p *profile.Profile) {
	for id, list := range p.Windows {
		l := s.byID[id]
		if l == nil {
			continue
		}
		if kept := l.trim(list, p.Now); len(kept) == 0 {
			delete(p.Windows, id)
		} else if len(kept) < len(list) {
			p.Windows[id] = kept
		}
	}
	for id, k := range p.Kept {
		if l := s.byID[id]; l != nil && !l.settle(k, p.Now) {
			delete(p.Kept, id)
		}
	}
}

// Forget drops what leaves kept that no rule asks for any more, of the kind of rules in this set: call it
// when the definitions have changed. An empty set forgets nothing, since it doesn't know its kind.
func (s *LeafSet) Forget(p *profile.Profile) {
	gone := func(id uint64) bool { return s.kinds[id&1] && s.byID[id] == nil }
	for id := range p.Windows {
		if gone(id) {
			delete(p.Windows, id)
		}
	}
	for id := range p.Kept {
		if gone(id) {
			delete(p.Kept, id)
		}
	}
}
