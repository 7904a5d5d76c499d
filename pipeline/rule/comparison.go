package rule

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// operand is one side of a comparison: exactly one of its parts is set.
type operand struct {
	constant *constant
	number   *number
	value    *value
	count    *Leaf
	name     bool // event.name

	what    string // for messages
	example string
}

// operand reads one side of a comparison; nil after a mistake.
func (t *translator) operand(e ast.Expr) *operand {
	switch e.Kind() {
	case ast.LiteralKind:
		if c := t.constant(e); c != nil {
			return &operand{constant: c, what: "a constant"}
		}
		hint := "compare with a string, a number or a boolean"
		if _, null := e.AsLiteral().(types.Null); null {
			hint = `write has_trait("name") or has_property("name")`
		}
		t.fail(e, hint, "this constant can't be compared")
		return nil
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			break
		}
		return t.callOperand(e, e.AsCall())
	case ast.IdentKind, ast.SelectKind:
		return t.variable(e)
	}
	if e.Kind() == ast.ListKind || e.Kind() == ast.MapKind {
		t.fail(e, `for one of several write: trait("plan") in ["pro", "team"]`, "a list or map can't be compared")
		return nil
	}
	t.boolean(e, 1) // says what is wrong with it
	return nil
}

func (t *translator) callOperand(e ast.Expr, call ast.CallExpr) *operand {
	name := call.FunctionName()
	switch name {
	case "count":
		leaf := t.leaf(e, call)
		if leaf == nil {
			return nil
		}
		return &operand{count: leaf, what: "count(…)", example: t.calls[name]}
	case "total":
		event, ok := t.word1(e, call, "an event's name")
		if !ok {
			return nil
		}
		t.reads.Events = append(t.reads.Events, event)
		return &operand{number: &number{kind: totalOf, name: event}, what: "total(…)", example: t.calls[name]}
	case "trait":
		path, ok := t.word1(e, call, "a trait's name")
		if !ok {
			return nil
		}
		t.reads.Traits = true
		return &operand{value: &value{trait: true, path: path}, what: "trait(…)", example: t.calls[name]}
	case "property":
		path, ok := t.word1(e, call, "a property's name")
		if !ok || !t.needEvent(e) {
			return nil
		}
		return &operand{value: &value{path: path}, what: "property(…)", example: t.calls[name]}
	case "did", "ever", "consent", "has_trait", "has_property", "in_segment":
		t.fail(e, "write it alone, or with ! for not", "%s(…) is true or false already and can't be compared", name)
		return nil
	}
	t.refuse(e)
	return nil
}

// variable reads customer.… and event.….
func (t *translator) variable(e ast.Expr) *operand {
	path, ok := dotted(e)
	if !ok {
		t.fail(e, languageHint, "this field is unknown")
		return nil
	}
	root, rest, _ := strings.Cut(path, ".")
	switch {
	case root == "customer":
		numbers := customerNumbers()
		kind, known := numbers[rest]
		if !known {
			names := slices.Sorted(maps.Keys(numbers))
			t.fail(e, nearest(rest, names, "customer has: "+strings.Join(names, ", ")), "%s is unknown", path)
			return nil
		}
		if kind == scoreCLV || kind == scoreAlive {
			t.reads.Scores = true
		} else {
			t.reads.Orders = true
		}
		return &operand{number: &number{kind: kind, name: path}, what: path, example: path + " > 20"}
	case path == "event.name":
		if !t.needEvent(e) {
			return nil
		}
		return &operand{name: true, what: path, example: path + ` == "Product Added"`}
	case path == "event" || path == "event.properties":
		t.fail(e, "write event.name, or event.properties.price for the property price", "%s is no value", path)
		return nil
	case root == "event":
		name, isProperty := strings.CutPrefix(rest, "properties.")
		if !isProperty {
			t.fail(e, "event has: name, properties.…", "%s is unknown", path)
			return nil
		}
		if !t.needEvent(e) {
			return nil
		}
		return &operand{value: &value{path: name}, what: path, example: path + ` == "value"`}
	}
	hint := nearest(root, []string{"customer", "event"}, "")
	if hint == "" {
		hint = "a string stands in quotes; " + languageHint
	}
	t.fail(e, hint, "the name %s is unknown", root)
	return nil
}

