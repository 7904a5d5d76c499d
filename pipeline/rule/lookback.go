package rule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"

	"attune/pipeline/event"
)

func instantOf[N ~int64 | ~float64](n N) event.Instant { return event.Instant(n) }

// lookBack reads the arguments of a function over events: the event, the property whose value counts (where the kind
// has one), maybe a filter, maybe a window.
func (t *translator) lookBack(e ast.Expr, call ast.CallExpr, kind leafKind) *Leaf {
	name, args := call.FunctionName(), call.Args()
	if len(args) == 0 {
		t.fail(e, "write "+t.calls[name], "%s needs an event", name)
		return nil
	}
	event, ok := t.literal(args[0], name, "an event's name")
	rest := args[1:]
	property := ""
	if kind != times {
		if len(rest) == 0 {
			t.fail(e, "write "+t.calls[name], "%s needs a property", name)
			return nil
		}
		var propertyOK bool
		if property, propertyOK = t.literal(rest[0], name, "a property's name"); propertyOK {
			t.mention(rest[0], false, property).Value = kind != values
		}
		ok, rest = ok && propertyOK, rest[1:]
	}
	filter, w, restOK := t.filterAndWindow(e, name, rest)
	if !ok || !restOK {
		return nil
	}
	return t.keepLeaf(newLeaf(kind, event, property, filter, w, t.kind))
}

func (t *translator) filterAndWindow(e ast.Expr, name string, args []ast.Expr) (filter []condition, w window, ok bool) {
	ok = true
	if len(args) > 0 && args[0].Kind() == ast.MapKind {
		filter, ok = t.filter(args[0], name)
		args = args[1:]
	} else if len(args) == 2 {
		t.fail(args[0], "write "+t.calls[name], "%s needs its filter as a map", name)
		return nil, w, false
	}
	if len(args) > 1 {
		t.fail(e, "write "+t.calls[name], "%s takes maybe a filter and maybe a window, and nothing after that", name)
		return nil, w, false
	}
	if len(args) == 1 {
		var windowOK bool
		w, windowOK = t.span(args[0], name)
		ok = ok && windowOK
	}
	return filter, w, ok
}

// keepLeaf makes equal leaves of a rule one.
func (t *translator) keepLeaf(l *Leaf) *Leaf {
	t.reads.Events = append(t.reads.Events, l.Event)
	t.fields["event:"+l.Event] = true
	if l.window.zoned() {
		t.readTrait(zoneTrait)
	}
	if known := t.leaves[l.ID]; known != nil {
		return known
	}
	t.leaves[l.ID] = l
	return l
}

// span reads any window.
func (t *translator) span(e ast.Expr, function string) (window, bool) {
	s, ok := t.literal(e, function, `a window such as "24h"`)
	if !ok {
		return window{}, false
	}
	w, err := parseSpan(s)
	if err != nil {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		t.fail(e, hint, "%s", message)
		return w, false
	}
	return w, true
}

// length reads a window that moves with the clock, or a time that passes.
func (t *translator) length(e ast.Expr, function, what string) (time.Duration, bool) {
	s, ok := t.literal(e, function, what)
	if !ok {
		return 0, false
	}
	d, err := ParseWindow(s)
	if err != nil {
		message, hint, _ := strings.Cut(err.Error(), ": ")
		t.fail(e, hint, "%s", message)
		return 0, false
	}
	return d, true
}

// atLeast asks a leaf for n events or more.
func (t *translator) atLeast(leaf *Leaf, n int) *node {
	leaf.keep = max(leaf.keep, n)
	kind := happened
	if leaf.kind == values {
		kind = different
	}
	return ask(&atom{kind: kind, leaf: leaf, n: n})
}

