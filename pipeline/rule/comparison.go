package rule

import (
	"math"
	"regexp"
	"strconv"
	"time"

	"cel.dev/cel-go/common/ast"

	"attune/pipeline/event"
)

// maxPattern bounds a regular expression, in bytes.
const maxPattern = 256

func (t *translator) comparison(e ast.Expr, rel relation, args []ast.Expr) *node {
	left, right := t.operand(args[0]), t.operand(args[1])
	if left == nil || right == nil {
		return nil
	}
	if (left.kind == aConstant || left.kind == aDate) && right.kind != aConstant && right.kind != aDate {
		left, right, rel = right, left, rel.mirrored()
	}
	switch {
	case left.kind == aConstant || left.kind == aDate:
		t.fail(e, "compare with something of the customer", "two constants always compare the same")
		return nil
	case left.kind == aCustomerNumber && right.kind == aCustomerNumber:
		return ask(&atom{kind: compared, relation: rel, left: *left.number, right: *right.number})
	case right.kind == aDate:
		return t.withDate(e, left, rel, right.date)
	case right.kind != aConstant:
		t.fail(e, "compare each with a constant", "%s and %s can't be compared with each other", left.what, right.what)
		return nil
	}
	c := right.constant
	switch left.kind {
	case aCount:
		return t.thresholds(e, left.leaf, rel, c)
	case aSum:
		return t.sum(e, left, rel, c)
	case aMinimum:
		return t.minimum(e, left, rel, c)
	case aSpan:
		return t.passed(e, left, rel, c)
	case aConfidence:
		return t.founded(e, left, rel, c)
	case aMoment:
		t.fail(e, `write `+left.example+`, or compare with date("2026-11-27")`, "%s is a moment and can't be compared with %s", left.what, c)
		return nil
	case aCustomerNumber:
		if c.kind != aNumber {
			t.fail(e, left.example, "%s is a number and can't be compared with %s", left.what, c)
			return nil
		}
		return ask(&atom{kind: compared, relation: rel, left: *left.number, right: number{fixed: c.number}})
	}
	return t.value(e, left, rel, c)
}

// value compares a trait, a property or what an event carried with a constant.
func (t *translator) value(e ast.Expr, left *operand, rel relation, c *constant) *node {
	a := left.atom
	left.mention.comparedWith(*c)
	if rel == equal || rel == unequal {
		if a.kind == triggerNamed && c.kind != aString {
			t.fail(e, left.example, "%s is a string and can't be compared with %s", left.what, c)
			return nil
		}
		if a.kind == worded && !t.known(e, &a.words, []constant{*c}) {
			return nil
		}
		a.test = test{op: is, want: []constant{*c}}
		if rel == unequal {
			return negation(ask(&a))
		}
		return ask(&a)
	}
	if c.kind != aNumber || a.kind == triggerNamed || a.kind == worded {
		t.fail(e, "strings and booleans compare with ==, != and in", "%s has no order with %s", left.what, c)
		return nil
	}
	a.test = test{op: rel.ordered(), limit: c.number}
	return ask(&a)
}

func (t *translator) withDate(e ast.Expr, left *operand, rel relation, date event.Instant) *node {
	if left.kind != aMoment && left.moment.name == "" {
		t.fail(e, `write trait("renews_at") < date("2026-11-27")`, "%s is no moment and can't be compared with a date", left.what)
		return nil
	}
	if rel == equal || rel == unequal {
		t.fail(e, "compare with < <= > >=", "%s is a moment: it is before or after, and equal for a millisecond only", left.what)
		return nil
	}
	return ask(&atom{kind: dated, relation: rel, moment: left.moment, span: date})
}

// passed compares the time since or until a moment.
func (t *translator) passed(e ast.Expr, left *operand, rel relation, c *constant) *node {
	if c.kind != aString {
		t.fail(e, left.example, `%s is compared with a time such as "30d"`, left.what)
		return nil
	}
	d, err := ParseWindow(c.text)
	if err != nil {
		t.fail(e, windowHint, "%q is no time that passes", c.text)
		return nil
	}
	if rel == equal || rel == unequal {
		t.fail(e, "compare with < <= > >=", "%s is equal to a time for a millisecond only", left.what)
		return nil
	}
	a := left.atom
	a.relation, a.span = rel, event.Instant(d/time.Millisecond)
	return ask(&a)
}

// amount reads a constant that amounts are compared with.
func (t *translator) amount(e ast.Expr, left *operand, c *constant) (event.Money, bool) {
	if c.kind != aNumber {
		t.fail(e, left.example, "%s is a number and can't be compared with %s", left.what, c)
		return 0, false
	}
	m := event.MoneyOf(c.number)
	if m.Float() != c.number || math.Abs(c.number) > 9e14 {
		t.fail(e, "sums are exact to four decimals and up to 900,000,000,000,000", "%s can't be compared with %s", left.what, c)
		return 0, false
	}
	return m, true
}

