package rule

import (
	"cmp"
	"slices"

	"attune/pipeline/event"
)

// quick is an atom in little space. A step that asks a hundred rules out of ten thousand waits mostly for memory, so the
// frequent kinds of atoms are kept in one list, in a fraction of what an atom takes.
type quick struct {
	kind   quickKind
	op     testOp
	trait  int32
	n      int32 // at least so many; the number of the word
	limit  float64
	leaf   uint64
	length event.Instant
}

type quickKind uint8

const (
	inFull    quickKind = iota // see the atom
	word                       // the trait is the set's n-th word
	inOrder                    // the trait is a number in an order with the limit
	inRolling                  // the leaf's window, which moves with the clock, holds n events or more
)

func (q *quick) eval(s *Set, id int, v *view) (bool, event.Instant) {
	switch q.kind {
	case word:
		return v.memo.trait(q.trait, v.p).word == q.n, 0
	case inOrder:
		t := v.memo.trait(q.trait, v.p)
		return t.isNumber && inOrderWith(q.op, t.number, q.limit), 0
	case inRolling:
		w := window{kind: rolling, length: q.length}
		return atLeast(v.p.Windows[q.leaf], int(q.n), &w, nil, v.now)
	default:
		return s.atoms[id].eval(v)
	}
}

// quicken makes the short form of an atom.
func (s *Set) quicken(a *atom) quick {
	switch {
	case a.kind == happened && a.leaf.window.kind == rolling:
		return quick{kind: inRolling, n: int32(a.n), leaf: a.leaf.ID, length: a.leaf.window.length}
	case a.trait == 0:
	case a.test.op == is && len(a.test.want) == 1 && a.test.want[0].kind == aString:
		text := a.test.want[0].text
		if s.words[text] == 0 {
			s.words[text] = int32(len(s.words) + 1)
		}
		return quick{kind: word, trait: int32(a.trait - 1), n: s.words[text]}
	case a.test.op >= below && a.test.op <= atLeastAs:
		return quick{kind: inOrder, trait: int32(a.trait - 1), op: a.test.op, limit: a.test.limit}
	}
	return quick{}
}

// flat is a rule that is one chain of && or of || over atoms, as most are. Its parts are each twice the atom's number, and
// one more below a not. Few lie in it, many in the set's list, from few[0] to few[1].
type flat struct {
	few     [6]int32
	n       uint16 // how many; none: the rule is not flat
	neutral bool
}

func (f *flat) parts(s *Set) []int32 {
	if int(f.n) <= len(f.few) {
		return f.few[:f.n]
	}
	return s.flats[f.few[0]:f.few[1]]
}

func (s *Set) flatten(root *node) flat {
	parts := []*node{root}
	if root.op == all || root.op == either {
		parts = root.parts
	}
	var codes []int32
	for _, n := range parts {
		below := int32(0)
		if n.op == not {
			below, n = 1, n.parts[0]
		}
		if n.op != asks {
			return flat{}
		}
		codes = append(codes, int32(n.id)<<1|below)
	}
	// What looks into the profile's maps comes last: an answer that decides may come before it.
	slices.SortStableFunc(codes, func(a, b int32) int { return cmp.Compare(s.quick[a>>1].cost(), s.quick[b>>1].cost()) })
	f := flat{n: uint16(len(codes)), neutral: root.op != either}
	if copy(f.few[:], codes) < len(codes) {
		f.few[0] = int32(len(s.flats))
		s.flats = append(s.flats, codes...)
		f.few[1] = int32(len(s.flats))
	}
	return f
}

func (q *quick) cost() int {
	switch q.kind {
	case word, inOrder:
		return 0
	case inRolling:
		return 1
	}
	return 2
}

// partOf is which part of a flat rule the atom is; everyPart where it isn't one part among the first.
func (s *Set) partOf(f *flat, atom int32) int {
	found := everyPart
	for i, code := range f.parts(s) {
		if code>>1 == atom {
			if found != everyPart {
				return everyPart
			}
			found = min(i, everyPart)
		}
	}
	return found
}

// eval is combine over the parts. held is the part that holds the answer; everyPart where each of them does.
func (f *flat) eval(s *Set, v *view) (ok bool, until event.Instant, held uint8) {
	var soonest, latest event.Instant
	decided := false
	m := v.memo
	for i, code := range f.parts(s) {
		ok, until := m.eval(int(code>>1), v)
		ok = ok != (code&1 != 0)
		switch {
		case ok != f.neutral && until == 0:
			return ok, 0, uint8(min(i, everyPart))
		case ok != f.neutral:
			if decided = true; until > latest {
				latest, held = until, uint8(min(i, everyPart))
			}
		case until != 0 && (soonest == 0 || until < soonest):
			soonest = until
		}
	}
	if decided {
		return !f.neutral, latest, held
	}
	return f.neutral, soonest, everyPart
}
