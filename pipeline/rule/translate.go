package rule

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

const languageHint = "not in Attune's rule language; it has: did, count, ever, total, consent, trait, has_trait, customer.…, " +
	"in_segment, property, has_property, event.…, && || !, comparisons with constants, and in"

// signatures are the functions, as they are written.
func signatures() map[string]string {
	return map[string]string{
		"did":          `did("Event", "24h") or did("Event", {"property": "value"}, "24h")`,
		"count":        `count("Event", "24h") >= 2 or count("Event", {"property": "value"}, "24h") >= 2`,
		"ever":         `ever("Event")`,
		"total":        `total("Event") >= 2`,
		"consent":      `consent("email")`,
		"trait":        `trait("plan") == "pro"`,
		"has_trait":    `has_trait("plan")`,
		"in_segment":   `in_segment("some-segment")`,
		"property":     `property("category") == "sneakers"`,
		"has_property": `has_property("category")`,
	}
}

// translator turns CEL's syntax tree into ours. It collects mistakes; a part with one gives nil.
type translator struct {
	text   []rune
	info   *ast.SourceInfo
	opts   options
	kind   uint64
	errs   []*Error
	leaves map[uint64]*Leaf
	reads  Reads
	calls  map[string]string
}

func newTranslator(text string, tree *ast.AST, o options) *translator {
	t := &translator{text: []rune(text), info: tree.SourceInfo(), opts: o, leaves: map[uint64]*Leaf{}, calls: signatures()}
	if o.event || o.inSegment {
		t.kind = 1
	}
	return t
}