func (t *translator) sum(e ast.Expr, left *operand, rel relation, c *constant) *node {
	m, ok := t.amount(e, left, c)
	if !ok {
		return nil
	}
	a := left.atom
	a.leaf, a.relation, a.amount = left.leaf, rel, m
	return ask(&a)
}

// minimum asks for the highest or lowest amount by asking whether there is one on this side of the constant: so the
// newest event on each side is all that needs to be kept.
func (t *translator) minimum(e ast.Expr, left *operand, rel relation, c *constant) *node {
	m, ok := t.amount(e, left, c)
	if !ok {
		return nil
	}
	x := left.extreme
	there := func(op testOp) *node {
		filter := append([]condition{{path: x.property, test: test{op: op, amount: m}}}, x.filter...)
		if op == isAmount {
			filter[0].test.amount = 0
		}
		return t.atLeast(t.keepLeaf(newLeaf(times, x.event, "", filter, x.window, t.kind)), 1)
	}
	beyond, reaches := amountAbove, amountAtLeast
	if !x.highest {
		beyond, reaches = amountBelow, amountAtMost
		rel = rel.mirrored()
	}
	switch rel {
	case greaterOrEqual:
		return there(reaches)
	case greater:
		return there(beyond)
	case less:
		return &node{op: all, parts: []*node{there(isAmount), negation(there(reaches))}}
	case lessOrEqual:
		return &node{op: all, parts: []*node{there(isAmount), negation(there(beyond))}}
	}
	exactly := &node{op: all, parts: []*node{there(reaches), negation(there(beyond))}}
	if rel == unequal {
		return negation(exactly)
	}
	return exactly
}

// membership reads x in [constants] and "constant" in x.
func (t *translator) membership(e ast.Expr, args []ast.Expr) *node {
	if args[1].Kind() != ast.ListKind {
		if c := t.constant(args[0]); c != nil {
			if list := t.operand(args[1]); list == nil {
				return nil
			} else if list.kind == aValue && list.atom.kind != triggerNamed && list.atom.kind != worded {
				a := list.atom
				list.mention.comparedWith(*c)
				a.test = test{op: hasElement, want: []constant{*c}}
				return ask(&a)
			}
		}
		t.operand(args[0])
		t.fail(args[1], `write: trait("plan") in ["pro", "team"], or "vip" in trait("tags")`, "in needs a list of constants")
		return nil
	}
	left := t.operand(args[0])
	want, ok := t.constants(args[1])
	if left == nil || !ok {
		return nil
	}
	switch left.kind {
	case aValue:
		a := left.atom
		left.mention.comparedWith(want...)
		if a.kind == worded && !t.known(e, &a.words, want) {
			return nil
		}
		a.test = test{op: is, want: want}
		return ask(&a)
	case aCustomerNumber:
		n := &node{op: either}
		for i := range want {
			if want[i].kind != aNumber {
				t.fail(args[1], left.example, "%s is a number and can't be compared with %s", left.what, &want[i])
				return nil
			}
			n.parts = append(n.parts, ask(&atom{kind: compared, relation: equal, left: *left.number, right: number{fixed: want[i].number}}))
		}
		return n
	}
	t.fail(e, `write: trait("plan") in ["pro", "team"]`, "%s can't be looked up in a list", left.what)
	return nil
}

// textTest reads trait("city").startsWith("Lon") and its like.
func (t *translator) textTest(e ast.Expr, call ast.CallExpr) *node {
	op, known := map[string]testOp{"startsWith": startsWith, "endsWith": endsWith, "contains": contains, "matches": matches}[call.FunctionName()]
	if !known {
		t.fail(e, languageHint(), "the method %s() is unknown", call.FunctionName())
		return nil
	}
	left := t.operand(call.Target())
	if left == nil {
		return nil
	}
	if left.kind != aValue {
		t.fail(e, `write: trait("city").startsWith("Lon")`, "%s is no string", left.what)
		return nil
	}
	if len(call.Args()) != 1 {
		t.fail(e, `write: trait("city").startsWith("Lon")`, "%s takes one string", call.FunctionName())
		return nil
	}
	a := left.atom
	var ok bool
	if a.test, ok = t.stringTest(call.Args()[0], op, t.constant(call.Args()[0])); !ok {
		return nil
	}
	left.mention.comparedWith(a.test.want...)
	return ask(&a)
}

func (t *translator) stringTest(at ast.Expr, op testOp, c *constant) (test, bool) {
	if c == nil || c.kind != aString || c.text == "" {
		t.fail(at, `write: trait("city").startsWith("Lon")`, "%s needs a string that is not empty", op)
		return test{}, false
	}
	made := test{op: op, want: []constant{*c}}
	if op == matches {
		var err error
		if made.regexp, err = regexp.Compile(c.text); err != nil || len(c.text) > maxPattern {
			t.fail(at, "RE2's syntax, at most "+strconv.Itoa(maxPattern)+" bytes: https://github.com/google/re2/wiki/Syntax", "this is no regular expression")
			return test{}, false
		}
	}
	return made, true
}
