package rule

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"attune/pipeline/event"
)

// operand is one side of a comparison. Its kind says which of its other fields mean something.
type operand struct {
	kind     operandKind
	constant *constant
	number   *number
	atom     atom // a value: all of it but the test; a span: all but relation and span
	leaf     *Leaf
	moment   moment
	date     event.Instant
	extreme  *extreme
	mention  *Mention // of a value: where it is named

	what    string // for messages
	example string
}

type operandKind uint8

const (
	aConstant operandKind = iota
	aCustomerNumber
	aValue   // of a trait, a property, or what an event carried
	aCount   // of a leaf: events or values
	aSum     // of a leaf, or the mean
	aMinimum // or maximum
	aSpan    // since, until
	aMoment
	aDate
	aConfidence // of the style group
)

// extreme is what min or max asks about.
type extreme struct {
	event, property string
	filter          []condition
	window          window
	highest         bool
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
	if t.boolean(e, 1) != nil { // else it has said what is wrong with it
		t.fail(e, "write it alone, or with ! for not", "this is true or false already and can't be compared")
	}
	return nil
}

func (t *translator) callOperand(e ast.Expr, call ast.CallExpr) *operand {
	name := call.FunctionName()
	op := &operand{what: name + "(…)", example: t.calls[name]}
	ok := false
	switch name {
	case "count":
		op.kind, op.leaf = aCount, t.lookBack(e, call, times)
		ok = op.leaf != nil
	case "distinct":
		op.kind, op.leaf = aCount, t.lookBack(e, call, values)
		ok = op.leaf != nil
	case "sum", "avg":
		op.kind = aSum
		op.atom.kind = map[string]atomKind{"sum": summed, "avg": averaged}[name]
		op.leaf = t.sums(e, call)
		ok = op.leaf != nil
	case "min", "max":
		op.kind = aMinimum
		op.extreme = t.extreme(e, call)
		ok = op.extreme != nil
	case "first", "last":
		ok = t.firstOrLast(e, call, op)
	case "since", "until":
		ok = t.spanTo(e, call, op)
	case "date":
		ok = t.date(e, call, op)
	case "propensity", "confidence":
		var score string
		if score, ok = t.propensity(e, call); ok {
			t.fields["propensity:"+score] = true
			op.kind, op.number = aCustomerNumber, &number{kind: map[string]numberKind{"propensity": propensityOf, "confidence": confidenceOf}[name], name: score}
		}
	case "affinity":
		op.number, ok = t.affinity(e, call)
		op.kind = aCustomerNumber
	case "favourite":
		var of words
		of, ok = t.favourite(e, call)
		op.kind, op.atom = aValue, atom{kind: worded, words: of}
	case "total":
		var event string
		if event, ok = t.word1(e, call, "an event's name"); ok {
			t.reads.Totals = append(t.reads.Totals, event)
			t.fields["event:"+event] = true
			op.kind, op.number = aCustomerNumber, &number{kind: totalOf, name: event}
		}
	case "trait":
		var path string
		if path, ok = t.word1(e, call, "a trait's name"); ok {
			t.readTrait(path)
			op.kind, op.atom, op.mention = aValue, atom{kind: traitPasses, name: path}, t.mention(e, true, path)
			op.moment = moment{kind: traitMoment, name: path}
		}
	case "property":
		var path string
		if path, ok = t.word1(e, call, "a property's name"); ok {
			ok = t.needEvent(e, "property:"+path)
			op.kind, op.atom, op.mention = aValue, atom{kind: triggerHas, name: path}, t.mention(e, false, path)
		}
	default:
		if t.calls[name] != "" {
			t.fail(e, "write it alone, or with ! for not", "%s(…) is true or false already and can't be compared", name)
		} else {
			t.refuse(e)
		}
	}
	if !ok {
		return nil
	}
	return op
}

