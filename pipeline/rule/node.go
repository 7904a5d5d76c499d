package rule

import (
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// node is one part of a compiled rule. Its answer holds in [in.Now, until) as long as the profile isn't
// changed; until is zero for ever, else later than in.Now.
type node interface {
	eval(in Input) (ok bool, until event.Instant)
	write(b *strings.Builder)
}

// all is true when each part is. While true, the first part to change may change it. While false, it stays so
// as long as one false part does: until the last of them may change.
type all []node

func (a all) eval(in Input) (bool, event.Instant) { return combine(a, in, true) }
func (a all) write(b *strings.Builder)            { writeCall(b, "and", a) }

// either is true when one part is: all, mirrored.
type either []node

func (e either) eval(in Input) (bool, event.Instant) { return combine(e, in, false) }
func (e either) write(b *strings.Builder)            { writeCall(b, "or", e) }

// combine answers for parts that lead to neutral only together; one part that is not neutral decides.
func combine(parts []node, in Input, neutral bool) (bool, event.Instant) {
	var soonest, latest event.Instant
	decided := false
	for _, part := range parts {
		ok, until := part.eval(in)
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

type not struct{ part node }

func (n not) eval(in Input) (bool, event.Instant) {
	ok, until := n.part.eval(in)
	return !ok, until
}

func (n not) write(b *strings.Builder) { writeCall(b, "not", []node{n.part}) }

func writeCall(b *strings.Builder, name string, parts []node) {
	b.WriteString(name)
	b.WriteString("(")
	for i, p := range parts {
		if i > 0 {
			b.WriteString(", ")
		}
		p.write(b)
	}
	b.WriteString(")")
}

type always bool

func (a always) eval(Input) (bool, event.Instant) { return bool(a), 0 }
func (a always) write(b *strings.Builder)         { b.WriteString(strconv.FormatBool(bool(a))) }

// windowed: the leaf's window holds n events or more.
type windowed struct {
	id     uint64
	window time.Duration
	n      int
	leaf   *Leaf
}

func (w *windowed) eval(in Input) (bool, event.Instant) {
	return atLeast(in.Profile.Windows[w.id], w.n, w.window, in.Now)
}

func (w *windowed) write(b *strings.Builder) {
	b.WriteString("at_least(" + strconv.Itoa(w.n) + ", " + strconv.Quote(w.leaf.Event) + ", ")
	if len(w.leaf.filter) > 0 {
		writeFilter(b, w.leaf.filter)
		b.WriteString(", ")
	}
	b.WriteString(formatWindow(w.window) + ")")
}

type consent string

func (c consent) eval(in Input) (bool, event.Instant) {
	return in.Profile.Consents[string(c)].Granted, 0
}
func (c consent) write(b *strings.Builder) {
	b.WriteString("consent(" + strconv.Quote(string(c)) + ")")
}

type inSegment string

func (s inSegment) eval(in Input) (bool, event.Instant) {
	m := in.Profile.Segments[string(s)]
	return m.In, later(m.Until, in.Now)
}

func (s inSegment) write(b *strings.Builder) {
	b.WriteString("in_segment(" + strconv.Quote(string(s)) + ")")
}

// later is an instant that is still to come. What is due but has not been done changes by being done: by a
// step, not by itself.
func later(at, now event.Instant) event.Instant {
	if at > now {
		return at
	}
	return 0
}

// value is a trait or a property of the triggering event.
type value struct {
	trait bool
	path  string
}

func (v value) get(in Input) event.Value {
	if v.trait {
		return traitAt(in.Profile, v.path)
	}
	return in.Event.Properties.Get(v.path)
}

// traitAt finds a trait by its name, or by a dotted path into one that is an object.
func traitAt(p *profile.Profile, path string) event.Value {
	if t, ok := p.Traits[path]; ok {
		return event.ValueOf(t.Value)
	}
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		return event.Value{}
	}
	inner, ok := event.ValueOf(p.Traits[name].Value).Object()
	if !ok {
		return event.Value{}
	}
	return inner.Get(rest)
}

func (v value) String() string {
	if v.trait {
		return "trait(" + strconv.Quote(v.path) + ")"
	}
	return "property(" + strconv.Quote(v.path) + ")"
}

// has: the trait or property is there and isn't null.
type has struct{ value value }

func (h has) eval(in Input) (bool, event.Instant) { return !h.value.get(in).Null(), 0 }
func (h has) write(b *strings.Builder)            { b.WriteString("has(" + h.value.String() + ")") }

// equalsOne: the value equals one of the constants.
type equalsOne struct {
	value value
	want  []constant
}

func (e equalsOne) eval(in Input) (bool, event.Instant) {
	v := e.value.get(in)
	for i := range e.want {
		if e.want[i].equals(v) {
			return true, 0
		}
	}
	return false, 0
}

func (e equalsOne) write(b *strings.Builder) { writeIn(b, e.value.String(), e.want) }

// named: the triggering event's name is one of these.
type named []constant

func (n named) eval(in Input) (bool, event.Instant) {
	for i := range n {
		if n[i].text == in.Event.Name {
			return true, 0
		}
	}
	return false, 0
}

func (n named) write(b *strings.Builder) { writeIn(b, "event.name", n) }

func writeIn(b *strings.Builder, what string, want []constant) {
	if len(want) == 1 {
		b.WriteString("eq(" + what + ", " + want[0].String() + ")")
		return
	}
	b.WriteString("in(" + what + ", [")
	for i, c := range want {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.String())
	}
	b.WriteString("])")
}

// constant is a string, a number or a boolean written in a rule.
type constant struct {
	kind   constantKind
	text   string
	number float64
	truth  bool
}

type constantKind uint8

const (
	aString constantKind = iota
	aNumber
	aBool
)

func (c constant) equals(v event.Value) bool {
	switch c.kind {
	case aString:
		return v.Is(c.text)
	case aNumber:
		n, ok := v.Number()
		return ok && n == c.number
	default:
		b, ok := v.Bool()
		return ok && b == c.truth
	}
}

func (c constant) String() string {
	switch c.kind {
	case aString:
		return strconv.Quote(c.text)
	case aNumber:
		return strconv.FormatFloat(c.number, 'g', -1, 64)
	default:
		return strconv.FormatBool(c.truth)
	}
}
