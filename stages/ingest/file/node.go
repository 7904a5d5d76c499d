package file

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// MappingError is one mistake in a mapping file.
type MappingError struct {
	File         string
	Line, Column int // from 1; 0 when it belongs to no place
	Message      string
	Hint         string // what to do about it; may be empty
}

func (e *MappingError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	b.WriteString(e.Message)
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// place is where something stands in the mapping file.
type place struct{ line, column int }

func placeOf(n ast.Node) place {
	if n == nil {
		return place{}
	}
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return placeOf(m.Values[0].Key) // a block mapping's own token is its first colon
	}
	token := n.GetToken()
	if token == nil || token.Position == nil {
		return place{}
	}
	return place{token.Position.Line, token.Position.Column}
}

// decoder walks the syntax tree and gathers every mistake, so that one look shows them all.
type decoder struct {
	file  string
	fails []*MappingError
}

// shownErrors is how many mistakes are told at once; nobody mends more before trying again.
const shownErrors = 20

func (d *decoder) fail(at place, hint, format string, args ...any) {
	d.fails = append(d.fails, &MappingError{d.file, at.line, at.column, fmt.Sprintf(format, args...), hint})
}

func (d *decoder) err() error {
	slices.SortStableFunc(d.fails, func(a, b *MappingError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for i, f := range d.fails {
		if i == shownErrors {
			all = append(all, fmt.Errorf("%s: and %d more", d.file, len(d.fails)-i))
			break
		}
		all = append(all, f)
	}
	return errors.Join(all...)
}

// object is a YAML mapping whose keys are taken one by one; what is left over is unknown.
type object struct {
	d     *decoder
	at    place
	pairs []pair
	known []string
}

type pair struct {
	key   string
	at    place
	value ast.Node
}

func (d *decoder) object(n ast.Node, what string) (*object, bool) {
	o := &object{d: d, at: placeOf(n)}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(o.at, "write key: value pairs", "%s must be a mapping", what)
		return nil, false
	}
	for _, v := range values {
		key, ok := scalarText(v.Key)
		if !ok || v.Key.IsMergeKey() {
			d.fail(placeOf(v.Key), "write it out", "%s: only plain keys are known here", what)
			continue
		}
		if slices.ContainsFunc(o.pairs, func(p pair) bool { return p.key == key }) {
			d.fail(placeOf(v.Key), "", "%q stands twice", key)
			continue
		}
		o.pairs = append(o.pairs, pair{key, placeOf(v.Key), v.Value})
	}
	return o, true
}

func (o *object) take(key string) (pair, bool) {
	o.known = append(o.known, key)
	for _, p := range o.pairs {
		if p.key == key {
			return p, true
		}
	}
	return pair{at: o.at}, false
}

// done reports the keys that nobody took.
func (o *object) done(what string) {
	for _, p := range o.pairs {
		if !slices.Contains(o.known, p.key) {
			o.d.fail(p.at, nearest(p.key, o.known), "unknown key %q in %s", p.key, what)
		}
	}
}

// text takes an optional scalar.
func (o *object) text(key string) (string, pair, bool) {
	p, ok := o.take(key)
	if !ok {
		return "", p, false
	}
	s, ok := o.d.text(p.value, key)
	return s, p, ok
}

func (d *decoder) text(n ast.Node, what string) (string, bool) {
	s, ok := scalarText(n)
	if !ok {
		d.fail(placeOf(n), "", "%s must be a plain value", what)
		return "", false
	}
	if s == "" {
		d.fail(placeOf(n), "", "%s is empty", what)
		return "", false
	}
	return s, true
}

// list takes a sequence, or one scalar in place of a sequence of one.
func (d *decoder) list(n ast.Node) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	return []ast.Node{n}
}

// scalarText is a scalar as it is written: 007 stays 007, whatever YAML thinks of it.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// nearest hints at the known word that was probably meant, else at all of them.
func nearest(word string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance && d < max(len(k), 2) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	shown := known
	if len(shown) > 15 {
		shown = shown[:15]
	}
	hint := "known here: " + strings.Join(shown, ", ")
	if len(shown) < len(known) {
		hint += ", …"
	}
	return hint
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
