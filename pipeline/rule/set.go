package rule

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"attune/pipeline/profile"
)

// Set is many rules about one customer, such as all segments, asked together: an equal condition in several rules is
// one atom, asked once, and a step asks again only those rules whose answer an atom may have changed. It never changes
// and is safe for concurrent use on different profiles.
//
// A rule that is true is so because of atoms that are true (those below a not: false), and stays true as long as these
// do; what becomes true besides can't change it. A rule that is false, the same way round. So a step marks, for each
// atom that changed, only the rules that lean on it. Of several parts each of which decides a flat rule, the one that does
// so for longest holds its answer: as long as this one stays, the others may change as they like.
type Set struct {
	rules  []ranked // by rank: after those whose segments it asks for, else in the order given
	rank   map[string]int
	traits []string // that atoms look at, by number
	words  map[string]int32
	atoms  []*atom
	quick  []quick   // by atom
	flat   []flat    // by rank
	flats  []int32   // the parts of flat rules that have many
	leans  []leaning // by atom
	leaves *LeafSet
	index  index
	// fresh are the ranks of the rules that may be true for a customer of whom nothing is known.
	fresh []int32
	works sync.Pool
}

type ranked struct {
	id   string
	root *node
}

// leaning are the rules that ask the atom: as it is, and below a not.
type leaning struct{ plain, negated []lean }

// lean is a rule's rank, and in the lowest bits which part of it the atom is: everyPart where there is more to know.
type lean int32

const (
	partBits  = 3
	everyPart = 1<<partBits - 1
)

// NewSet puts rules together. ids are the segments that they define, by which in_segment asks for them.
// Rules that ask for each other are refused with a [*CycleError].
func NewSet(ids []string, rules []*Rule) (*Set, error) {
	order, err := ranks(ids, rules)
	if err != nil {
		return nil, err
	}
	s := &Set{rank: map[string]int{}, words: map[string]int32{}, leaves: NewLeafSet(rules...), index: newIndex()}
	byText, byName := map[string]int{}, map[string]int{}
	for rank, i := range order {
		s.rank[ids[i]] = rank
		s.rules = append(s.rules, ranked{id: ids[i], root: s.share(rules[i].root, byText, byName)})
	}
	s.settle()
	s.leans = make([]leaning, len(s.atoms))
	for rank := range s.rules {
		f := s.flatten(s.rules[rank].root)
		s.flat = append(s.flat, f)
		s.rules[rank].root.atoms(false, func(n *node, negated bool) {
			list := &s.leans[n.id].plain
			if negated {
				list = &s.leans[n.id].negated
			}
			if last := len(*list) - 1; last < 0 || int((*list)[last]>>partBits) != rank {
				*list = append(*list, lean(rank<<partBits|s.partOf(&f, int32(n.id))))
			}
		})
	}
	s.gather()
	for id, a := range s.atoms {
		s.index.add(int32(id), a)
	}
	s.index.sort()
	var z *zones
	if len(rules) > 0 {
		z = rules[0].zones
	}
	s.works.New = func() any {
		words := (len(s.rules) + 63) / 64
		w := &Work{set: s, memo: memo{set: s, answers: make([]answer, len(s.atoms)), traits: make([]traitValue, len(s.traits))}, ifIn: make([]uint64, words), ifOut: make([]uint64, words)}
		w.view.zones, w.before.zones = z, z
		return w
	}
	s.findFresh(z)
	return s, nil
}

// share makes equal atoms one.
func (s *Set) share(n *node, byText, byName map[string]int) *node {
	made := &node{op: n.op, text: n.text}
	if n.op == asks {
		var b strings.Builder
		n.atom.write(&b)
		id, known := byText[b.String()]
		if !known {
			id = len(s.atoms)
			byText[b.String()] = id
			a := *n.atom
			if a.kind == traitPasses && !strings.Contains(a.name, ".") {
				a.trait = s.numberTrait(a.name, byName)
			}
			s.atoms, s.quick = append(s.atoms, &a), append(s.quick, s.quicken(&a))
		}
		made.atom, made.id = s.atoms[id], id
		return made
	}
	for _, part := range n.parts {
		made.parts = append(made.parts, s.share(part, byText, byName))
	}
	return made
}

