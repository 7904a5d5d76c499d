// Package document reads YAML files strictly and remembers where everything stands, so that each mistake can be
// told with file, line and column, also one that is found later: by a check across files, or inside a rule.
//
// What is accepted is a plain subset of YAML 1.2: one document a file, maps with text keys, each key once, no
// anchors, aliases, merge keys or tags.
package document

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of one file.
const (
	MaxSize  = 1 << 20 // bytes
	MaxDepth = 50      // maps and lists within one another
)

// Document is one file with the place of each of its values. It never changes: it is safe for concurrent use.
type Document struct {
	File   string
	lines  []string
	body   ast.Node // nil: the file is empty
	places map[string]place
}

// place is where a value stands.
type place struct {
	node         ast.Node
	line, column int
}

// Parse reads a file's text; file is what its problems call it. Problems with its form come at once; the
// document is nil when the text is no YAML at all.
func Parse(file string, data []byte) (d *Document, problems Problems) {
	d = &Document{File: file, places: map[string]place{}}
	defer func() {
		if r := recover(); r != nil {
			d, problems = nil, Problems{{File: file, Message: "is not YAML that can be read"}}
		}
	}()
	whole := func(format string, args ...any) (*Document, Problems) {
		return nil, Problems{{File: file, Message: fmt.Sprintf(format, args...)}}
	}
	switch {
	case len(data) > MaxSize:
		return whole("is larger than %d KiB", MaxSize>>10)
	case !utf8.Valid(data):
		return whole("is not UTF-8")
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	d.lines = strings.Split(text, "\n")
	if line := tooDeep(d.lines); line > 0 {
		return nil, Problems{{File: file, Line: line, Column: 1, Message: fmt.Sprintf("is nested more than %d deep", MaxDepth)}}
	}
	parsed, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p := Problem{File: file, Message: "is not YAML that can be read"}
		var at yaml.Error
		if errors.As(err, &at) {
			p.Message = at.GetMessage()
			if t := at.GetToken(); t != nil && t.Position != nil {
				p.Line, p.Column = t.Position.Line, max(t.Position.Column, 1)
			}
		}
		return nil, Problems{p}
	}
	for i, doc := range parsed.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case d.body != nil:
			t := parsed.Docs[i].Body.GetToken()
			return nil, Problems{{File: file, Line: t.Position.Line, Column: 1, Message: "holds more than one document", Hint: "write each into a file of its own"}}
		default:
			d.body = doc.Body
		}
	}
	w := &walker{d: d}
	if d.body != nil {
		w.node("", d.body, 0)
	}
	return d, w.problems
}

// tooDeep finds the first line that nests deeper than the parser, which calls itself, should be asked to go.
func tooDeep(lines []string) int {
	flow := 0
	for i, line := range lines {
		block := 0
		for _, c := range line {
			switch c {
			case '[', '{':
				flow++
			case ']', '}':
				flow = max(flow-1, 0)
			case '-', '?':
				block++
			case ' ':
			}
			if flow > 4*MaxDepth {
				return i + 1
			}
		}
		if strings.Count(line, "- ")+strings.Count(line, "? ") > 4*MaxDepth || len(line)-len(strings.TrimLeft(line, " ")) > 40*MaxDepth {
			return i + 1
		}
	}
	return 0
}

// walker notes each value's place and finds what the subset leaves out.
type walker struct {
	d        *Document
	problems Problems
}

func (w *walker) node(path string, n ast.Node, depth int) {
	t := n.GetToken()
	p := place{node: n, line: t.Position.Line, column: t.Position.Column}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		first := m.Values[0].Key.GetToken().Position
		p.line, p.column = first.Line, first.Column
	}
	w.d.places[path] = p
	if depth > MaxDepth {
		w.add(path, t, fmt.Sprintf("is nested more than %d deep", MaxDepth), "")
		return
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		seen := map[string]int{}
		for _, v := range n.Values {
			w.entry(path, v, seen, depth)
		}
	case *ast.MappingValueNode:
		w.entry(path, n, map[string]int{}, depth)
	case *ast.SequenceNode:
		for i, v := range n.Values {
			w.node(fmt.Sprintf("%s[%d]", path, i), v, depth+1)
		}
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		w.add(path, t, "anchors and aliases are not supported", "write the value out")
	case *ast.TagNode:
		w.add(path, t, fmt.Sprintf("tag %s is not supported", t.Value), "leave it out; quotes make a text of anything")
	}
}

