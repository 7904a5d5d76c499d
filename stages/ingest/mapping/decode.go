package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/itchyny/gojq"
)

// place is where something stands in the mapping's file.
type place struct{ line, column int }

// source is text as it stands in the file.
type source struct {
	text   string
	start  place
	indent int // of a block's lines; below 0: one line
}

// at is where the byte at offset of the text stands; of a folded text, where it begins.
func (s source) at(offset int) place {
	before := s.text[:min(offset, len(s.text))]
	if s.indent < 0 {
		if strings.Contains(before, "\n") {
			return s.start
		}
		return place{s.start.line, s.start.column + len([]rune(before))}
	}
	last := strings.LastIndexByte(before, '\n') + 1
	return place{s.start.line + strings.Count(before, "\n"), s.indent + 1 + len([]rune(before[last:]))}
}

// decoder walks the syntax tree and gathers every mistake, so that one look shows them all.
type decoder struct {
	file      string
	lines     []string
	fails     []*Error
	functions map[string]bool
	own       []gojq.CompilerOption
}

func (d *decoder) fail(at place, field, message, hint string) {
	d.fails = append(d.fails, &Error{d.file, at.line, at.column, field, message, hint})
}

// parse reads the one document of a file.
func (d *decoder) parse(data []byte) ast.Node {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		var y yaml.Error
		at, message := place{}, err.Error()
		if errors.As(err, &y) && y.GetToken() != nil && y.GetToken().Position != nil {
			at, message = place{y.GetToken().Position.Line, y.GetToken().Position.Column}, y.GetMessage()
		}
		d.fail(at, "", "not YAML: "+message, "put expressions with : or # in them into a block, after |")
		return nil
	}
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(placeOf(doc.Body), "", "a second document", "one mapping a file")
			break
		}
		body = doc.Body
	}
	if body == nil {
		d.fail(place{}, "", "the mapping is empty", "it needs at least name and calls")
	}
	return body
}

func placeOf(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return placeOf(m.Values[0].Key) // a block mapping's own token is its first colon
	}
	if token := n.GetToken(); token != nil && token.Position != nil {
		return place{token.Position.Line, token.Position.Column}
	}
	return place{}
}

// object is a YAML mapping whose keys are taken one by one; what is left over is unknown.
type object struct {
	d     *decoder
	field string
	at    place
	pairs []pair
	known []string
}

type pair struct {
	key   string
	at    place
	value ast.Node
}

func (d *decoder) object(n ast.Node, field string) (*object, bool) {
	o := &object{d: d, field: field, at: placeOf(n)}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(o.at, field, "want key: value pairs", "")
		return o, false
	}
	for _, v := range values {
		key, ok := scalar(v.Key)
		if !ok || v.Key.IsMergeKey() {
			d.fail(placeOf(v.Key), field, "only plain keys are known here", "write it out")
			continue
		}
		if slices.ContainsFunc(o.pairs, func(p pair) bool { return p.key == key }) {
			d.fail(placeOf(v.Key), field, fmt.Sprintf("%q stands twice", key), "")
			continue
		}
		o.pairs = append(o.pairs, pair{key, placeOf(v.Key), v.Value})
	}
	return o, true
}

func (o *object) take(key string) (pair, bool) {
	if !slices.Contains(o.known, key) {
		o.known = append(o.known, key)
	}
	for _, p := range o.pairs {
		if p.key == key {
			return p, true
		}
	}
	return pair{at: o.at}, false
}

// done reports the keys that nobody took.
func (o *object) done() {
	for _, p := range o.pairs {
		if !slices.Contains(o.known, p.key) {
			o.d.fail(p.at, o.field, fmt.Sprintf("unknown key %q", p.key), nearest(p.key, o.known))
		}
	}
}

// text takes an optional plain value; empty: absent.
func (o *object) text(key string) (string, place) {
	p, ok := o.take(key)
	if !ok {
		return "", p.at
	}
	s, ok := scalar(p.value)
	if !ok || s == "" {
		o.d.fail(placeOf(p.value), join2(o.field, key), "want a plain value", "")
	}
	return s, placeOf(p.value)
}

// expression takes an optional jq expression.
func (o *object) expression(key string, variables []string) *expression {
	p, ok := o.take(key)
	if !ok {
		return nil
	}
	return o.d.jq(p.value, join2(o.field, key), variables)
}

func (d *decoder) jq(n ast.Node, field string, variables []string) *expression {
	s, ok := d.source(n)
	if !ok {
		d.fail(placeOf(n), field, "want a jq expression", "such as .customer.id; longer ones in a block, after |")
		return nil
	}
	return d.expression(s, field, variables)
}

// words takes plain text in which \(…) is jq.
func (o *object) words(key string, variables []string) *expression {
	p, ok := o.take(key)
	if !ok {
		return nil
	}
	s, ok := o.d.source(p.value)
	if !ok || strings.TrimSpace(s.text) == "" {
		o.d.fail(placeOf(p.value), join2(o.field, key), "want text", `such as Order Completed; \(.name) in it is jq`)
		return nil
	}
	if strings.Contains(s.text, `\(`) {
		s.text = `"` + s.text + `"`
	} else {
		s.text = quoted(s.text)
	}
	s.start.column--
	return o.d.expression(s, join2(o.field, key), variables)
}

// list takes a sequence, or one value in place of a sequence of one.
func (o *object) list(key string) []ast.Node {
	p, ok := o.take(key)
	if !ok {
		return nil
	}
	if s, ok := p.value.(*ast.SequenceNode); ok {
		return s.Values
	}
	return []ast.Node{p.value}
}

func (o *object) names(key string, pattern *regexp.Regexp, hint string) []string {
	var names []string
	for _, n := range o.list(key) {
		s, ok := scalar(n)
		if !ok || !pattern.MatchString(s) {
			o.d.fail(placeOf(n), join2(o.field, key), fmt.Sprintf("%q is no name", s), hint)
			continue
		}
		names = append(names, strings.ToLower(s))
	}
	return names
}

func (o *object) duration(key string, otherwise time.Duration) time.Duration {
	s, at := o.text(key)
	if s == "" {
		return otherwise
	}
	got, err := time.ParseDuration(s)
	if err != nil || got <= 0 {
		o.d.fail(at, join2(o.field, key), fmt.Sprintf("%q is no duration", s), "such as 5m or 30s")
	}
	return got
}

func join2(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// scalar is a scalar as it is written: 007 stays 007, whatever YAML thinks of it.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (d *decoder) source(n ast.Node) (source, bool) {
	text, ok := scalar(n)
	if !ok {
		return source{}, false
	}
	s := source{text: text, start: placeOf(n), indent: -1}
	switch n := n.(type) {
	case *ast.LiteralNode:
		s.start = place{n.Start.Position.Line, n.Start.Position.Column}
		if strings.HasPrefix(n.Start.Value, "|") && s.start.line < len(d.lines) {
			first := d.lines[s.start.line]
			s.start.line++
			s.indent = len(first) - len(strings.TrimLeft(first, " "))
		}
	case *ast.StringNode:
		if line := s.start.line - 1; line < len(d.lines) && s.start.column <= len(d.lines[line]) {
			if c := d.lines[line][s.start.column-1]; c == '"' || c == '\'' {
				s.start.column++
			}
		}
	}
	return s, true
}
