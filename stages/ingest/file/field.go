package file

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// fields are the members of a JSON object, in the order in which the mapping names them.
type fields []*field

// field is one member: a nested object, or a value from a column, a constant or a sum.
type field struct {
	name     string
	at       place
	children fields // nested object when not nil

	column   column
	constant []byte   // JSON text
	factors  []column // sum: one or two columns
	sum      int      // index into callRule.sums
	kind     valueType
	negate   bool
	decimals int32 // -1: as they come
}

type valueType string

const (
	asIs        valueType = "" // a string from CSV; whatever it is from JSONL
	textType    valueType = "string"
	numberType  valueType = "number"
	integerType valueType = "integer"
	moneyType   valueType = "money"
	booleanType valueType = "boolean"
	timeType    valueType = "time"
)

// fieldsOrColumn reads a mapping of fields or, for JSONL, the path of an object that is taken over whole.
func (d *decoder) fieldsOrColumn(m *Mapping, c *callRule, p pair, what string) (fields, *column) {
	if _, ok := scalarText(p.value); ok {
		if m.format != JSONL {
			d.fail(placeOf(p.value), "a whole object needs format: jsonl; else write name: column pairs", "%s must be a mapping", what)
			return nil, nil
		}
		return nil, d.column(m, p.value, what)
	}
	return d.fields(m, c, p.value, what), nil
}

// fields reads the members of an object. c is nil where no sum may stand (inside an item).
func (d *decoder) fields(m *Mapping, c *callRule, n ast.Node, what string) fields {
	o, ok := d.object(n, what)
	if !ok {
		return nil
	}
	var all fields
	for _, p := range o.pairs {
		f := d.field(m, c, p)
		path := strings.Split(p.key, ".")
		switch {
		case slices.Contains(path, ""):
			d.fail(p.at, "", "%q has an empty part", p.key)
		case !all.insert(path, f):
			d.fail(p.at, "", "%q and another field can't both be there", p.key)
		}
	}
	return all
}

// insert places f under its dotted name, if nothing else stands there.
func (all *fields) insert(path []string, f *field) bool {
	at := slices.IndexFunc(*all, func(f *field) bool { return f.name == path[0] })
	if len(path) == 1 {
		f.name = path[0]
		*all = append(*all, f)
		return at < 0
	}
	if at < 0 {
		at = len(*all)
		*all = append(*all, &field{name: path[0], at: f.at, children: fields{}})
	}
	parent := (*all)[at]
	return parent.children != nil && parent.children.insert(path[1:], f)
}

func (d *decoder) field(m *Mapping, c *callRule, p pair) *field {
	f := &field{name: p.key, at: p.at, decimals: -1}
	if _, ok := scalarText(p.value); ok {
		if col := d.column(m, p.value, p.key); col != nil {
			f.column = *col
		}
		return f
	}
	o, ok := d.object(p.value, "field "+p.key)
	if !ok {
		return f
	}
	sources := 0
	if p, ok := o.take("column"); ok {
		sources++
		if col := d.column(m, p.value, "column"); col != nil {
			f.column = *col
		}
	}
	if p, ok := o.take("const"); ok {
		sources++
		f.constant = d.constant(p.value)
	}
	if p, ok := o.take("sum"); ok {
		sources++
		f.kind = moneyType
		d.sum(m, c, f, p)
	}
	if sources != 1 {
		d.fail(o.at, "", "field %q needs one of column, const and sum", p.key)
	}
	if s, p, ok := o.text("type"); ok {
		f.kind = valueType(s)
		kinds := []string{"string", "number", "integer", "money", "boolean", "time"}
		switch {
		case !slices.Contains(kinds, s):
			d.fail(placeOf(p.value), nearest(s, kinds), "unknown type %q", s)
		case f.constant != nil:
			d.fail(p.at, "remove it", "a const has the type that it is written in")
		case f.factors != nil && !f.numeric():
			d.fail(placeOf(p.value), "money, number or integer", "a sum can't be %s", s)
		}
	}
	if s, p, ok := o.text("negate"); ok {
		f.negate = s == "true"
		if s != "true" && s != "false" {
			d.fail(placeOf(p.value), "", "negate is true or false")
		} else if !f.numeric() {
			d.fail(p.at, "add type: number, integer or money", "only a number can be negated")
		}
	}
	if s, p, ok := o.text("decimals"); ok {
		n, err := strconv.Atoi(s)
		if f.decimals = int32(n); err != nil || n < 0 || n > maxMoneyDecimals {
			d.fail(placeOf(p.value), "", "decimals is 0 to %d", maxMoneyDecimals)
			f.decimals = -1
		} else if f.kind != moneyType {
			d.fail(p.at, "add type: money", "decimals rounds money only")
		}
	}
	o.done("field " + p.key)
	return f
}

func (f *field) numeric() bool {
	return f.kind == numberType || f.kind == integerType || f.kind == moneyType
}

func (d *decoder) sum(m *Mapping, c *callRule, f *field, p pair) {
	s, ok := d.text(p.value, "sum")
	if !ok {
		return
	}
	at := placeOf(p.value)
	if c == nil {
		d.fail(p.at, "sums stand beside the items", "an item is one row: it has no sum")
		return
	}
	parts := strings.Split(s, "*")
	for _, part := range parts {
		name := strings.TrimSpace(part)
		if name == "" || len(parts) > 2 {
			d.fail(at, "sum: Quantity * UnitPrice, or sum: Amount", "a sum is one column or two with a * between")
			return
		}
		f.factors = append(f.factors, d.named(m, name, at))
	}
	f.sum = len(c.sums)
	c.sums = append(c.sums, f)
}

func (d *decoder) constant(n ast.Node) []byte {
	switch n := n.(type) {
	case *ast.BoolNode:
		return strconv.AppendBool(nil, n.Value)
	case *ast.IntegerNode, *ast.FloatNode:
		if s := n.GetToken().Value; json.Valid([]byte(s)) {
			return []byte(s)
		}
	}
	s, ok := d.text(n, "const")
	if !ok {
		return []byte("null")
	}
	return appendString(nil, s)
}
