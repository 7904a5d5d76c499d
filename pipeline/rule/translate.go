package rule

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

// translator turns CEL's syntax tree into ours. It collects mistakes; a part with one gives nil.
type translator struct {
	text     []rune
	info     *ast.SourceInfo
	opts     options
	kind     uint64
	errs     []*Error
	leaves   map[uint64]*Leaf
	fields   map[string]bool
	reads    Reads
	mentions []*Mention
	calls    map[string]string
	tiers    []string // the workspace's; empty: not known here
}

func newTranslator(text string, tree *ast.AST, o options) *translator {
	t := &translator{text: []rune(text), info: tree.SourceInfo(), opts: o, leaves: map[uint64]*Leaf{}, fields: map[string]bool{}, calls: signatures()}
	if o.campaign {
		t.kind = 1
	}
	return t
}

func (t *translator) rule(root *node) *Rule {
	r := &Rule{text: string(t.text), root: root, reads: t.reads, mentions: t.mentions, kind: t.kind}
	r.leaves = slices.SortedFunc(maps.Values(t.leaves), func(a, b *Leaf) int { return cmp.Compare(a.ID, b.ID) })
	r.reads.Fields = slices.Sorted(maps.Keys(t.fields))
	for _, names := range []*[]string{&r.reads.Events, &r.reads.Totals, &r.reads.Segments} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return r
}

func (t *translator) errors() error { return join(t.errs) }

