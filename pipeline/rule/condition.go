package rule

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"attune/pipeline/event"
)

// test is what is asked of one JSON value: a trait, a property, what the last event carried. A value that is
// absent, or of another type than what it is compared with, passes none.
type test struct {
	op   testOp
	want []constant // is: any of them; the string tests: one string
	// limit is what the orders compare with: a number, or an instant in milliseconds, or an amount in ten-thousandths.
	limit  float64
	amount event.Money
	regexp *regexp.Regexp
}

type testOp uint8

const (
	is testOp = iota
	present
	below // the orders of numbers
	atMost
	above
	atLeastAs
	startsWith
	endsWith
	contains // in a string, or an element of a list
	hasElement
	matches
	amountIs // an amount as sums read it: a number or a decimal string, exact to four decimals
	amountBelow
	amountAtMost
	amountAbove
	amountAtLeast
	isAmount
)

func (o testOp) String() string {
	return [...]string{
		"is", "present", "<", "<=", ">", ">=", "startsWith", "endsWith", "contains", "element", "matches", "amount ==", "amount <", "amount <=", "amount >",
		"amount >=", "amount",
	}[o]
}

// ordered are the orders of numbers by relation.
func (r relation) ordered() testOp {
	return [...]testOp{less: below, lessOrEqual: atMost, greater: above, greaterOrEqual: atLeastAs}[r]
}

func (t *test) holds(v event.Value) bool {
	switch t.op {
	case is:
		for i := range t.want {
			if t.want[i].equals(v) {
				return true
			}
		}
		return false
	case present:
		return !v.Null()
	case below, atMost, above, atLeastAs:
		n, ok := numberOf(v)
		return ok && t.orders(n)
	case contains, hasElement:
		if raw := v.Raw(); t.op == hasElement || len(raw) > 0 && raw[0] == '[' {
			return t.among(v)
		}
	case amountIs, amountBelow, amountAtMost, amountAbove, amountAtLeast, isAmount:
		m, ok := v.Money()
		return ok && t.measures(m)
	}
	text, ok := textOf(v)
	return ok && t.holdsText(text)
}

// traitValue is a trait as several tests of one step look at it.
type traitValue struct {
	step     uint32
	isText   bool
	isNumber bool
	word     int32 // its number among the set's words, from 1; 0: none of them
	number   float64
	text     []byte
	value    event.Value
}

func (s *Set) readTrait(v event.Value) traitValue {
	t := traitValue{value: v}
	if t.text, t.isText = textOf(v); t.isText {
		t.word = s.words[string(t.text)]
	} else {
		t.number, t.isNumber = numberOf(v)
	}
	return t
}

// holdsFor is holds for a trait that is read already.
func (t *test) holdsFor(v *traitValue) bool {
	switch {
	case v.isText && t.op <= matches:
		return t.holdsText(v.text)
	case v.isNumber && t.op >= below && t.op <= atLeastAs:
		return t.orders(v.number)
	case v.isNumber && t.op == is:
		for i := range t.want {
			if t.want[i].kind == aNumber && t.want[i].number == v.number {
				return true
			}
		}
		return false
	}
	return t.holds(v.value)
}

// among tells whether a list holds the constant.
func (t *test) among(list event.Value) (found bool) {
	list.Items(func(v event.Value) bool {
		found = t.want[0].equals(v)
		return !found
	})
	return found
}

func (t *test) orders(n float64) bool { return inOrderWith(t.op, n, t.limit) }

func inOrderWith(op testOp, n, limit float64) bool {
	switch op {
	case below:
		return n < limit
	case atMost:
		return n <= limit
	case above:
		return n > limit
	default:
		return n >= limit
	}
}

func (t *test) measures(m event.Money) bool {
	switch t.op {
	case amountIs:
		return m == t.amount
	case amountBelow:
		return m < t.amount
	case amountAtMost:
		return m <= t.amount
	case amountAbove:
		return m > t.amount
	case amountAtLeast:
		return m >= t.amount
	default:
		return true
	}
}

