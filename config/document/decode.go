package document

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Decode fills the struct that into points to, by its yaml tags; what the file doesn't say stays as it is. It
// finds everything that doesn't fit: unknown keys, wrong kinds, empty values. later are the paths of keys that
// are known but not supported yet ("holdout", "on.schedule").
func (d *Document) Decode(into any, later ...string) Problems {
	r := &reader{d: d, later: later}
	if d.body == nil {
		return nil
	}
	r.value("", d.body, reflect.ValueOf(into).Elem())
	return r.problems
}

type reader struct {
	d        *Document
	later    []string
	problems Problems
}

func (r *reader) wrong(path string, n ast.Node, want, hint string) {
	r.problems = append(r.problems, r.d.Problem(path, n.GetToken().Value, fmt.Sprintf("want %s, got %s", want, kind(n)), hint))
}

func (r *reader) value(path string, n ast.Node, v reflect.Value) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return // told by Parse
	}
	if v.Kind() == reflect.Interface {
		if plain := Plain(n); plain != nil {
			v.Set(reflect.ValueOf(plain))
		}
		return
	}
	if _, null := n.(*ast.NullNode); null {
		r.problems = append(r.problems, r.d.Problem(path, "", "is empty", "give a value or leave the key out"))
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		r.value(path, n, v.Elem())
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		r.duration(path, n, v)
		return
	}
	if v.CanAddr() {
		switch u := v.Addr().Interface().(type) {
		case json.Unmarshaler:
			r.viaJSON(path, n, u)
			return
		case encoding.TextUnmarshaler:
			s, ok := text(n)
			if !ok && scalar(n) {
				s, ok = n.GetToken().Value, true // wait: 0
			}
			if !ok {
				r.wrong(path, n, "text", "")
			} else if err := u.UnmarshalText([]byte(s)); err != nil {
				r.problems = append(r.problems, r.d.Problem(path, s, err.Error(), ""))
			}
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		r.structure(path, n, v)
	case reflect.Map:
		r.mapping(path, n, v)
	case reflect.Slice:
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			r.wrong(path, n, "a list", "write it as [a, b] or one line each, beginning with a dash")
			return
		}
		list := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
		for i, e := range seq.Values {
			r.value(fmt.Sprintf("%s[%d]", path, i), e, list.Index(i))
		}
		v.Set(list)
	case reflect.String:
		s, ok := text(n)
		if !ok {
			hint := ""
			if scalar(n) {
				hint = fmt.Sprintf("write it in quotes: %q", n.GetToken().Value)
			}
			r.wrong(path, n, "text", hint)
			return
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			r.wrong(path, n, "true or false", "")
			return
		}
		v.SetBool(b.Value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		r.integer(path, n, v)
	case reflect.Float64, reflect.Float32:
		f, ok := float(n)
		if !ok {
			r.wrong(path, n, "a number", "")
			return
		}
		v.SetFloat(f)
	default:
		r.wrong(path, n, "something else", "")
	}
}

func (r *reader) integer(path string, n ast.Node, v reflect.Value) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		r.wrong(path, n, "a whole number", "")
		return
	}
	fits := false
	switch x := i.Value.(type) {
	case uint64:
		if v.CanUint() {
			if fits = !v.OverflowUint(x); fits {
				v.SetUint(x)
			}
		} else if fits = x <= math.MaxInt64 && !v.OverflowInt(int64(x)); fits {
			v.SetInt(int64(x))
		}
	case int64:
		if v.CanUint() {
			if fits = x >= 0 && !v.OverflowUint(uint64(x)); fits {
				v.SetUint(uint64(x))
			}
		} else if fits = !v.OverflowInt(x); fits {
			v.SetInt(x)
		}
	}
	if !fits {
		r.problems = append(r.problems, r.d.Problem(path, i.Token.Value, i.Token.Value+" is out of range", ""))
	}
}

func (r *reader) duration(path string, n ast.Node, v reflect.Value) {
	s, ok := text(n)
	if !ok {
		if i, isNumber := n.(*ast.IntegerNode); isNumber {
			r.wrong(path, n, "a duration", fmt.Sprintf("write its unit: %ss, %sm, %sh, %sd", i.Token.Value, i.Token.Value, i.Token.Value, i.Token.Value))
		} else {
			r.wrong(path, n, "a duration", "such as 30s, 15m, 1h30m, 3d")
		}
		return
	}
	d, err := ParseDuration(s)
	if err != nil {
		r.problems = append(r.problems, r.d.Problem(path, s, err.Error(), "write it as 30s, 15m, 1h30m, 3d"))
		return
	}
	v.SetInt(int64(d))
}

func (r *reader) viaJSON(path string, n ast.Node, u json.Unmarshaler) {
	data, err := json.Marshal(Plain(n))
	if err == nil {
		err = u.UnmarshalJSON(data)
	}
	if err != nil {
		r.problems = append(r.problems, r.d.Problem(path, "", err.Error(), ""))
	}
}