func (t *translator) fail(e ast.Expr, hint, format string, args ...any) {
	loc := t.info.GetLocationByOffset(t.start(e))
	t.errs = append(t.errs, &Error{Line: loc.Line(), Column: loc.Column() + 1, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// start is the offset of an expression's first character; the parser knows that of its operator only.
func (t *translator) start(e ast.Expr) int32 {
	own, _ := t.info.GetOffsetRange(e.ID())
	switch e.Kind() {
	case ast.SelectKind:
		return t.start(e.AsSelect().Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			return t.start(call.Target())
		}
		if args := call.Args(); len(args) > 0 {
			if first := t.start(args[0]); first < own.Start {
				return first
			}
		}
		return t.word(call.FunctionName(), own.Start)
	}
	return own.Start
}

// word steps back from a call's parenthesis to its name.
func (t *translator) word(name string, at int32) int32 {
	i := int(at)
	for i > 0 && i <= len(t.text) && strings.ContainsRune(" \t\r\n", t.text[i-1]) {
		i--
	}
	if begin := i - len([]rune(name)); begin >= 0 && i <= len(t.text) && string(t.text[begin:i]) == name {
		return int32(begin)
	}
	return at
}

// boolean translates what must be true or false.
func (t *translator) boolean(e ast.Expr, depth int) *node {
	if depth > MaxDepth {
		t.fail(e, "split the rule into several segments", "the rule is nested deeper than %d levels", MaxDepth)
		return nil
	}
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return t.spoken(e, always(bool(b)))
		}
		t.fail(e, "compare it with something of the customer", "a constant alone is no condition")
	case ast.CallKind:
		return t.call(e, e.AsCall(), depth)
	case ast.IdentKind, ast.SelectKind:
		if op := t.operand(e); op != nil {
			t.fail(e, "compare it: "+op.example, "%s is no condition", op.what)
		}
	default:
		t.refuse(e)
	}
	return nil
}

// spoken gives a part the text that explain shows for it.
func (t *translator) spoken(e ast.Expr, n *node) *node {
	if n == nil {
		return nil
	}
	text, err := parser.Unparse(e, t.info)
	if err != nil {
		var b strings.Builder
		n.write(&b)
		text = b.String()
	}
	named := *n
	named.text = text
	return &named
}

func (t *translator) call(e ast.Expr, call ast.CallExpr, depth int) *node {
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() {
		return t.spoken(e, t.textTest(e, call))
	}
	switch name {
	case operators.LogicalAnd, operators.LogicalOr:
		parts := t.flatten(name, e, depth, nil)
		if slices.Contains(parts, nil) {
			return nil
		}
		if name == operators.LogicalAnd {
			return &node{op: all, parts: parts}
		}
		return &node{op: either, parts: parts}
	case operators.LogicalNot:
		part := t.boolean(args[0], depth+1)
		switch {
		case part == nil:
			return nil
		case part.text == "":
			return negation(part)
		}
		not := negation(part) // !did(…) is one line
		not.text = "!(" + part.text + ")"
		if inner := args[0].AsCall(); args[0].Kind() == ast.CallKind && (inner.IsMemberFunction() || t.calls[inner.FunctionName()] != "") {
			not.text = "!" + part.text
		}
		return not
	}
	if rel, ok := relations()[name]; ok {
		return t.spoken(e, t.comparison(e, rel, args))
	}
	switch name {
	case operators.In:
		return t.spoken(e, t.membership(e, args))
	case "did", "ever", "consent", "has_trait", "has_property", "in_segment", "in_percent", "in_cart", "sequence", "followed", "not_followed":
		return t.spoken(e, t.predicate(e, call))
	}
	if t.calls[name] == "" {
		t.refuse(e)
		return nil
	}
	if op := t.operand(e); op != nil {
		t.fail(e, "compare it: "+op.example, "%s is no condition", op.what)
	}
	return nil
}

func relations() map[string]relation {
	return map[string]relation{
		operators.Equals: equal, operators.NotEquals: unequal, operators.Less: less, operators.LessEquals: lessOrEqual,
		operators.Greater: greater, operators.GreaterEquals: greaterOrEqual,
	}
}

// predicate translates a function that is true or false by itself.
func (t *translator) predicate(e ast.Expr, call ast.CallExpr) *node {
	switch name := call.FunctionName(); name {
	case "did":
		if leaf := t.lookBack(e, call, times); leaf != nil {
			return t.atLeast(leaf, 1)
		}
	case "ever":
		if event, ok := t.word1(e, call, "an event's name"); ok {
			t.reads.Totals = append(t.reads.Totals, event)
			t.fields["event:"+event] = true
			return ask(&atom{kind: compared, relation: greaterOrEqual, left: number{kind: totalOf, name: event}, right: number{fixed: 1}})
		}
	case "consent":
		if channel, ok := t.word1(e, call, "a channel"); ok {
			t.fields["consent:"+channel] = true
			return ask(&atom{kind: consented, name: channel})
		}
	case "has_trait":
		if path, ok := t.word1(e, call, "a trait's name"); ok {
			t.readTrait(path)
			t.mention(e, true, path).Value = false
			return ask(&atom{kind: traitPasses, name: path, test: test{op: present}})
		}
	case "has_property":
		if path, ok := t.word1(e, call, "a property's name"); ok && t.needEvent(e, "property:"+path) {
			t.mention(e, false, path).Value = false
			return ask(&atom{kind: triggerHas, name: path, test: test{op: present}})
		}
	case "in_cart":
		if product, ok := t.word1(e, call, "a product's id"); ok {
			t.fields["customer.cart"] = true
			return ask(&atom{kind: inCart, name: product})
		}
	case "in_segment":
		return t.inSegment(e, call)
	case "in_percent":
		return t.inPercent(e, call)
	default:
		return t.steps(e, call)
	}
	return nil
}

func ask(a *atom) *node { return &node{op: asks, atom: a} }

func (t *translator) readTrait(path string) { t.fields["trait:"+path] = true }

// flatten collects the parts of a chain of the same operator, which CEL gives as a balanced tree.
func (t *translator) flatten(operator string, e ast.Expr, depth int, parts []*node) []*node {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operator && !e.AsCall().IsMemberFunction() {
		for _, arg := range e.AsCall().Args() {
			parts = t.flatten(operator, arg, depth, parts)
		}
		return parts
	}
	return append(parts, t.boolean(e, depth+1))
}

// refuse says why something of CEL isn't in the language.
func (t *translator) refuse(e ast.Expr) {
	switch e.Kind() {
	case ast.CallKind:
		name := e.AsCall().FunctionName()
		switch name {
		case operators.Conditional:
			t.fail(e, "write (a && b) || (!a && c)", "a ? b : c is not in Attune's rule language")
		case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate:
			t.fail(e, "compare with a constant", "arithmetic is not in Attune's rule language")
		case operators.Index, operators.OptIndex, operators.OptSelect:
			t.fail(e, `write property("name") or event.properties.name`, "[…] is not in Attune's rule language")
		case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
			t.fail(e, "leave out the comparison", "a condition can't be compared")
		default:
			hint := nearest(name, slices.Collect(maps.Keys(t.calls)), languageHint())
			switch name {
			case "has", "exists":
				hint = `write has_trait("name") or has_property("name")`
			case "timestamp":
				hint = `write date("2026-11-27")`
			case "size", "duration", "now":
				hint = languageHint()
			}
			t.fail(e, hint, "the function %s() is unknown", name)
		}
	case ast.ListKind:
		t.fail(e, `a list stands after in: trait("plan") in ["pro", "team"]`, "a list is no condition")
	case ast.MapKind:
		t.fail(e, `a filter stands inside did or count: did("Event", {"property": "value"}, "24h")`, "a map is no condition")
	default:
		t.fail(e, languageHint(), "this kind of expression is unknown")
	}
}

func (t *translator) inSegment(e ast.Expr, call ast.CallExpr) *node {
	id, ok := t.word1(e, call, "a segment's id")
	if !ok {
		return nil
	}
	if !t.opts.inSegment {
		t.fail(e, "repeat that segment's rule here", "in_segment can't be used here")
		return nil
	}
	if !t.opts.segments[id] {
		known := slices.Sorted(maps.Keys(t.opts.segments))
		list := "there are no segments yet"
		if len(known) > 0 {
			list = "known segments: " + strings.Join(known[:min(len(known), 10)], ", ")
		}
		t.fail(call.Args()[0], nearest(id, known, list), "the segment %q is unknown", id)
		return nil
	}
	t.reads.Segments = append(t.reads.Segments, id)
	t.fields["segment:"+id] = true
	return ask(&atom{kind: member, name: id})
}

func (t *translator) inPercent(e ast.Expr, call ast.CallExpr) *node {
	args := call.Args()
	if len(args) != 2 {
		t.fail(e, "write "+t.calls["in_percent"], "in_percent takes a name and a percentage, not %d arguments", len(args))
		return nil
	}
	salt, ok := t.literal(args[0], "in_percent", "a name for the draw")
	c := t.constant(args[1])
	hundredths := 0.0
	if c != nil {
		hundredths = math.Round(c.number * 100)
	}
	if c == nil || c.kind != aNumber || c.number < 0 || c.number > 100 || hundredths/100 != c.number {
		t.fail(args[1], "write "+t.calls["in_percent"], "in_percent needs a percentage from 0 to 100 with at most two decimals")
		return nil
	}
	if !ok {
		return nil
	}
	return ask(&atom{kind: shared, name: salt, span: instantOf(hundredths)})
}

func (t *translator) needEvent(e ast.Expr, field string) bool {
	if !t.opts.event {
		t.fail(e, "a segment looks at the customer; a campaign's where and audience may look at its event",
			"there is no triggering event here")
		return false
	}
	t.reads.Event = true
	t.fields[field] = true
	return true
}

// word1 is the one non-empty string that a function takes.
func (t *translator) word1(e ast.Expr, call ast.CallExpr, what string) (string, bool) {
	name, args := call.FunctionName(), call.Args()
	if len(args) != 1 {
		t.fail(e, "write "+t.calls[name], "%s takes one argument, %s, not %d", name, what, len(args))
		return "", false
	}
	return t.literal(args[0], name, what)
}

func (t *translator) literal(e ast.Expr, function, what string) (string, bool) {
	if s, ok := stringOf(e); ok {
		if s != "" {
			return s, true
		}
		t.fail(e, "write "+t.calls[function], "%s is empty", what)
		return "", false
	}
	t.fail(e, "write "+t.calls[function], "%s needs %s as a string in quotes", function, what)
	return "", false
}

func stringOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// constant reads a literal; nil when it is none, or null, bytes or an unsigned number.
func (t *translator) constant(e ast.Expr) *constant {
	if e.Kind() != ast.LiteralKind {
		return nil
	}
	switch v := e.AsLiteral().(type) {
	case types.String:
		return &constant{kind: aString, text: string(v), bytes: []byte(v)}
	case types.Bool:
		return &constant{kind: aBool, truth: bool(v)}
	case types.Int:
		if v >= exactUpTo || v <= -exactUpTo {
			t.tooLarge(e, strconv.FormatInt(int64(v), 10))
		}
		return &constant{kind: aNumber, number: float64(v)}
	case types.Double:
		if math.Abs(float64(v)) >= exactUpTo {
			t.tooLarge(e, strconv.FormatFloat(float64(v), 'g', -1, 64))
		}
		return &constant{kind: aNumber, number: float64(v) + 0} // + 0 turns -0 into 0
	}
	return nil
}

func (t *translator) tooLarge(e ast.Expr, number string) {
	t.fail(e, "numbers are exact up to "+strconv.Itoa(exactUpTo-1), "the number %s is too large to be compared exactly", number)
}