// steps reads sequence, followed and not_followed.
func (t *translator) steps(e ast.Expr, call ast.CallExpr) *node {
	name, args := call.FunctionName(), call.Args()
	var written []ast.Expr
	switch {
	case name == "sequence" && len(args) == 3 && args[0].Kind() == ast.ListKind:
		written, args = args[0].AsList().Elements(), args[1:]
		if len(written) < 2 || len(written) > MaxSteps {
			t.fail(call.Args()[0], "write "+t.calls[name], "a sequence has 2 to %d steps, not %d", MaxSteps, len(written))
			return nil
		}
	case name != "sequence" && len(args) == 4:
		written, args = args[:2], args[2:]
	default:
		t.fail(e, "write "+t.calls[name], "%s takes other arguments", name)
		return nil
	}
	span, ok := t.length(args[0], name, `how soon, such as "2h",`)
	outer, outerOK := t.length(args[1], name, `a window such as "30d"`)
	if ok && outerOK && span > outer {
		t.fail(args[0], "the window must hold the whole of it", "%s is longer than the window", formatWindow(span))
		ok = false
	}
	ok = ok && outerOK
	a := &atom{kind: chained, span: instantOf(span.Milliseconds()), outer: instantOf(outer.Milliseconds())}
	if name == "not_followed" {
		a.kind = unanswered
	}
	reach := outer
	if a.kind == chained {
		reach += span * time.Duration(len(written)-1) // a first step so long before the last one that is in the window
	}
	for _, step := range written {
		event, filter, stepOK := t.step(step, name)
		if ok = ok && stepOK; !ok {
			continue
		}
		l := t.keepLeaf(newLeaf(times, event, "", filter, rollingWindow(reach), t.kind))
		if a.kind == unanswered && len(a.steps) == 0 {
			l.keep = max(l.keep, 1)
		} else {
			l.keep = MaxKept
		}
		a.steps = append(a.steps, l)
	}
	if !ok {
		return nil
	}
	return ask(a)
}

// step reads an event of a sequence: its name, or a list of its name and a filter.
func (t *translator) step(e ast.Expr, function string) (event string, filter []condition, ok bool) {
	if e.Kind() != ast.ListKind {
		event, ok = t.literal(e, function, "an event's name")
		return event, nil, ok
	}
	parts := e.AsList().Elements()
	if len(parts) != 2 || parts[1].Kind() != ast.MapKind {
		t.fail(e, `write ["Product Viewed", {"category": "sneakers"}]`, "a step with a filter is a list of an event's name and a map")
		return "", nil, false
	}
	event, ok = t.literal(parts[0], function, "an event's name")
	filter, filterOK := t.filter(parts[1], function)
	return event, filter, ok && filterOK
}

const filterHint = `a filter compares with constants: {"category": "sneakers", "price": {">=": 10}, "size": ["s", "m"], "gift": true}`

func (t *translator) filter(e ast.Expr, function string) ([]condition, bool) {
	var filter []condition
	ok := true
	var named []string
	for _, entry := range e.AsMap().Entries() {
		pair := entry.AsMapEntry()
		path, pathOK := t.literal(pair.Key(), function, "a property's name")
		if pathOK && slices.Contains(named, path) {
			t.fail(pair.Key(), "name each property once", "the filter names %q twice", path)
			pathOK = false
		}
		named = append(named, path)
		conditions := t.conditions(path, pair.Value())
		if conditions == nil || !pathOK {
			ok = false
			continue
		}
		t.mention(pair.Key(), false, path).Value = slices.ContainsFunc(conditions, func(c condition) bool { return c.test.needsValue() })
		filter = append(filter, conditions...)
	}
	if ok && len(filter) == 0 {
		t.fail(e, "leave the filter out", "the filter is empty")
		return nil, false
	}
	return filter, ok
}

// conditions reads what a filter wants of one property; nil after a mistake.
func (t *translator) conditions(path string, e ast.Expr) []condition {
	switch e.Kind() {
	case ast.ListKind:
		want, ok := t.constants(e)
		if !ok {
			return nil
		}
		return []condition{{path: path, test: test{op: is, want: want}}}
	case ast.MapKind:
		var list []condition
		for _, entry := range e.AsMap().Entries() {
			pair := entry.AsMapEntry()
			c, ok := t.condition(path, pair.Key(), pair.Value())
			if !ok {
				return nil
			}
			list = append(list, c)
		}
		if len(list) == 0 {
			t.fail(e, filterHint, "this filter is empty")
		}
		return list
	}
	c := t.constant(e)
	if c == nil {
		t.fail(e, filterHint, "a filter needs a string, a number or a boolean")
		return nil
	}
	return []condition{{path: path, test: test{op: is, want: []constant{*c}}}}
}

