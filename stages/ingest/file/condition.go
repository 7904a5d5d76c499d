package file

import (
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/shopspring/decimal"
)

// condition is one test of one column.
type condition struct {
	column  column
	op      string
	text    string
	list    []string
	pattern *regexp.Regexp
	number  decimal.Decimal
}

func (d *decoder) conditions(m *Mapping, n ast.Node) []condition {
	var all []condition
	if len(d.list(n)) == 0 {
		d.fail(placeOf(n), "leave it out, or write a condition", "an empty list of conditions")
	}
	for _, n := range d.list(n) {
		if c, ok := d.condition(m, n); ok {
			all = append(all, c)
		}
	}
	return all
}

func (d *decoder) condition(m *Mapping, n ast.Node) (condition, bool) {
	var c condition
	o, ok := d.object(n, "a condition")
	if !ok {
		return c, false
	}
	if p, ok := o.take("column"); ok {
		if col := d.column(m, p.value, "column"); col != nil {
			c.column = *col
		}
	} else {
		d.fail(o.at, "", "a condition needs a column")
	}
	found := 0
	for _, op := range []string{"equals", "not_equals", "in", "prefix", "not_prefix", "matches", "below", "above", "missing"} {
		p, ok := o.take(op)
		if !ok {
			continue
		}
		found++
		c.op = op
		if op == "in" {
			for _, n := range d.list(p.value) {
				if s, ok := d.text(n, op); ok {
					c.list = append(c.list, s)
				}
			}
			continue
		}
		s, ok := d.text(p.value, op)
		if !ok {
			continue
		}
		c.text = s
		switch op {
		case "matches":
			var err error
			if c.pattern, err = regexp.Compile(s); err != nil {
				d.fail(placeOf(p.value), "RE2 syntax", "%v", err)
			}
		case "below", "above":
			if c.number, ok = parseDecimal(s); !ok {
				d.fail(placeOf(p.value), "", "%s needs a number", op)
			}
		case "missing":
			if s != "true" && s != "false" {
				d.fail(placeOf(p.value), "", "missing is true or false")
			}
		}
	}
	if found != 1 {
		d.fail(o.at, "one of equals, not_equals, in, prefix, not_prefix, matches, below, above, missing", "a condition needs one test, this has %d", found)
	}
	o.done("a condition")
	return c, true
}

// holds tests a row. What is missing is neither equal to anything nor begins with anything.
func (c *condition) holds(t *table, r row) bool {
	v := t.cell(r, c.column)
	if c.op == "missing" {
		return v.missing == (c.text == "true")
	}
	if v.missing {
		return c.op == "not_equals" || c.op == "not_prefix"
	}
	switch c.op {
	case "equals":
		return v.text == c.text
	case "not_equals":
		return v.text != c.text
	case "in":
		return slices.Contains(c.list, v.text)
	case "prefix":
		return strings.HasPrefix(v.text, c.text)
	case "not_prefix":
		return !strings.HasPrefix(v.text, c.text)
	case "matches":
		return c.pattern.MatchString(v.text)
	}
	n, ok := parseDecimal(strings.TrimSpace(v.text))
	if !ok {
		return false
	}
	if c.op == "below" {
		return n.LessThan(c.number)
	}
	return n.GreaterThan(c.number)
}

func allHold(t *table, r row, when []condition) bool {
	for i := range when {
		if !when[i].holds(t, r) {
			return false
		}
	}
	return true
}
