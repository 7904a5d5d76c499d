package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Object is a JSON object kept as its own text, nil when absent. Rules look into it without decoding it whole,
// and what nobody changed goes on byte for byte.
type Object []byte

// ParseObject checks that data is one JSON object and takes it over, compacted; bytes that are no UTF-8 become
// U+FFFD, as in encoding/json. JSON null gives nil. The object may be a part of data, which must not change any more.
func ParseObject(data []byte) (Object, error) {
	trimmed := bytes.Trim(data, " \n\t\r") // white space as JSON has it
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return nil, nil
	}
	if trimmed[0] != '{' {
		return nil, fmt.Errorf("want a JSON object, got %s", kindOf(trimmed[0]))
	}
	s := scanner{text: trimmed}
	if s.value(0) != len(trimmed) {
		return nil, syntaxError(trimmed)
	}
	if s.spaced {
		trimmed = compact(trimmed)
	}
	if s.wide && !utf8.Valid(trimmed) {
		return Object(string([]rune(string(trimmed)))), nil // each stray byte becomes one U+FFFD
	}
	return Object(trimmed[:len(trimmed):len(trimmed)]), nil
}

// ObjectOf encodes a map; an empty one gives nil.
func ObjectOf(m map[string]any) (Object, error) {
	if len(m) == 0 {
		return nil, nil
	}
	return json.Marshal(m)
}

// MarshalJSON writes the object's own text.
func (o Object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("null"), nil
	}
	return o, nil
}

// UnmarshalJSON takes over an object's text.
func (o *Object) UnmarshalJSON(data []byte) error {
	parsed, err := ParseObject(bytes.Clone(data)) // the decoder's own buffer
	if err != nil {
		return err
	}
	*o = parsed
	return nil
}

// Map decodes the object; numbers become float64. Nil gives an empty map.
func (o Object) Map() (map[string]any, error) {
	m := map[string]any{}
	if len(o) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(o, &m); err != nil {
		return nil, fmt.Errorf("object: %w", err)
	}
	return m, nil
}

// Get finds a field by its name, or by a dotted path into nested objects; a field whose own name holds the
// dots wins, and of two with the same name the last, as in encoding/json. The zero Value means that there is
// none.
func (o Object) Get(path string) Value {
	if v := field(o, path); v.raw != nil {
		return v
	}
	for {
		name, rest, nested := strings.Cut(path, ".")
		if !nested {
			return Value{}
		}
		v := field(o, name)
		if v.raw == nil || v.raw[0] != '{' {
			return Value{}
		}
		o, path = Object(v.raw), rest
		if v := field(o, path); v.raw != nil {
			return v
		}
	}
}

// Visit calls visit for each field in the order written, as Fields does, without a copy of its name, which is not to be
// kept.
func (o Object) Visit(visit func(name []byte, v Value)) {
	walk(o, func(key, value []byte) bool {
		name, ok := plain(key)
		if !ok {
			name = []byte(text(key))
		}
		visit(name, Value{raw: value})
		return true
	})
}

// Fields calls yield for each field in the order written, until it returns false.
func (o Object) Fields(yield func(name string, v Value) bool) {
	walk(o, func(key, value []byte) bool { return yield(text(key), Value{raw: value}) })
}

func field(o Object, name string) (found Value) {
	walk(o, func(key, value []byte) bool {
		if keyIs(key, name) {
			found = Value{raw: value}
		}
		return true
	})
	return found
}

// Value is one JSON value inside an Object; its zero value means absent.
type Value struct{ raw []byte }

// ValueOf reads one JSON value's text, such as a trait's; empty text gives the absent Value.
func ValueOf(text []byte) Value {
	if len(text) == 0 {
		return Value{}
	}
	return Value{raw: text}
}

// Present tells whether the field is there at all, null included.
func (v Value) Present() bool { return v.raw != nil }

// Null tells whether the field is absent or null.
func (v Value) Null() bool { return v.raw == nil || v.raw[0] == 'n' }

// Raw is the value's JSON text; nil when absent.
func (v Value) Raw() []byte { return v.raw }

// Text is a string's content.
func (v Value) Text() (string, bool) {
	if v.raw == nil || v.raw[0] != '"' {
		return "", false
	}
	return text(v.raw), true
}

// Plain is a string's content without copying it, where it is written without escapes, as most are.
func (v Value) Plain() ([]byte, bool) {
	if v.raw == nil || v.raw[0] != '"' {
		return nil, false
	}
	return plain(v.raw)
}

