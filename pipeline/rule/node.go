package rule

import (
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// view is what a tree is asked about.
type view struct {
	p     *profile.Profile
	now   event.Instant
	event Trigger
	zones *zones
	memo  *memo // where answers of shared atoms are kept for the step; nil: nowhere
}

// node is one part of a compiled rule. It never changes.
type node struct {
	op    operator
	parts []*node // of all, either, not
	atom  *atom
	id    int // of the atom in a Set
	// text is the part as the rule has it, of what explain shows as one line; empty inside of such a part.
	text string
}

type operator uint8

const (
	asks operator = iota
	all
	either
	not
	yes
	no
)

// eval answers at v.now. The answer holds in [v.now, until) as long as the profile isn't changed; until is zero for
// ever, else later than v.now.
func (n *node) eval(v *view) (ok bool, until event.Instant) {
	switch n.op {
	case asks:
		if v.memo != nil {
			return v.memo.eval(n.id, v)
		}
		return n.atom.eval(v)
	case all:
		return combine(n.parts, v, true)
	case either:
		return combine(n.parts, v, false)
	case not:
		ok, until = n.parts[0].eval(v)
		return !ok, until
	default:
		return n.op == yes, 0
	}
}

// combine answers for parts that lead to neutral only together; one part that is not neutral decides. All is true
// when each part is. While true, the first part to change may change it. While false, it stays so as long as one
// false part does: until the last of them may change. Either is the same, mirrored.
func combine(parts []*node, v *view, neutral bool) (bool, event.Instant) {
	var soonest, latest event.Instant
	decided := false
	for _, part := range parts {
		ok, until := part.eval(v)
		switch {
		case ok != neutral && until == 0:
			return ok, 0
		case ok != neutral:
			decided, latest = true, max(latest, until)
		case until != 0 && (soonest == 0 || until < soonest):
			soonest = until
		}
	}
	if decided {
		return !neutral, latest
	}
	return neutral, soonest
}

// atoms calls visit for each atom, with whether it stands below an odd number of nots.
func (n *node) atoms(negated bool, visit func(n *node, negated bool)) {
	if n.op == asks {
		visit(n, negated)
		return
	}
	for _, part := range n.parts {
		part.atoms(negated != (n.op == not), visit)
	}
}

func (n *node) write(b *strings.Builder) {
	switch n.op {
	case asks:
		n.atom.write(b)
		return
	case yes:
		b.WriteString("true")
		return
	case no:
		b.WriteString("false")
		return
	}
	b.WriteString([...]string{all: "and", either: "or", not: "not"}[n.op] + "(")
	for i, p := range n.parts {
		if i > 0 {
			b.WriteString(", ")
		}
		p.write(b)
	}
	b.WriteString(")")
}

func negation(n *node) *node { return &node{op: not, parts: []*node{n}} }

func always(truth bool) *node {
	if truth {
		return &node{op: yes}
	}
	return &node{op: no}
}
