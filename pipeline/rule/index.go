package rule

import (
	"cmp"
	"slices"
	"strings"
)

// index finds the atoms that something may have changed.
type index struct {
	leaves   map[uint64][]int32
	traits   map[string]*traitAtoms // by name; paths also by their first part
	allTrait []int32                // every atom that looks at traits
	totals   map[string]*thresholds
	numbers  [numberKinds]*thresholds
	scores   []named
	moments  [momentKinds][]int32
	words    [wordKinds][]int32
	acts     []int32 // the customer's acts change what they look at
	zoned    []int32 // they look at the time zone
	consents map[string][]int32
	segments map[string][]int32
}

const (
	numberKinds = recency + 1
	momentKinds = foretoldAt + 1
)

// traitAtoms are the atoms that look at one trait.
type traitAtoms struct {
	byText  map[string][]int32 // equal to one of these strings
	numbers thresholds         // in an order with, or equal to, a number
	others  []int32            // any other test
	unclear []int32            // looks at more than this trait's value
}

// named are the atoms that compare a number which is known by its kind and name.
type named struct {
	number
	thresholds
}

// thresholds are atoms that compare a number with constants, by the constants.
type thresholds struct {
	limits []float64 // ascending
	atoms  []int32
	others []int32 // compare with no constant
}

func newIndex() index {
	return index{
		leaves: map[uint64][]int32{}, traits: map[string]*traitAtoms{}, totals: map[string]*thresholds{},
		consents: map[string][]int32{}, segments: map[string][]int32{},
	}
}

func (x *index) add(id int32, a *atom) {
	for _, l := range a.lookBacks() {
		if list := x.leaves[l.ID]; !slices.Contains(list, id) { // a sequence may ask for the same twice
			x.leaves[l.ID] = append(list, id)
		}
		if l.window.zoned() {
			x.addZoned(id)
		}
	}
	switch a.kind {
	case compared:
		x.addNumbers(id, a)
	case consented:
		x.consents[a.name] = append(x.consents[a.name], id)
	case member:
		x.segments[a.name] = append(x.segments[a.name], id)
	case traitPasses:
		x.addTrait(id, a)
	case worded:
		if a.words.kind < wordKinds {
			x.words[a.words.kind] = append(x.words[a.words.kind], id)
		} else {
			x.acts = append(x.acts, id)
		}
	case confident, inCart:
		x.acts = append(x.acts, id)
	case elapsed, remaining, dated:
		switch a.moment.kind {
		case traitMoment:
			x.addUnclear(id, a.moment.name)
		case lastOf, firstOf:
		case cartChanged:
			x.acts = append(x.acts, id)
		default:
			x.moments[a.moment.kind] = append(x.moments[a.moment.kind], id)
		}
	}
}

// lookBacks are the leaves that the atom asks.
func (a *atom) lookBacks() []*Leaf {
	switch {
	case a.leaf != nil:
		return []*Leaf{a.leaf}
	case a.moment.leaf != nil:
		return []*Leaf{a.moment.leaf}
	}
	return a.steps
}

func (x *index) addNumbers(id int32, a *atom) {
	of := func(n *number) *thresholds {
		if n.kind == totalOf {
			if x.totals[n.name] == nil {
				x.totals[n.name] = &thresholds{}
			}
			return x.totals[n.name]
		}
		if n.kind == propensityOf || n.kind == confidenceOf {
			i := slices.IndexFunc(x.scores, func(s named) bool { return s.kind == n.kind && s.name == n.name })
			if i < 0 {
				i = len(x.scores)
				x.scores = append(x.scores, named{number: *n})
			}
			return &x.scores[i].thresholds
		}
		if x.numbers[n.kind] == nil {
			x.numbers[n.kind] = &thresholds{}
		}
		return x.numbers[n.kind]
	}
	numbers := []*number{&a.left, &a.right}
	if a.right.kind == fixed {
		numbers = numbers[:1]
	}
	for _, n := range numbers {
		if n.kind == sendHour {
			x.addZoned(id)
		}
		if n.kind.behavioural() {
			if last := len(x.acts) - 1; last < 0 || x.acts[last] != id {
				x.acts = append(x.acts, id)
			}
		} else if a.right.kind == fixed {
			of(n).add(id, a.right.fixed)
		} else if list := of(n); !slices.Contains(list.others, id) {
			list.others = append(list.others, id)
		}
	}
}

func (x *index) trait(name string) *traitAtoms {
	if x.traits[name] == nil {
		x.traits[name] = &traitAtoms{byText: map[string][]int32{}}
	}
	return x.traits[name]
}

func (x *index) addZoned(id int32) {
	x.zoned = append(x.zoned, id)
	x.addUnclear(id, zoneTrait)
}

func (x *index) addUnclear(id int32, path string) {
	x.allTrait = append(x.allTrait, id)
	name, _, nested := strings.Cut(path, ".")
	x.trait(path).unclear = append(x.trait(path).unclear, id)
	if nested {
		x.trait(name).unclear = append(x.trait(name).unclear, id)
	}
}

func (x *index) addTrait(id int32, a *atom) {
	if strings.Contains(a.name, ".") {
		x.addUnclear(id, a.name)
		return
	}
	x.allTrait = append(x.allTrait, id)
	t := x.trait(a.name)
	onlyText := !slices.ContainsFunc(a.test.want, func(c constant) bool { return c.kind != aString })
	switch {
	case a.test.op == is && onlyText:
		for _, c := range a.test.want {
			if list := t.byText[c.text]; !slices.Contains(list, id) {
				t.byText[c.text] = append(list, id)
			}
		}
	case a.test.op == is && len(a.test.want) == 1 && a.test.want[0].kind == aNumber:
		t.numbers.add(id, a.test.want[0].number)
	case a.test.op == below || a.test.op == atMost || a.test.op == above || a.test.op == atLeastAs:
		t.numbers.add(id, a.test.limit)
	default:
		t.others = append(t.others, id)
	}
}

func (t *thresholds) add(id int32, limit float64) {
	t.limits, t.atoms = append(t.limits, limit), append(t.atoms, id)
}

func (x *index) sort() {
	for _, t := range x.traits {
		t.numbers.sort()
	}
	for _, t := range x.totals {
		t.sort()
	}
	for i := range x.scores {
		x.scores[i].sort()
	}
	for _, t := range x.numbers {
		if t != nil {
			t.sort()
		}
	}
}

func (t *thresholds) sort() {
	order := make([]int, len(t.limits))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(t.limits[a], t.limits[b]) })
	sorted := thresholds{others: t.others}
	for _, i := range order {
		sorted.add(t.atoms[i], t.limits[i])
	}
	*t = sorted
}

// between are the atoms that a number which went from a to b may have changed.
func (t *thresholds) between(a, b float64) []int32 {
	from, _ := slices.BinarySearch(t.limits, min(a, b))
	to := from
	for highest := max(a, b); to < len(t.limits) && t.limits[to] <= highest; {
		to++
	}
	return t.atoms[from:to]
}