func (t *translator) rule(root node) *Rule {
	r := &Rule{text: string(t.text), root: root, reads: t.reads, kind: t.kind}
	r.leaves = slices.SortedFunc(maps.Values(t.leaves), func(a, b *Leaf) int { return cmp.Compare(a.ID, b.ID) })
	for _, names := range []*[]string{&r.reads.Events, &r.reads.Segments} {
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
func (t *translator) boolean(e ast.Expr, depth int) node {
	if depth > MaxDepth {
		t.fail(e, "split the rule into several segments", "the rule is nested deeper than %d levels", MaxDepth)
		return nil
	}
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return always(b)
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

func (t *translator) call(e ast.Expr, call ast.CallExpr, depth int) node {
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() {
		t.fail(e, languageHint, "the method %s() is unknown", name)
		return nil
	}
	switch name {
	case operators.LogicalAnd, operators.LogicalOr:
		parts := t.flatten(name, e, depth, nil)
		if slices.Contains(parts, nil) {
			return nil
		}
		if name == operators.LogicalAnd {
			return all(parts)
		}
		return either(parts)
	case operators.LogicalNot:
		if part := t.boolean(args[0], depth+1); part != nil {
			return not{part}
		}
		return nil
	case operators.Equals:
		return t.comparison(e, equal, args)
	case operators.NotEquals:
		return t.comparison(e, unequal, args)
	case operators.Less:
		return t.comparison(e, less, args)
	case operators.LessEquals:
		return t.comparison(e, lessOrEqual, args)
	case operators.Greater:
		return t.comparison(e, greater, args)
	case operators.GreaterEquals:
		return t.comparison(e, greaterOrEqual, args)
	case operators.In:
		return t.membership(e, args)
	case "count", "total", "trait", "property":
		if op := t.operand(e); op != nil {
			t.fail(e, "compare it: "+op.example, "%s is no condition", op.what)
		}
		return nil
	case "did":
		leaf := t.leaf(e, call)
		if leaf == nil {
			return nil
		}
		return t.window(leaf, 1)
	}
	switch name {
	case "ever":
		event, ok := t.word1(e, call, "an event's name")
		if !ok {
			return nil
		}
		t.reads.Events = append(t.reads.Events, event)
		return &compared{relation: greaterOrEqual, left: number{kind: totalOf, name: event}, right: number{fixed: 1}}
	case "consent":
		channel, ok := t.word1(e, call, "a channel")
		if !ok {
			return nil
		}
		t.reads.Consent = true
		return consent(channel)
	case "has_trait":
		path, ok := t.word1(e, call, "a trait's name")
		if !ok {
			return nil
		}
		t.reads.Traits = true
		return has{value{trait: true, path: path}}
	case "has_property":
		path, ok := t.word1(e, call, "a property's name")
		if !ok || !t.needEvent(e) {
			return nil
		}
		return has{value{path: path}}
	case "in_segment":
		return t.inSegment(e, call)
	}
	t.refuse(e)
	return nil
}

// flatten collects the parts of a chain of the same operator, which CEL gives as a balanced tree.
func (t *translator) flatten(operator string, e ast.Expr, depth int, parts []node) []node {
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
			hint := nearest(name, slices.Collect(maps.Keys(t.calls)), languageHint)
			switch name {
			case "has", "exists":
				hint = `write has_trait("name") or has_property("name")`
			case "size", "timestamp", "duration", "now":
				hint = languageHint
			}
			t.fail(e, hint, "the function %s() is unknown", name)
		}
	case ast.ListKind:
		t.fail(e, `a list stands after in: trait("plan") in ["pro", "team"]`, "a list is no condition")
	case ast.MapKind:
		t.fail(e, `a filter stands inside did or count: did("Event", {"property": "value"}, "24h")`, "a map is no condition")
	default:
		t.fail(e, languageHint, "this kind of expression is unknown")
	}
}

func (t *translator) inSegment(e ast.Expr, call ast.CallExpr) node {
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
	return inSegment(id)
}

func (t *translator) needEvent(e ast.Expr) bool {
	if !t.opts.event {
		t.fail(e, "a segment looks at the customer; a campaign's where and audience may look at its event",
			"there is no triggering event here")
		return false
	}
	t.reads.Event = true
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
	if e.Kind() == ast.LiteralKind {
		if s, ok := e.AsLiteral().(types.String); ok {
			if s != "" {
				return string(s), true
			}
			t.fail(e, "write "+t.calls[function], "%s is empty", what)
			return "", false
		}
	}
	t.fail(e, "write "+t.calls[function], "%s needs %s as a string in quotes", function, what)
	return "", false
}

// leaf reads did's and count's arguments.
func (t *translator) leaf(e ast.Expr, call ast.CallExpr) *Leaf {
	name, args := call.FunctionName(), call.Args()
	if len(args) < 2 || len(args) > 3 {
		what := fmt.Sprintf("%s takes an event, maybe a filter, and a window, not %d arguments", name, len(args))
		if len(args) == 1 {
			what = name + " needs a window"
		}
		t.fail(e, "write "+t.calls[name], "%s", what)
		return nil
	}
	event, ok := t.literal(args[0], name, "an event's name")
	var filter []condition
	if len(args) == 3 {
		var filterOK bool
		filter, filterOK = t.filter(args[1], name)
		ok = ok && filterOK
	}
	window, windowOK := t.windowArgument(args[len(args)-1], name)
	if !ok || !windowOK {
		return nil
	}
	t.reads.Events = append(t.reads.Events, event)
	leaf := newLeaf(event, filter, window, t.kind)
	if known := t.leaves[leaf.ID]; known != nil {
		return known
	}
	t.leaves[leaf.ID] = leaf
	return leaf
}

func (t *translator) windowArgument(e ast.Expr, function string) (time.Duration, bool) {
	s, ok := t.literal(e, function, "a window such as \"24h\"")
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

func (t *translator) filter(e ast.Expr, function string) ([]condition, bool) {
	if e.Kind() != ast.MapKind {
		t.fail(e, "write "+t.calls[function], "%s needs its filter as a map", function)
		return nil, false
	}
	var filter []condition
	ok := true
	for _, entry := range e.AsMap().Entries() {
		pair := entry.AsMapEntry()
		path, pathOK := t.literal(pair.Key(), function, "a property's name")
		c := t.constant(pair.Value())
		if c == nil {
			t.fail(pair.Value(), `a filter compares with constants: {"category": "sneakers", "price": 10, "gift": true}`,
				"a filter needs a string, a number or a boolean")
		}
		if pathOK && slices.ContainsFunc(filter, func(f condition) bool { return f.path == path }) {
			t.fail(pair.Key(), "name each property once", "the filter names %q twice", path)
			pathOK = false
		}
		if c == nil || !pathOK {
			ok = false
			continue
		}
		filter = append(filter, condition{path: path, want: *c})
	}
	if ok && len(filter) == 0 {
		t.fail(e, "leave the filter out", "the filter is empty")
		return nil, false
	}
	return filter, ok
}

// window asks a leaf for n events or more.
func (t *translator) window(leaf *Leaf, n int) node {
	leaf.keep = max(leaf.keep, n)
	return &windowed{id: leaf.ID, window: leaf.Window, n: n, leaf: leaf}
}

// constant reads a literal; nil when it is none, or null, bytes or an unsigned number.
func (t *translator) constant(e ast.Expr) *constant {
	if e.Kind() != ast.LiteralKind {
		return nil
	}
	switch v := e.AsLiteral().(type) {
	case types.String:
		return &constant{kind: aString, text: string(v)}
	case types.Bool:
		return &constant{kind: aBool, truth: bool(v)}
	case types.Int:
		if v > 1<<53 || v < -1<<53 {
			t.fail(e, "numbers are exact up to "+strconv.Itoa(1<<53), "the number %d is too large to be compared exactly", v)
		}
		return &constant{kind: aNumber, number: float64(v)}
	case types.Double:
		if math.IsInf(float64(v), 0) || math.IsNaN(float64(v)) {
			t.fail(e, "", "this number is out of range")
		}
		return &constant{kind: aNumber, number: float64(v) + 0} // + 0 turns -0 into 0
	}
	return nil
}
