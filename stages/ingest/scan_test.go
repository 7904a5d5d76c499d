package ingest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The scanner and encoding/json agree on what JSON is, and on what an object holds.
func checkScanner(t *testing.T, in []byte) {
	t.Helper()
	doc, err := document(in)
	if valid := json.Valid(in); valid != (err == nil) {
		if valid && strings.Contains(err.Error(), "nested deeper") {
			return
		}
		t.Fatalf("%q: encoding/json says %v, the scanner %v", in, valid, err)
	}
	if err != nil {
		return
	}
	if !bytes.Equal(doc, bytes.Trim(in, " \t\r\n")) {
		t.Fatalf("%q: the value is %q", in, doc)
	}
	switch doc[0] {
	case '{':
		want := map[string]json.RawMessage{}
		if err := json.Unmarshal(doc, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		for _, m := range members(doc, nil) {
			var name string // what encoding/json makes of invalid UTF-8 is its own affair
			if err := json.Unmarshal(m.key, &name); err != nil {
				t.Fatalf("%q: key %q: %v", in, m.key, err)
			}
			got[name] = json.RawMessage(m.value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", in, diff)
		}
	case '[':
		var want, got []json.RawMessage
		if err := json.Unmarshal(doc, &want); err != nil {
			t.Fatal(err)
		}
		elements(doc, func(e []byte) bool { got = append(got, json.RawMessage(e)); return true })
		if len(want) != len(got) {
			t.Fatalf("%q: %d elements, want %d", in, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(want[i], got[i]) {
				t.Fatalf("%q: element %d is %q, want %q", in, i, got[i], want[i])
			}
		}
	}
}

var scannerSeeds = []string{
	``, ` `, `null`, `nul`, `nulll`, `true`, `false`, `tru`, `{}`, `[]`, ` { } `, `[ ]`, `{"a":1}`, `{"a" : [1 , 2.5e-3 ] , "b":{"c":null}}`,
	`{"a":1,}`, `[1,]`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`, `[1 2]`, `{"a":1}}`, `[`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`,
	`0`, `-0`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `1E5`, `1.5e-07`, `--1`, `+1`, `1 2`, `NaN`,
	`"`, `"\`, `"\u12`, `"\u12g4"`, `"\u00e9\ud83d\udc5f"`, `"\ud800"`, `"\x"`, `"\/\b\f\n\r\t\"\\"`, "\"a\nb\"", "\"\x00\"", "\"\xff\"", "\"\u2028\"",
	`{"a":1,"a":2}`, `{"\u0061":1,"a":2}`, "\ufeff{}", `[[[[]]]]`, `[{},{"a":[{}]},"x",-1]`,
}

func TestScanner(t *testing.T) {
	for _, s := range scannerSeeds {
		checkScanner(t, []byte(s))
	}
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if _, err := document(deep(maxDepth)); err != nil {
		t.Errorf("depth %d: %v", maxDepth, err)
	}
	if _, err := document(deep(maxDepth + 1)); err == nil || err.Error() != "at byte 512: nested deeper than 512" {
		t.Errorf("depth %d: %v", maxDepth+1, err)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range scannerSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) { checkScanner(t, in) })
}