// settle numbers the atoms by what they look at: a step looks at those of one trait, or of one leaf, together, and waits
// mostly for memory.
func (s *Set) settle() {
	order := make([]int, len(s.atoms))
	for id := range order {
		order[id] = id
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := s.atoms[i], s.atoms[j]
		by := cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.trait, b.trait), cmp.Compare(a.test.limit, b.test.limit))
		if by == 0 && a.leaf != nil && b.leaf != nil {
			by = cmp.Or(cmp.Compare(a.leaf.ID, b.leaf.ID), cmp.Compare(a.n, b.n))
		}
		return by
	})
	atoms, quick, number := make([]*atom, len(order)), make([]quick, len(order)), make([]int, len(order))
	for id, was := range order {
		atoms[id], quick[id], number[was] = s.atoms[was], s.quick[was], id
	}
	s.atoms, s.quick = atoms, quick
	for rank := range s.rules {
		s.rules[rank].root.atoms(false, func(n *node, _ bool) { n.id = number[n.id] })
	}
}

// gather puts all leans into one list, in the order of the atoms.
func (s *Set) gather() {
	size := 0
	for i := range s.leans {
		size += len(s.leans[i].plain) + len(s.leans[i].negated)
	}
	all := make([]lean, 0, size)
	for i := range s.leans {
		for _, list := range [2]*[]lean{&s.leans[i].plain, &s.leans[i].negated} {
			from := len(all)
			all = append(all, *list...)
			*list = all[from:len(all):len(all)]
		}
	}
}

func (s *Set) numberTrait(name string, byName map[string]int) int {
	if byName[name] == 0 {
		s.traits = append(s.traits, name)
		byName[name] = len(s.traits)
	}
	return byName[name]
}

func (s *Set) findFresh(z *zones) {
	nobody := view{p: profile.New(""), now: 1, zones: z}
	for rank, r := range s.rules {
		ok, _ := r.root.eval(&nobody)
		r.root.atoms(false, func(n *node, _ bool) { ok = ok || n.atom.kind == shared })
		if ok {
			s.fresh = append(s.fresh, int32(rank))
		}
	}
}

// Leaves are what the rules need to be kept.
func (s *Set) Leaves() *LeafSet { return s.leaves }

// Len is how many rules there are, and Atoms how many different conditions they consist of.
func (s *Set) Len() int { return len(s.rules) }

// Atoms is how many different conditions the rules consist of.
func (s *Set) Atoms() int { return len(s.atoms) }

// ID is the segment of the rule with this rank.
func (s *Set) ID(rank int) string { return s.rules[rank].id }

// Asked tells whether another rule asks for this one's segment.
func (s *Set) Asked(rank int) bool { return len(s.index.segments[s.rules[rank].id]) > 0 }

// Rank finds a segment's rule.
func (s *Set) Rank(id string) (int, bool) {
	rank, ok := s.rank[id]
	return rank, ok
}

// CycleError says that segments ask for each other.
type CycleError struct {
	IDs []string // each asks for the next, the last for the first
}

func (e *CycleError) Error() string {
	return "the segments " + strings.Join(append(slices.Clone(e.IDs), e.IDs[0]), " → ") + " ask for each other with in_segment"
}

// ranks puts rules after those that they ask for.
func ranks(ids []string, rules []*Rule) ([]int, error) {
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	level := make([]int, len(rules)) // 0: not known yet, -1: being found
	var path []string
	var find func(i int) error
	find = func(i int) error {
		path = append(path, ids[i])
		defer func() { path = path[:len(path)-1] }()
		if level[i] < 0 {
			first := slices.Index(path, ids[i])
			return &CycleError{IDs: slices.Clone(path[first : len(path)-1])}
		}
		if level[i] > 0 {
			return nil
		}
		level[i] = -1
		highest := 0
		for _, id := range rules[i].reads.Segments {
			j, ok := at[id]
			if !ok {
				continue
			}
			if err := find(j); err != nil {
				return err
			}
			highest = max(highest, level[j])
		}
		level[i] = highest + 1
		return nil
	}
	order := make([]int, len(rules))
	for i := range rules {
		if err := find(i); err != nil {
			return nil, err
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(level[a], level[b]) })
	return order, nil
}