// propensity is the name of one that is foretold.
func (t *translator) propensity(e ast.Expr, call ast.CallExpr) (name string, ok bool) {
	name, ok = t.word1(e, call, "a score's name")
	if !ok || t.opts.propensities == nil || slices.Contains(t.opts.propensities, name) {
		return name, ok
	}
	list := "enrich.propensities of the workspace names none"
	if len(t.opts.propensities) > 0 {
		list = "enrich.propensities of the workspace names " + strings.Join(t.opts.propensities, ", ")
	}
	t.fail(call.Args()[0], nearest(name, t.opts.propensities, list), "the propensity %q is unknown", name)
	return name, false
}

// sums is the leaf of sum and avg: every amount in a window that has an end, else their total.
func (t *translator) sums(e ast.Expr, call ast.CallExpr) *Leaf {
	l := t.lookBack(e, call, amounts)
	if l == nil || l.window.horizon() != never {
		if l != nil {
			l.keep = MaxKept
		}
		return l
	}
	delete(t.leaves, l.ID)
	return t.keepLeaf(newLeaf(total, l.Event, l.property, l.filter, l.window, t.kind))
}

func (t *translator) extreme(e ast.Expr, call ast.CallExpr) *extreme {
	name, args := call.FunctionName(), call.Args()
	if len(args) < 2 {
		t.fail(e, "write "+t.calls[name], "%s needs an event and a property", name)
		return nil
	}
	x := &extreme{highest: name == "max"}
	var ok, propertyOK, restOK bool
	x.event, ok = t.literal(args[0], name, "an event's name")
	if x.property, propertyOK = t.literal(args[1], name, "a property's name"); propertyOK {
		t.mention(args[1], false, x.property)
	}
	x.filter, x.window, restOK = t.filterAndWindow(e, name, args[2:])
	if !ok || !propertyOK || !restOK {
		return nil
	}
	return x
}

// firstOrLast reads first and last: of a property its value, else when it was.
func (t *translator) firstOrLast(e ast.Expr, call ast.CallExpr, op *operand) bool {
	name, args := call.FunctionName(), call.Args()
	ofProperty := false
	if len(args) > 1 {
		_, ofProperty = stringOf(args[1])
	}
	if !ofProperty {
		return t.momentOf(e, call, op)
	}
	kind := newest
	if name == "first" {
		kind = earliest
	}
	mentioned := len(t.mentions)
	l := t.lookBack(e, call, kind)
	if l == nil {
		return false
	}
	of := t.mentions[mentioned] // the property, before what a filter names
	if name == "first" && l.window.horizon() != never {
		t.fail(e, "leave the window out, or give two dates", "the first in a window that moves can't be kept: every event in it may become the first")
		return false
	}
	l.keep = 1
	op.kind, op.leaf, op.atom, op.mention = aValue, l, atom{kind: lastly, leaf: l}, of
	return true
}

// momentOf reads first("Event") and last("Event"): when it was.
func (t *translator) momentOf(e ast.Expr, call ast.CallExpr, op *operand) bool {
	name, args := call.FunctionName(), call.Args()
	if len(args) == 0 || len(args) > 2 {
		t.fail(e, "write "+t.calls[name], "%s needs an event", name)
		return false
	}
	event, ok := t.literal(args[0], name, "an event's name")
	var filter []condition
	if len(args) == 2 {
		if args[1].Kind() != ast.MapKind {
			t.fail(args[1], "write "+t.calls[name], "%s needs a property, or a filter as a map", name)
			return false
		}
		var filterOK bool
		filter, filterOK = t.filter(args[1], name)
		ok = ok && filterOK
	}
	if !ok {
		return false
	}
	kind, moments := times, lastOf
	if name == "first" {
		kind, moments = earliest, firstOf
	}
	l := t.keepLeaf(newLeaf(kind, event, "", filter, window{}, t.kind))
	l.keep = max(l.keep, 1)
	op.kind, op.moment = aMoment, moment{kind: moments, leaf: l}
	return true
}

