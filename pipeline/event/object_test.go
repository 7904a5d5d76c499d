package event

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzObject holds Object against encoding/json: what it takes is one valid JSON object, and every field and
// nested value reads the same.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, ` { "a" : [ 1 , "x" , {"b":null} ] , "b.c" : -1.5e3 } `, `{"a":{"b":{"c":true}}}`,
		`{"a":1,"a":2}`, `{"\u0061":"\ud83d\ude00\n"}`, "{\"\xff\":\"\xff\xfe\"}", `{"a":"}],:\\"}`, `null`, `[1]`, `"x"`, `{`,
		`{"a":1}x`, `{"a":01}`, `{"":""}`, `{"a":{}, "b":[[],[{}]]}`, `{"a.b":1,"a":{"b":2}}`, ``, `{"a":1e999}`, "\u00a0{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		exercise(Object(data)) // what never went through ParseObject may be nonsense, and must not panic or hang
		o, err := ParseObject(data)
		trimmed := strings.Trim(string(data), " \n\t\r")
		valid := json.Valid(data) && (strings.HasPrefix(trimmed, "{") || trimmed == "null")
		if empty := trimmed == ""; empty || !valid {
			if (err == nil) != empty {
				t.Fatalf("ParseObject(%q) = %v; valid for encoding/json: %v", data, err, valid)
			}
			return
		}
		if err != nil {
			t.Fatalf("ParseObject(%q): %v, but encoding/json takes it", data, err)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			return // numbers out of range and the like
		}
		got := map[string]json.RawMessage{}
		o.Fields(func(name string, v Value) bool {
			got[name] = v.Raw()
			return true
		})
		if len(got) != len(want) {
			t.Fatalf("%s: fields %v, want %v", data, got, want)
		}
		for name, raw := range want {
			compare(t, o.Get(name), raw)
			compare(t, Value{raw: got[name]}, raw)
		}
	})
}

// compare holds a value, and all within it, against encoding/json.
func compare(t *testing.T, v Value, raw json.RawMessage) {
	t.Helper()
	var want any
	if err := json.Unmarshal(raw, &want); err != nil {
		if _, ok := v.Number(); ok {
			t.Fatalf("%s is a number, but encoding/json says %v", raw, err)
		}
		return
	}
	s, isString := v.Text()
	n, isNumber := v.Number()
	b, isBool := v.Bool()
	_, isObject := v.Object()
	var got any
	switch {
	case isString:
		got = s
		if !v.Is(s) || v.Is(s+"x") {
			t.Fatalf("%s: Is(%q) is wrong", raw, s)
		}
	case isNumber:
		got = n
	case isBool:
		got = b
	case v.Null():
	case isObject:
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		o, _ := v.Object()
		seen := map[string]bool{}
		o.Fields(func(name string, _ Value) bool { seen[name] = true; return true })
		if len(seen) != len(fields) {
			t.Fatalf("%s: fields %v, want %d", raw, seen, len(fields))
		}
		for name, inner := range fields {
			compare(t, o.Get(name), inner)
		}
		return
	default:
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			t.Fatalf("%s is neither a scalar nor an object nor an array: %v", raw, err)
		}
		i := 0
		v.Items(func(item Value) bool {
			if i < len(items) {
				compare(t, item, items[i])
			}
			i++
			return true
		})
		if i != len(items) {
			t.Fatalf("%s: %d items, want %d", raw, i, len(items))
		}
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s reads as %#v, want %#v", raw, got, want)
	}
}

func exercise(o Object) {
	o.Fields(func(name string, v Value) bool {
		_, _ = v.Text()
		_, _ = v.Number()
		_, _ = v.Money()
		v.Items(func(Value) bool { return true })
		return true
	})
	o.Get("a.b.c")
	_, _ = o.Map()
}

func TestObjectGet(t *testing.T) {
	o, err := ParseObject([]byte(`{"a": {"b": {"c": 1}, "b.c": 2, "x": null}, "a.b": {"d": 3}, "k\u0065y": "v<&>", "s": 5}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"a.b.c": "2", "a.x": "null", "a.b.d": "", "a.b": `{"d":3}`, "key": `"v<&>"`, "s": "5", "s.t": "", "": "", "a.": "", ".a": "", "nope": "",
	} {
		if got := string(o.Get(path).Raw()); got != want {
			t.Errorf("Get(%q) = %s, want %s", path, got, want)
		}
	}
	if v := o.Get("a.x"); !v.Present() || !v.Null() {
		t.Error("a null field is present and null")
	}
	if v := o.Get("nope"); v.Present() || !v.Null() {
		t.Error("an absent field is not present, and null")
	}
	plain := Object(`{"a":{"b":{"c":"x"}},"n":12.5}`)
	if allocs := testing.AllocsPerRun(100, func() { plain.Get("a.b.c").Is("x"); plain.Get("n").Number() }); allocs != 0 {
		t.Errorf("looking into an object without escapes allocates %v times", allocs)
	}
}

func TestObjectRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`[1]`: "want a JSON object, got an array", `"x"`: "got a string", `12`: "got a number", `true`: "got a boolean", `{"a":}`: "invalid character",
	} {
		if _, err := ParseObject([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseObject(%s): %v, want %q", text, err, want)
		}
	}
}

func TestEventRoundTrip(t *testing.T) {
	properties, err := ParseObject([]byte(`{"b": 1.50, "a": "<b>&\u2028", "n": 10000000000000001}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Event{
		ID: "m1", Type: Track, Name: OrderCompleted, Profile: "p", Occurred: 1, Accepted: 1_700_000_000_123,
		Properties: properties, Consent: map[string]bool{"email": true}, Source: Source{Name: "q", Ordinal: 7, After: 6},
	}
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), string(properties)) {
		t.Errorf("properties did not go on byte for byte:\n%s\n%s", properties, data)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestVisit(t *testing.T) {
	o, err := ParseObject([]byte(`{"a":1,"ü":"x","b\u0061":[2],"a":null}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	o.Visit(func(name []byte, v Value) { got = append(got, string(name)+"="+string(v.Raw())) })
	if want := []string{"a=1", `ü="x"`, "ba=[2]", "a=null"}; !slices.Equal(got, want) {
		t.Errorf("visited %q, want %q", got, want)
	}
	Object(nil).Visit(func([]byte, Value) { t.Error("nothing has a field") })
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{`"a b"`: "a b", `"ü"`: "ü", `""`: ""} {
		if got, ok := ValueOf([]byte(text)).Plain(); !ok || string(got) != want {
			t.Errorf("%s is %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{`"a\nb"`, `"ü\\"`, "\"\xff\"", `5`, `null`, ``} {
		if got, ok := ValueOf([]byte(text)).Plain(); ok {
			t.Errorf("%s is plain: %q", text, got)
		}
	}
}