// Is tells whether the value is this string, without copying it.
func (v Value) Is(s string) bool {
	if v.raw == nil || v.raw[0] != '"' {
		return false
	}
	return keyIs(v.raw, s)
}

// Number is a number's value.
func (v Value) Number() (float64, bool) {
	if v.raw == nil || v.raw[0] != '-' && (v.raw[0] < '0' || v.raw[0] > '9') {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(v.raw), 64)
	return f, err == nil
}

// Money is a number's or a decimal string's exact amount.
func (v Value) Money() (Money, bool) {
	if v.raw == nil {
		return 0, false
	}
	number := v.raw
	switch c := v.raw[0]; {
	case c == '"':
		inner, ok := plain(v.raw)
		if !ok {
			inner = []byte(text(v.raw))
		}
		number = inner
	case c != '-' && !isDigit(c):
		return 0, false
	}
	m, wrong := parseMoney(string(number))
	return m, wrong == ""
}

// Bool is a boolean's value.
func (v Value) Bool() (value, ok bool) {
	switch string(v.raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// Object is a nested object.
func (v Value) Object() (Object, bool) {
	if v.raw == nil || v.raw[0] != '{' {
		return nil, false
	}
	return Object(v.raw), true
}

// Items calls yield for each element of an array, until it returns false; what is no array has none.
func (v Value) Items(yield func(Value) bool) {
	if v.raw == nil || v.raw[0] != '[' {
		return
	}
	i := space(v.raw, 1)
	for i < len(v.raw) && v.raw[i] != ']' {
		end := skip(v.raw, i)
		if !yield(Value{raw: v.raw[i:end]}) {
			return
		}
		i = space(v.raw, end)
		if i < len(v.raw) && v.raw[i] == ',' {
			i = space(v.raw, i+1)
		}
	}
}

// String is a short readable form: a string without its quotes, else the JSON text.
func (v Value) String() string {
	if s, ok := v.Text(); ok {
		return s
	}
	return string(v.raw)
}

// walk visits the fields of a valid JSON object; on anything else it stops without a word.
func walk(o []byte, visit func(key, value []byte) bool) {
	if len(o) == 0 || o[0] != '{' {
		return
	}
	i := space(o, 1)
	for i < len(o) && o[i] == '"' {
		keyEnd := skip(o, i)
		key := o[i:keyEnd]
		i = space(o, keyEnd)
		if i >= len(o) || o[i] != ':' {
			return
		}
		i = space(o, i+1)
		if i >= len(o) {
			return
		}
		end := skip(o, i)
		if !visit(key, o[i:end]) {
			return
		}
		i = space(o, end)
		if i < len(o) && o[i] == ',' {
			i = space(o, i+1)
		}
	}
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// compact is valid JSON without the white space between its tokens.
func compact(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch text[i] {
		case ' ', '\n', '\t', '\r':
			i++
		case '"':
			end := skip(text, i)
			out = append(out, text[i:end]...)
			i = end
		default:
			out = append(out, text[i])
			i++
		}
	}
	return out
}

// skip returns the index after the JSON value that starts at i.
func skip(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i = min(i+1, len(b))
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			i++
			continue
		default:
			for i < len(b) && !endsLiteral(b[i]) {
				i++
			}
		}
		if depth <= 0 {
			return i
		}
	}
	return i
}

// endsLiteral tells whether a number, true, false or null ends before c.
func endsLiteral(c byte) bool {
	switch c {
	case ',', ']', '}', ':', ' ', '\n', '\t', '\r':
		return true
	}
	return false
}

// plain is the content of a JSON string literal that needs no change.
func plain(quoted []byte) ([]byte, bool) {
	if len(quoted) < 2 {
		return nil, false
	}
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' || c >= utf8.RuneSelf {
			return inner, c != '\\' && bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner)
		}
	}
	return inner, true
}

func keyIs(quoted []byte, name string) bool {
	if len(quoted) < 2 {
		return false
	}
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == name
	}
	return text(quoted) == name
}

// text is the content of a JSON string literal; invalid UTF-8 becomes U+FFFD, as in encoding/json.
func text(quoted []byte) string {
	if len(quoted) < 2 {
		return ""
	}
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return string(inner)
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return string(inner)
	}
	return s
}

func kindOf(first byte) string {
	switch {
	case first == '[':
		return "an array"
	case first == '"':
		return "a string"
	case first == 't' || first == 'f':
		return "a boolean"
	case first == '-' || first >= '0' && first <= '9':
		return "a number"
	}
	return "something else"
}