// spanTo reads since and until.
func (t *translator) spanTo(e ast.Expr, call ast.CallExpr, op *operand) bool {
	name, args := call.FunctionName(), call.Args()
	if len(args) != 1 {
		t.fail(e, "write "+t.calls[name], "%s takes one moment, not %d arguments", name, len(args))
		return false
	}
	op.kind = aSpan
	op.atom.kind = map[string]atomKind{"since": elapsed, "until": remaining}[name]
	if event, ok := stringOf(args[0]); ok && event != "" { // since("Event") is since(last("Event"))
		l := t.keepLeaf(newLeaf(times, event, "", nil, window{}, t.kind))
		l.keep = max(l.keep, 1)
		op.atom.moment = moment{kind: lastOf, leaf: l}
		return true
	}
	of := t.operand(args[0])
	if of == nil {
		return false
	}
	if of.kind != aMoment && of.moment.name == "" {
		t.fail(args[0], "write "+t.calls[name], "%s is no moment", of.what)
		return false
	}
	op.atom.moment = of.moment
	return true
}

func (t *translator) date(e ast.Expr, call ast.CallExpr, op *operand) bool {
	text, ok := t.word1(e, call, "a date")
	if !ok {
		return false
	}
	at, ok := parseMoment([]byte(text))
	if !ok {
		t.fail(call.Args()[0], `write date("2026-11-27"), its first instant in UTC, or date("2026-11-27T08:00:00+01:00")`, "%q is no date", text)
		return false
	}
	op.kind, op.date, op.what = aDate, at, "a date"
	return true
}

// variable reads customer.… and event.….
func (t *translator) variable(e ast.Expr) *operand {
	path, ok := dotted(e)
	if !ok {
		t.fail(e, languageHint(), "this field is unknown")
		return nil
	}
	root, rest, _ := strings.Cut(path, ".")
	switch {
	case root == "customer":
		if kind, known := customerNumbers()[rest]; known {
			t.fields[path] = true
			return &operand{kind: aCustomerNumber, number: &number{kind: kind, name: path}, what: path, example: path + " > 20"}
		}
		if kind, known := customerMoments()[rest]; known {
			t.fields[path] = true
			return &operand{kind: aMoment, moment: moment{kind: kind, name: path}, what: path, example: "since(" + path + `) > "30d"`}
		}
		if kind, known := customerWords()[rest]; known {
			t.fields[path] = true
			return &operand{kind: aValue, atom: atom{kind: worded, words: words{kind: kind, name: path}}, what: path, example: path + ` == "word"`}
		}
		if rest == styleConfidence {
			t.fields[path] = true
			return &operand{kind: aConfidence, what: path, example: path + " >= 0.5"}
		}
		var names []string
		for _, name := range Variables() {
			names = append(names, strings.TrimPrefix(name, "customer."))
		}
		t.fail(e, nearest(rest, names, "customer has: "+strings.Join(names, ", ")), "%s is unknown", path)
		return nil
	case path == "event.name":
		if !t.needEvent(e, path) {
			return nil
		}
		return &operand{kind: aValue, atom: atom{kind: triggerNamed}, what: path, example: path + ` == "Product Added"`}
	case path == "event" || path == "event.properties":
		t.fail(e, "write event.name, or event.properties.price for the property price", "%s is no value", path)
		return nil
	case root == "event":
		name, isProperty := strings.CutPrefix(rest, "properties.")
		if !isProperty {
			t.fail(e, "event has: name, properties.…", "%s is unknown", path)
			return nil
		}
		if !t.needEvent(e, "property:"+name) {
			return nil
		}
		return &operand{kind: aValue, atom: atom{kind: triggerHas, name: name}, mention: t.mention(e, false, name), what: path, example: path + ` == "value"`}
	}
	hint := nearest(root, []string{"customer", "event"}, "")
	if hint == "" {
		hint = "a string stands in quotes; " + languageHint()
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