// dotted is the text of a.b.c.
func dotted(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), true
	case ast.SelectKind:
		s := e.AsSelect()
		path, ok := dotted(s.Operand())
		return path + "." + s.FieldName(), ok && !s.IsTestOnly()
	}
	return "", false
}

func (t *translator) comparison(e ast.Expr, rel relation, args []ast.Expr) node {
	left, right := t.operand(args[0]), t.operand(args[1])
	if left == nil || right == nil {
		return nil
	}
	if left.constant != nil && right.constant == nil {
		left, right, rel = right, left, rel.mirrored()
	}
	c := right.constant
	switch {
	case left.constant != nil:
		t.fail(e, "compare with something of the customer", "two constants always compare the same")
		return nil
	case left.number != nil && right.number != nil:
		return &compared{relation: rel, left: *left.number, right: *right.number}
	case c == nil:
		t.fail(e, "compare each with a constant", "%s and %s can't be compared with each other", left.what, right.what)
		return nil
	case left.count != nil:
		return t.count(e, left.count, rel, c)
	case left.number != nil:
		if c.kind != aNumber {
			t.fail(e, left.example, "%s is a number and can't be compared with %s", left.what, c)
			return nil
		}
		return &compared{relation: rel, left: *left.number, right: number{fixed: c.number}}
	case rel == equal || rel == unequal:
		var n node
		if left.name {
			if c.kind != aString {
				t.fail(e, left.example, "%s is a string and can't be compared with %s", left.what, c)
				return nil
			}
			n = named{*c}
		} else {
			n = equalsOne{value: *left.value, want: []constant{*c}}
		}
		if rel == unequal {
			return not{n}
		}
		return n
	case c.kind != aNumber || left.name:
		t.fail(e, "strings and booleans compare with ==, != and in", "%s has no order with %s", left.what, c)
		return nil
	}
	return &measured{relation: rel, value: *left.value, limit: c.number}
}

// count turns a comparison into thresholds, so that only so many times need to be kept.
func (t *translator) count(e ast.Expr, leaf *Leaf, rel relation, c *constant) node {
	if c.kind != aNumber || c.number != float64(int(c.number)) {
		t.fail(e, t.calls["count"], "count(…) is compared with a whole number, not with %s", c)
		return nil
	}
	if c.number >= MaxCount {
		t.fail(e, "use total(…) for counts of all time", "count(…) is compared with less than %d", MaxCount)
		return nil
	}
	n := int(c.number)
	constantly := func(what string) node {
		t.fail(e, "a count is 0 or more", "count(…) %s %d is always %s", rel, n, what)
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
		return t.window(leaf, n)
	case greater:
		return t.window(leaf, n+1)
	case less:
		return not{t.window(leaf, n)}
	case lessOrEqual:
		return not{t.window(leaf, n+1)}
	}
	exactly := not{t.window(leaf, n+1)}
	if rel == equal && n == 0 {
		return exactly
	}
	if n == 0 {
		return exactly.part
	}
	both := all{t.window(leaf, n), exactly}
	if rel == unequal {
		return not{both}
	}
	return both
}

// membership reads x in [constants].
func (t *translator) membership(e ast.Expr, args []ast.Expr) node {
	left := t.operand(args[0])
	if args[1].Kind() != ast.ListKind {
		t.fail(args[1], `write: trait("plan") in ["pro", "team"]`, "in needs a list of strings")
		return nil
	}
	list := args[1].AsList()
	if list.Size() == 0 {
		t.fail(args[1], `write: trait("plan") in ["pro", "team"]`, "the list is empty, so this is always false")
		return nil
	}
	var want []constant
	for _, item := range list.Elements() {
		c := t.constant(item)
		if c == nil || c.kind != aString {
			t.fail(item, "compare numbers with == and ||", "a list after in holds strings")
			return nil
		}
		want = append(want, *c)
	}
	switch {
	case left == nil:
		return nil
	case left.name:
		return named(want)
	case left.value != nil:
		return equalsOne{value: *left.value, want: want}
	}
	t.fail(e, `write: trait("plan") in ["pro", "team"]`, "%s can't be looked up in a list of strings", left.what)
	return nil
}
