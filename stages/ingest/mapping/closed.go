package mapping

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// Expressions are jq without what can run on by itself or grow without bound: no definitions, no reduce, foreach,
// label, range, recursion over a filter or assignment, and a closed list of functions. What is left takes time and
// memory that the payload's size and the expression's length bound; see also fuel.

// functions are those that an expression may call.
func functions() []string {
	return []string{
		// the language
		"empty", "not", "select", "map", "values", "nulls", "strings", "numbers", "booleans", "arrays", "objects", "scalars", "iterables",
		"length", "keys", "has", "type", "add", "any", "all", "first", "last", "limit", "isempty",
		"to_entries", "from_entries", "with_entries", "del", "getpath", "tostring", "tonumber", "toboolean", "tojson", "fromjson",
		"min", "max", "min_by", "max_by", "sort", "sort_by", "group_by", "unique", "unique_by", "reverse", "flatten", "join", "split",
		"startswith", "endswith", "ltrimstr", "rtrimstr", "trimstr", "trim", "ltrim", "rtrim", "ascii_downcase", "ascii_upcase",
		"test", "match", "capture", "scan", "sub", "gsub", "floor", "ceil", "round", "fabs", "abs", "IN",
		"strptime", "strftime", "mktime", "gmtime", "todate", "fromdate", "fromdateiso8601", "todateiso8601", "dateadd", "datesub",
		// ours
		"email", "phone", "country", "locale", "currency", "amount", "from_minor", "sum", "text", "folded",
	}
}

// check finds what an expression may not use, and puts our own multiplication and subtraction in place of jq's.
type check struct {
	known   map[string]bool
	refused func(name, what, hint string) // name is how it stands in the text
}

func (c *check) query(q *gojq.Query) {
	if q == nil {
		return
	}
	if q.Meta != nil || len(q.Imports) > 0 {
		c.refused("import", "modules can't be used", "")
	}
	for _, d := range q.FuncDefs {
		c.refused("def", "functions can't be defined", "name a value under let, and use it as $name")
		c.query(d.Body)
	}
	c.term(q.Term)
	c.query(q.Left)
	c.query(q.Right)
	for _, p := range q.Patterns {
		c.pattern(p)
	}
	switch q.Op {
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateAdd, gojq.OpUpdateSub, gojq.OpUpdateMul, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		c.refused(q.Op.String(), "values can't be assigned", "build a new object: . + {name: value}")
	case gojq.OpMul:
		*q = *bounded("_times", q)
	case gojq.OpSub:
		*q = *bounded("_minus", q)
	}
}

// bounded is a call of one of our operators.
func bounded(name string, q *gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: []*gojq.Query{q.Left, q.Right}}}}
}

// guarded is a call whose time grows with the square of its text: gojq counts the runes before each match.
func guarded(f *gojq.Func) *gojq.Query {
	call := func(f *gojq.Func) *gojq.Query { return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: f}} }
	return &gojq.Query{Op: gojq.OpPipe, Left: call(&gojq.Func{Name: "_short"}), Right: call(f)}
}

// maxMatched bounds the text that a regular expression is matched with, in bytes.
const maxMatched = 4 << 10

// short gives text on that is short enough to be matched.
func short(v any, _ []any) any {
	if s, ok := v.(string); ok && len(s) > maxMatched {
		return errors.New("the text is too long for a regular expression")
	}
	return v
}

func (c *check) term(t *gojq.Term) {
	if t == nil {
		return
	}
	switch t.Type {
	case gojq.TermTypeReduce:
		c.refused("reduce", "reduce can't be used", "add, join and the like work on whole arrays")
	case gojq.TermTypeForeach:
		c.refused("foreach", "foreach can't be used", "add, join and the like work on whole arrays")
	case gojq.TermTypeLabel, gojq.TermTypeBreak:
		c.refused("label", "label and break can't be used", "first(…) ends at the first value")
	}
	c.index(t.Index)
	if f := t.Func; f != nil {
		if f.Name == "$ENV" || !strings.HasPrefix(f.Name, "$") && !c.known[f.Name] {
			c.refused(f.Name, fmt.Sprintf("%s can't be used", f.Name), c.instead(f.Name))
		}
		for _, a := range f.Args {
			c.query(a)
		}
		switch {
		case f.Name == "split" && len(f.Args) == 2, slices.Contains([]string{"match", "capture", "scan", "sub", "gsub"}, f.Name):
			t.Type, t.Func = gojq.TermTypeQuery, nil
			defer func() { t.Query = guarded(f) }() // once what stands in it is checked
		}
	}
	if t.Object != nil {
		for _, kv := range t.Object.KeyVals {
			c.text(kv.KeyString)
			c.query(kv.KeyQuery)
			c.query(kv.Val)
		}
	}
	if t.Array != nil {
		c.query(t.Array.Query)
	}
	if t.Unary != nil {
		c.term(t.Unary.Term)
	}
	c.text(t.Str)
	if t.If != nil {
		c.query(t.If.Cond)
		c.query(t.If.Then)
		c.query(t.If.Else)
		for _, e := range t.If.Elif {
			c.query(e.Cond)
			c.query(e.Then)
		}
	}
	if t.Try != nil {
		c.query(t.Try.Body)
		c.query(t.Try.Catch)
	}
	c.query(t.Query)
	for _, s := range t.SuffixList {
		c.index(s.Index)
	}
}

func (c *check) index(i *gojq.Index) {
	if i != nil {
		c.text(i.Str)
		c.query(i.Start)
		c.query(i.End)
	}
}

func (c *check) text(s *gojq.String) {
	if s != nil {
		for _, q := range s.Queries {
			c.query(q)
		}
	}
}

func (c *check) pattern(p *gojq.Pattern) {
	for _, a := range p.Array {
		c.pattern(a)
	}
	for _, o := range p.Object {
		c.text(o.KeyString)
		c.query(o.KeyQuery)
		if o.Val != nil {
			c.pattern(o.Val)
		}
	}
}

// instead is what to use in place of a function.
func (c *check) instead(name string) string {
	switch name {
	case "contains", "inside", "index", "rindex", "indices":
		return "test(\"…\") looks into text, any(.[]; . == …) into an array"
	case "now", "env", "$ENV", "input", "inputs":
		return "a mapping sees its payload only, and $headers and $query"
	case "error", "halt", "halt_error":
		return "write a reason under refuse"
	}
	return nearest(name, functions())
}

// minus subtracts numbers: of arrays jq's takes quadratic time.
func minus(l, r any) any {
	x, ok := float(l)
	y, also := float(r)
	if !ok || !also {
		return fmt.Errorf("only numbers can be subtracted, not %s from %s", gojq.TypeOf(r), gojq.TypeOf(l))
	}
	return whole(x - y)
}

// times multiplies numbers: jq's repeats text and has whole numbers without end.
func times(l, r any) any {
	x, ok := float(l)
	y, also := float(r)
	if !ok || !also {
		return fmt.Errorf("only numbers can be multiplied, not %s with %s", gojq.TypeOf(l), gojq.TypeOf(r))
	}
	return whole(x * y)
}

func float(v any) (float64, bool) {
	switch v.(type) {
	case nil, bool, string, []any, map[string]any:
		return 0, false
	}
	if b, ok := v.(*big.Int); ok && b.BitLen() > 1024 {
		return math.Inf(b.Sign()), true
	}
	return gojq.ToFloat64(v)
}

// whole is an int where it can be, which prints without exponent.
func whole(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int(f)
	}
	return f
}
