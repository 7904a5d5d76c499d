// Package template renders mails. A template is written in Jinja2's language, parsed by gonja; what it prints is
// always escaped for HTML, it can open no file, call no function, and what it may use up is bounded. It is
// evaluated here rather than by gonja's own engine, because what a mail shows comes from outside: a list or an
// object would be printed there without escaping, "text" * 1000000000 would take the process with it, and a
// field of something that is missing would be an error.
//
// The data that a mail's template sees:
//
//	customer.first_name, customer.email, …   personal fields, from the vault
//	customer.clv, .orders, .revenue          numbers
//	customer.traits.x, customer.segments     what is known of the customer; the segments' ids
//	event.name, event.properties.x           the event that triggered the campaign
//	campaign, key                            the campaign's id and the key of this occasion
//
// What is missing prints as nothing; `default` fills in.
package template

import (
	"fmt"
	"strings"

	"github.com/nikolalohinski/gonja/v2/nodes"
)

// The bounds of one template and of one rendering.
const (
	MaxSource = 512 << 10 // bytes of a template
	MaxOutput = 1 << 20   // bytes that one rendering may print, or hold in one value
	MaxSteps  = 1_000_000 // expressions evaluated and loop rounds in one rendering
	MaxDepth  = 100       // tags and expressions within one another
)

// Template is a parsed template. It never changes: it is safe for concurrent use.
type Template struct {
	name  string
	nodes []nodes.Node
}

// Error is a mistake in a template, or what went wrong while rendering it, with its place.
type Error struct {
	Name         string // the template's
	Line, Column int    // from 1; 0 when the place is not known
	Message      string
	Hint         string // how to mend it; may be empty
}

// Error is the place and the message, as compilers print it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Name)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": " + e.Message)
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

// Render fills the template with the data and escapes what it prints for HTML. The data are what encoding/json
// makes of JSON: strings, numbers, booleans, nil, []any and map[string]any; []string and map[string]string too.
func (t *Template) Render(data map[string]any) (string, error) {
	return t.render(data, true)
}

// RenderPlain fills the template without escaping, for a mail's plain alternative.
func (t *Template) RenderPlain(data map[string]any) (string, error) {
	return t.render(data, false)
}

// RenderText fills the template as one line without escaping, for a subject: line breaks and other control
// characters become spaces, runs of spaces one.
func (t *Template) RenderText(data map[string]any) (string, error) {
	s, err := t.render(data, false)
	if err != nil {
		return "", err
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), " "), nil
}

// Name is a name that a template takes from its data, and where.
type Name struct {
	Path         []string // customer, traits, size
	Line, Column int
}

// Names are the names that the template takes from its data, in the order written, each as far as it is written
// out. What the template sets itself, and a loop's own names, are not among them.
func (t *Template) Names() []Name {
	c := &collector{}
	c.nodes(t.nodes, map[string]bool{})
	return c.names
}