func (r *reader) structure(path string, n ast.Node, v reflect.Value) {
	entries, ok := entries(n)
	if !ok {
		r.wrong(path, n, "a map", "there are the keys "+strings.Join(Keys(v.Type()), ", "))
		return
	}
	fields := map[string]reflect.Value{}
	collect(v, fields)
	for _, e := range entries {
		name, ok := keyText(e.Key)
		if !ok {
			continue
		}
		at := Join(path, name)
		field, known := fields[name]
		switch {
		case known:
			delete(fields, name) // the first of two counts; the second is told by Parse
			if s, ok := v.Interface().(Starter); ok && field.Kind() == reflect.Pointer && field.IsNil() {
				if start := s.Start(name); start != nil {
					field.Set(reflect.ValueOf(start))
				}
			}
			r.value(at, e.Value, field)
		case slices.Contains(Keys(v.Type()), name):
		case slices.Contains(r.later, at):
			line, column := e.Key.GetToken().Position.Line, e.Key.GetToken().Position.Column
			r.problems = append(r.problems, Problem{File: r.d.File, Line: line, Column: column, Field: path,
				Value: name, Message: fmt.Sprintf("%q is not supported yet", name), Hint: "leave it out"})
		default:
			line, column := e.Key.GetToken().Position.Line, e.Key.GetToken().Position.Column
			r.problems = append(r.problems, Problem{File: r.d.File, Line: line, Column: column, Field: path,
				Value: name, Message: fmt.Sprintf("unknown key %q", name), Hint: DidYouMean(name, Keys(v.Type()))})
		}
	}
}

func (r *reader) mapping(path string, n ast.Node, v reflect.Value) {
	entries, ok := entries(n)
	if !ok || v.Type().Key().Kind() != reflect.String {
		r.wrong(path, n, "a map", "")
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(entries))
	for _, e := range entries {
		name, ok := keyText(e.Key)
		if !ok {
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		r.value(Join(path, name), e.Value, element)
		m.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), element)
	}
	v.Set(m)
}

// Keys are the yaml keys of a struct type, in the order of its fields.
func Keys(t reflect.Type) []string {
	var keys []string
	for _, f := range reflect.VisibleFields(t) {
		if name, ok := keyOf(f); ok {
			keys = append(keys, name)
		}
	}
	return keys
}

// keyOf is a field's yaml key; false for what no file can set.
func keyOf(f reflect.StructField) (string, bool) {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if !f.IsExported() || name == "-" || options == "inline" || name == "" {
		return "", false
	}
	return name, true
}

func collect(v reflect.Value, fields map[string]reflect.Value) {
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name, ok := keyOf(f); ok {
			fields[name] = v.FieldByIndex(f.Index)
		}
	}
}

func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func text(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func float(n ast.Node) (float64, bool) {
	switch n := n.(type) {
	case *ast.FloatNode:
		return n.Value, true
	case *ast.IntegerNode:
		switch i := n.Value.(type) {
		case int64:
			return float64(i), true
		case uint64:
			return float64(i), true
		}
	case *ast.StringNode: // 1e3, which this parser takes for text
		if n.Token.Type == token.StringType {
			f, err := strconv.ParseFloat(n.Value, 64)
			return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
		}
	}
	return 0, false
}

func scalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return true
	}
	return false
}

func kind(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		if len(n.Value) > 40 {
			return "text"
		}
		return fmt.Sprintf("the text %q", n.Value)
	case *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		return n.GetToken().Value
	case *ast.NullNode:
		return "nothing"
	}
	return "something else"
}

// Plain is a value as encoding/json would hold it, except that whole numbers stay whole.
func Plain(n ast.Node) any {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		list, _ := entries(n)
		m := make(map[string]any, len(list))
		for _, e := range list {
			if name, ok := keyText(e.Key); ok {
				m[name] = Plain(e.Value)
			}
		}
		return m
	case *ast.SequenceNode:
		list := make([]any, len(n.Values))
		for i, v := range n.Values {
			list[i] = Plain(v)
		}
		return list
	case *ast.BoolNode:
		return n.Value
	case *ast.IntegerNode:
		return n.Value
	case *ast.FloatNode:
		return n.Value
	}
	if s, ok := text(n); ok {
		return s
	}
	return nil
}

// ParseDuration reads whole or decimal numbers with their units, ms, s, m, h, d (24 h) or w (7 d), largest first:
// 90s, 1h30m, 3d.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration", s)
	rest, total := s, 0.0
	if rest == "0" {
		return 0, nil
	}
	if rest == "" {
		return 0, bad
	}
	previous := math.Inf(1)
	for rest != "" {
		i := strings.IndexFunc(rest, func(c rune) bool { return (c < '0' || c > '9') && c != '.' })
		if i <= 0 {
			return 0, bad
		}
		number, err := strconv.ParseFloat(rest[:i], 64)
		if err != nil {
			return 0, bad
		}
		rest = rest[i:]
		j := strings.IndexFunc(rest, func(c rune) bool { return c >= '0' && c <= '9' })
		if j < 0 {
			j = len(rest)
		}
		unit, ok := map[string]time.Duration{
			"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
			"d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
		}[rest[:j]]
		if !ok || float64(unit) >= previous {
			return 0, bad
		}
		previous, rest = float64(unit), rest[j:]
		total += number * float64(unit)
	}
	if total > float64(math.MaxInt64)/2 {
		return 0, fmt.Errorf("%q is too long", s)
	}
	return time.Duration(math.Round(total)), nil
}