// condition reads one entry of {">=": 10, "starts_with": "a"}.
func (t *translator) condition(path string, key, value ast.Expr) (condition, bool) {
	const known = `one of ==, !=, <, <=, >, >=, in, not_in, contains, starts_with, ends_with, matches, exists`
	name, _ := stringOf(key)
	c := condition{path: path}
	switch name {
	case "in", "not_in":
		if value.Kind() != ast.ListKind {
			t.fail(value, filterHint, "%s needs a list", name)
			return c, false
		}
		want, ok := t.constants(value)
		c.test, c.negated = test{op: is, want: want}, name == "not_in"
		return c, ok
	case "exists":
		b := t.constant(value)
		if b == nil || b.kind != aBool {
			t.fail(value, filterHint, "exists needs true or false")
			return c, false
		}
		c.test, c.negated = test{op: present}, !b.truth
		return c, true
	}
	want := t.constant(value)
	if want == nil {
		t.fail(value, filterHint, "a filter needs a string, a number or a boolean")
		return c, false
	}
	switch name {
	case "==", "!=":
		c.test, c.negated = test{op: is, want: []constant{*want}}, name == "!="
		return c, true
	case "<", "<=", ">", ">=":
		if want.kind != aNumber {
			t.fail(value, "strings and booleans compare with ==, != and in", "%s has no order with %s", path, want)
			return c, false
		}
		rel := map[string]relation{"<": less, "<=": lessOrEqual, ">": greater, ">=": greaterOrEqual}[name]
		c.test = test{op: rel.ordered(), limit: want.number}
		return c, true
	case "contains", "starts_with", "ends_with", "matches":
		var ok bool
		c.test, ok = t.stringTest(value, map[string]testOp{"contains": contains, "starts_with": startsWith, "ends_with": endsWith, "matches": matches}[name], want)
		return c, ok
	}
	t.fail(key, "write "+known, "%q is no comparison", name)
	return c, false
}

// constants reads a list of constants.
func (t *translator) constants(e ast.Expr) ([]constant, bool) {
	var want []constant
	for _, item := range e.AsList().Elements() {
		c := t.constant(item)
		if c == nil {
			t.fail(item, "", "a list holds strings, numbers and booleans")
			return nil, false
		}
		want = append(want, *c)
	}
	if len(want) == 0 {
		t.fail(e, `write: trait("plan") in ["pro", "team"]`, "the list is empty, so this is always false")
		return nil, false
	}
	return want, true
}

// thresholds turns a comparison of a count into atoms, so that only so many need to be kept.
func (t *translator) thresholds(e ast.Expr, leaf *Leaf, rel relation, c *constant) *node {
	what, most := "count(…)", MaxCount
	hint := "use total(…) for counts of all time"
	if leaf.kind == values {
		what, most, hint = "distinct(…)", MaxDistinct, "so many values are kept of one customer"
	}
	if c.kind != aNumber || c.number != float64(int(c.number)) {
		t.fail(e, "a count is a whole number, such as 2", "%s is compared with a whole number, not with %s", what, c)
		return nil
	}
	if c.number >= float64(most) {
		t.fail(e, hint, "%s is compared with less than %d", what, most)
		return nil
	}
	n := int(c.number)
	constantly := func(truth string) *node {
		t.fail(e, "a count is 0 or more", "%s is always %s", fmt.Sprintf("%s %s %d", what, rel, n), truth)
		return nil
	}
	switch {
	case n < 0 && (rel == equal || rel == less || rel == lessOrEqual), n == 0 && rel == less:
		return constantly("false")
	case n < 0, n == 0 && rel == greaterOrEqual:
		return constantly("true")
	}
	switch rel {
	case greaterOrEqual:
		return t.atLeast(leaf, n)
	case greater:
		return t.atLeast(leaf, n+1)
	case less:
		return negation(t.atLeast(leaf, n))
	case lessOrEqual:
		return negation(t.atLeast(leaf, n+1))
	}
	more := t.atLeast(leaf, n+1)
	if n == 0 {
		if rel == unequal {
			return more
		}
		return negation(more)
	}
	both := &node{op: all, parts: []*node{t.atLeast(leaf, n), negation(more)}}
	if rel == unequal {
		return negation(both)
	}
	return both
}