// holdsText is holds for what is a string.
func (t *test) holdsText(text []byte) bool {
	switch t.op {
	case is:
		for i := range t.want {
			if t.want[i].kind == aString && t.want[i].text == string(text) {
				return true
			}
		}
		return false
	case present:
		return true
	case startsWith:
		return len(text) >= len(t.want[0].text) && string(text[:len(t.want[0].text)]) == t.want[0].text
	case endsWith:
		return len(text) >= len(t.want[0].text) && string(text[len(text)-len(t.want[0].text):]) == t.want[0].text
	case contains:
		return bytes.Contains(text, t.want[0].bytes)
	case matches:
		return t.regexp.Match(text)
	}
	return false
}

// textOf is the content of a JSON string, without a copy where it has no escapes.
func textOf(v event.Value) ([]byte, bool) {
	raw := v.Raw()
	if len(raw) < 2 || raw[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], true
	}
	s, ok := v.Text()
	return []byte(s), ok
}

// numberOf is a JSON number's value. Of up to 15 digits with a point among them the quotient of two whole numbers that
// are exact is the correctly rounded value: that is most numbers, without a parser.
func numberOf(v event.Value) (float64, bool) {
	raw := v.Raw()
	digits := raw
	if len(raw) > 0 && raw[0] == '-' {
		digits = raw[1:]
	}
	if len(digits) == 0 || len(digits) > 15 {
		return v.Number()
	}
	whole, scale, pointed := int64(0), 1.0, false
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			whole = whole*10 + int64(c-'0')
			if pointed {
				scale *= 10
			}
		case c == '.' && !pointed:
			pointed = true
		default:
			return v.Number()
		}
	}
	if len(digits) != len(raw) {
		whole = -whole
	}
	return float64(whole) / scale, true
}

// write prints the test of a value. Profiles depend on it inside filters: it must not change.
func (t *test) write(b *strings.Builder, what string) {
	switch t.op {
	case is:
		writeIn(b, what, t.want)
	case present:
		b.WriteString("has(" + what + ")")
	case isAmount:
		b.WriteString("amount(" + what + ")")
	case below, atMost, above, atLeastAs:
		b.WriteString("compare(" + what + " " + t.op.String() + " " + strconv.FormatFloat(t.limit, 'g', -1, 64) + ")")
	case amountIs, amountBelow, amountAtMost, amountAbove, amountAtLeast:
		b.WriteString("compare(" + what + " " + t.op.String() + " " + t.amount.String() + ")")
	default:
		b.WriteString(t.op.String() + "(" + what + ", " + t.want[0].String() + ")")
	}
}

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
	bytes  []byte // the text's
	number float64
	truth  bool
}

type constantKind uint8

const (
	aString constantKind = iota
	aNumber
	aBool
)

func (c *constant) equals(v event.Value) bool {
	switch c.kind {
	case aString:
		return v.Is(c.text)
	case aNumber:
		n, ok := numberOf(v)
		return ok && n == c.number
	default:
		b, ok := v.Bool()
		return ok && b == c.truth
	}
}

func (c *constant) String() string {
	switch c.kind {
	case aString:
		return strconv.Quote(c.text)
	case aNumber:
		return strconv.FormatFloat(c.number, 'g', -1, 64)
	default:
		return strconv.FormatBool(c.truth)
	}
}

// relation is how two numbers are compared.
type relation uint8

const (
	equal relation = iota
	unequal
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (r relation) String() string {
	return [...]string{"==", "!=", "<", "<=", ">", ">="}[r]
}

// mirrored is the relation with its sides swapped.
func (r relation) mirrored() relation {
	return [...]relation{equal, unequal, greater, greaterOrEqual, less, lessOrEqual}[r]
}

// holds compares numbers; order is how they compare: below zero, zero or above.
func (r relation) holds(a, b float64) bool {
	switch r {
	case equal:
		return a == b
	case unequal:
		return a != b
	case less:
		return a < b
	case lessOrEqual:
		return a <= b
	case greater:
		return a > b
	default:
		return a >= b
	}
}

// holdsFor tells whether the relation holds where a compares to b as order says: below zero, zero or above.
func (r relation) holdsFor(order int) bool {
	switch r {
	case equal:
		return order == 0
	case unequal:
		return order != 0
	case less:
		return order < 0
	case lessOrEqual:
		return order <= 0
	case greater:
		return order > 0
	default:
		return order >= 0
	}
}
