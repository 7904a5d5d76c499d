package template

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// normal makes one of the six kinds of value out of what the data hold; what is none of them is nil.
func normal(v any) any {
	switch v := v.(type) {
	case nil, bool, float64, string, []any, map[string]any:
		return v
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case []string:
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return list
	case map[string]string:
		m := make(map[string]any, len(v))
		for k, s := range v {
			m[k] = s
		}
		return m
	case []map[string]any:
		list := make([]any, len(v))
		for i, m := range v {
			list[i] = m
		}
		return list
	}
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return float64(r.Int())
	case r.CanUint():
		return float64(r.Uint())
	case r.CanFloat():
		return r.Float()
	case r.Kind() == reflect.String:
		return r.String()
	case r.Kind() == reflect.Bool:
		return r.Bool()
	}
	return nil
}

// text is what a value prints: nothing for nil, whole numbers without a point, lists and objects as JSON.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ""
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

// truth is Python's: empty, zero and None are false.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return false
}

// number takes decimal strings too: producers send prices as text.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

func equal(a, b any) bool {
	return reflect.DeepEqual(normalDeep(a, 0), normalDeep(b, 0))
}

func normalDeep(v any, depth int) any {
	if depth > MaxDepth {
		return nil
	}
	switch v := normal(v).(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = normalDeep(v[i], depth+1)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k := range v {
			m[k] = normalDeep(v[k], depth+1)
		}
		return m
	default:
		return v
	}
}

// compare orders numbers, and texts among themselves; a text beside a number is read as one.
func compare(a, b any) (int, bool) {
	s, aText := a.(string)
	t, bText := b.(string)
	if aText && bText {
		return cmp.Compare(s, t), true
	}
	f, ok := number(a)
	g, ok2 := number(b)
	return cmp.Compare(f, g), ok && ok2
}

func contains(in, v any) bool {
	switch in := in.(type) {
	case string:
		s, ok := v.(string)
		return ok && strings.Contains(in, s)
	case []any:
		return slices.ContainsFunc(in, func(e any) bool { return equal(e, v) })
	case map[string]any:
		_, ok := in[text(v)]
		return ok
	}
	return false
}

// item is a field of an object or an element of a list, nil when there is none.
func item(v, key any) any {
	switch v := v.(type) {
	case map[string]any:
		return normal(v[text(key)])
	case []any:
		f, ok := number(key)
		if !ok || f != math.Trunc(f) {
			return nil
		}
		if f < 0 {
			f += float64(len(v))
		}
		if f >= 0 && f < float64(len(v)) {
			return normal(v[int(f)])
		}
	}
	return nil
}

// path is a dotted path into an object.
func path(v any, dotted string) any {
	for name := range strings.SplitSeq(dotted, ".") {
		v = item(v, name)
	}
	return v
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func testNames() []string {
	return []string{
		"boolean", "defined", "divisibleby", "eq", "even", "false", "ge", "gt", "in", "le", "lt", "mapping", "ne",
		"none", "number", "odd", "sequence", "string", "true", "undefined",
	}
}

func test(name string, v any, args []any) bool {
	var arg any
	if len(args) > 0 {
		arg = args[0]
	}
	ordered := func(holds func(c int) bool) bool {
		c, ok := compare(v, arg)
		return ok && holds(c)
	}
	f, isNumber := v.(float64)
	switch name {
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "defined":
		return v != nil
	case "undefined", "none":
		return v == nil
	case "divisibleby":
		n, ok := number(arg)
		return ok && isNumber && n != 0 && math.Mod(f, n) == 0
	case "even":
		return isNumber && math.Mod(f, 2) == 0
	case "odd":
		return isNumber && math.Abs(math.Mod(f, 2)) == 1
	case "eq":
		return equal(v, arg)
	case "ne":
		return !equal(v, arg)
	case "true":
		return v == true
	case "false":
		return v == false
	case "lt":
		return ordered(func(c int) bool { return c < 0 })
	case "le":
		return ordered(func(c int) bool { return c <= 0 })
	case "gt":
		return ordered(func(c int) bool { return c > 0 })
	case "ge":
		return ordered(func(c int) bool { return c >= 0 })
	case "in":
		return contains(arg, v)
	case "mapping":
		_, ok := v.(map[string]any)
		return ok
	case "number":
		return isNumber
	case "sequence":
		_, list := v.([]any)
		_, str := v.(string)
		return list || str
	case "string":
		_, ok := v.(string)
		return ok
	}
	return false
}
