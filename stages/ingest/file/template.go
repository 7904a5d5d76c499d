package file

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// template is text with {column} places in it.
type template struct {
	source string
	parts  []templatePart
}

type templatePart struct {
	text   string
	column *column // nil: text
}

func (t template) empty() bool { return len(t.parts) == 0 }

func (d *decoder) template(m *Mapping, n ast.Node, what string) template {
	s, ok := d.text(n, what)
	if !ok {
		return template{}
	}
	t := template{source: s}
	at := placeOf(n)
	for rest := s; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			t.parts = append(t.parts, templatePart{text: rest})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, templatePart{text: rest[:open]})
		}
		name, after, ok := strings.Cut(rest[open+1:], "}")
		if name = strings.TrimSpace(name); !ok || name == "" {
			d.fail(at, what+`: "order:{InvoiceNo}"`, "%s: a { needs a column's name and a }", what)
			return template{source: s}
		}
		c := d.named(m, name, at)
		t.parts = append(t.parts, templatePart{column: &c})
		rest = after
	}
	return t
}