func (w *walker) entry(path string, v *ast.MappingValueNode, seen map[string]int, depth int) {
	t := v.Key.GetToken()
	name, ok := keyText(v.Key)
	if !ok {
		w.add(path, t, "a key must be plain text", "")
		return
	}
	at := Join(path, name)
	if line, twice := seen[name]; twice {
		w.add(at, t, fmt.Sprintf("key %q is given twice", name), fmt.Sprintf("the first is in line %d", line))
		return
	}
	seen[name] = t.Position.Line
	w.node(at, v.Value, depth+1)
}

func (w *walker) add(path string, t *token.Token, message, hint string) {
	w.problems = append(w.problems, Problem{
		File: w.d.File, Line: t.Position.Line, Column: t.Position.Column, Field: path, Message: message, Hint: hint,
	})
}

// keyText is a key's text; a number or a boolean is taken as it is written.
func keyText(key ast.MapKeyNode) (string, bool) {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	return "", false
}

// Join is the path of a key inside the value at a path.
func Join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Has tells whether the file says something at the path.
func (d *Document) Has(path string) bool {
	_, ok := d.places[path]
	return ok
}

// Place is where the value at the path stands; what isn't there is where its nearest parent is.
func (d *Document) Place(path string) (line, column int) {
	for {
		if p, ok := d.places[path]; ok {
			return p.line, p.column
		}
		i := strings.LastIndexAny(path, ".[")
		if path == "" {
			return 1, 1
		}
		path = path[:max(i, 0)]
	}
}

// Part is what stands at a path as a document of its own, under another path; "" makes its keys those of the whole. What is
// found in it has its place in the file.
func (d *Document) Part(path, as string) *Document {
	part := &Document{File: d.File, lines: d.lines, places: map[string]place{}}
	for at, p := range d.places {
		rest, within := strings.CutPrefix(at, path)
		if !within || rest != "" && rest[0] != '.' && rest[0] != '[' {
			continue
		}
		if as == "" {
			rest = strings.TrimPrefix(rest, ".")
		}
		part.places[as+rest] = p
	}
	part.body = part.places[as].node
	if as != "" {
		part.places[""] = d.places[path]
	}
	return part
}

// Problem is a mistake in the value at the path.
func (d *Document) Problem(path, value, message, hint string) Problem {
	line, column := d.Place(path)
	return Problem{File: d.File, Line: line, Column: column, Field: path, Value: value, Message: message, Hint: hint}
}

// Leaves are the single errors that were joined, without what was wrapped around the join.
func Leaves(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if joined, ok := e.(interface{ Unwrap() []error }); ok {
			var all []error
			for _, one := range joined.Unwrap() {
				all = append(all, Leaves(one)...)
			}
			return all
		}
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// SplitField cuts a field's path off the beginning of what a package's own Validate says, as in "wait: must be above
// zero" and "smtp: host is missing". The name of the package in front of it is left out.
func SplitField(message string) (field, rest string) {
	name, rest, ok := strings.Cut(message, ": ")
	switch {
	case !ok:
		return "", message
	case isPath(name):
		if further, _, ok := strings.Cut(rest, " is "); ok && isPath(further) && further[0] >= 'a' { // "smtp: host is …"
			return further, strings.TrimPrefix(rest, further+" ")
		}
		return name, rest
	}
	return "", message
}

func isPath(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("_.[]", c)) {
			return false
		}
	}
	return s != ""
}

// Starter is a struct that says what a field it points to begins with, before a file or a variable fills it.
type Starter interface {
	// Start is a pointer to the field's first value; nil: its zero value.
	Start(key string) any
}
