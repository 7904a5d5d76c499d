package mapping

import (
	"maps"
	"slices"

	"github.com/itchyny/gojq"
)

// encoder writes jq's values as JSON, with members in order, and gives up when it has written too much: a value that
// is small in memory can be endless in writing. Null members say nothing and are left out, and so are objects that
// hold nothing else.
type encoder struct {
	out  []byte
	left int // below 0: too much
	nest int // how deep it may go
	deep bool
}

// maxNesting bounds the nesting of a call.
const maxNesting = 64

func (e *encoder) raw(s string) {
	if e.left -= len(s); e.left >= 0 {
		e.out = append(e.out, s...)
	}
}

// member writes one member of an object; false: it says nothing, and was left out.
func (e *encoder) member(next, name string, v any, depth int) bool {
	if v == nil {
		return false
	}
	start := len(e.out)
	e.raw(next + quoted(name) + ":")
	if e.value(v, depth) {
		return true
	}
	e.left += len(e.out) - start
	e.out = e.out[:start]
	return false
}

// value writes a value; false: it is an object of nulls only.
func (e *encoder) value(v any, depth int) bool {
	if e.left < 0 || e.deep {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		if e.deep = depth >= e.nest; e.deep {
			return true
		}
		e.raw("{")
		next := ""
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if e.left < 0 || e.deep {
				return true
			}
			if e.member(next, name, v[name], depth+1) {
				next = ","
			}
		}
		e.raw("}")
		return next != "" || len(v) == 0
	case []any:
		if e.deep = depth >= e.nest; e.deep {
			return true
		}
		e.raw("[")
		for i, one := range v {
			if e.left < 0 || e.deep {
				return true
			}
			if i > 0 {
				e.raw(",")
			}
			e.value(one, depth+1)
		}
		e.raw("]")
	case string:
		e.raw(quoted(v))
	default:
		text, _ := gojq.Marshal(v) // of a scalar it can't fail
		e.raw(string(text))
	}
	return true
}

// quoted is text as JSON.
func quoted(s string) string {
	text, _ := gojq.Marshal(s)
	return string(text)
}

// kindOf names a value's type in an error.
func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "true or false"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case string:
		return "text"
	}
	return "a number"
}
