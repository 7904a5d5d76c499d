package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// reflected is an event as encoding/json reads and writes it, by its tags.
type reflected Event

func encodeReflected(t interface{ Fatal(...any) }, e *Event) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode((*reflected)(e)); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// FuzzDecode holds the reader against encoding/json: both take a record or both refuse it, and read the same.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"id":"m1","type":"track","name":"Product Viewed","profile":"p","user":"u","occurred":"2026-05-01T12:00:00.123Z","accepted":"2026-05-01T12:00:01Z","historical":true,"properties":{"a":[1,{"b":null}]},"traits":{},"context":{"locale":"de"},"consent":{"email":true},"source":{"name":"raw.x.1","ordinal":18446744073709551615,"after":3}}`,
		`{"type":"control","control":{"kind":"definitions","version":3,"hash":"ab"},"source":{"name":"c","ordinal":1}}`,
		` { "id" : "\ud83d\ude00\"" , "properties" : { "a" : 1 } } `, "{\"id\":\"\xff\",\"context\":{\"\xff\":1}}",
		`{"id":null,"properties":null,"historical":null,"occurred":null,"source":null,"consent":null}`, `{"id":1}`, `{"type":[]}`,
		`{"occurred":"yesterday"}`, `{"occurred":5}`, `{"historical":"true"}`, `{"source":{"ordinal":-1}}`, `{"source":7}`, `{"properties":[1]}`,
		`{"id":"a","id":"b"}`, `{"unknown":{"x":[true,false]}}`, `{`, ``, `null`, `[]`, `{"id":"a"}x`, `{"id":"a",}`, `{"a":01}`, `{"a":1.}`, `{"a":"\x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var want reflected
		wantErr := json.Unmarshal(data, &want)
		got, err := Decode(bytes.Clone(data))
		if strings.TrimSpace(string(data)) == "null" {
			return // nothing at all for encoding/json, no record here
		}
		if strange(data) {
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, but encoding/json says %v", data, err, wantErr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(Event(want), got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q (-encoding/json +ours):\n%s", data, diff)
		}
	})
}

// strange texts name a field in a way that nobody writes: twice, in other letters or escaped. encoding/json merges
// and folds such names.
func strange(data []byte) bool {
	o, err := ParseObject(bytes.Clone(data))
	if err != nil {
		return false
	}
	odd := strangeFields(o)
	for _, name := range []string{"source", "control", "consent"} {
		if inner, ok := o.Get(name).Object(); ok {
			odd = odd || strangeFields(inner)
		}
	}
	return odd
}

func strangeFields(o Object) bool {
	odd := bytes.Contains(o, []byte(`\u`))
	known := map[string]bool{}
	o.Fields(func(name string, _ Value) bool {
		lower := strings.ToLower(name)
		odd = odd || known[lower] || lower != name || strings.ContainsAny(name, "ſK")
		known[lower] = true
		return true
	})
	return odd
}

func randomEvent(t *rapid.T) Event {
	words := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9 :_-]{0,12}`), rapid.String())
	at := rapid.Map(rapid.Int64Range(int64(earliest), int64(latest)), func(i int64) Instant { return Instant(i) })
	object := rapid.Custom(func(t *rapid.T) Object {
		o, err := ObjectOf(rapid.MapOf(words, rapid.OneOf(rapid.Map(words, func(s string) any { return s }), rapid.Map(rapid.Int(), func(i int) any { return i }))).Draw(t, "object"))
		if err != nil {
			t.Fatal(err)
		}
		return o
	})
	e := Event{
		ID: words.Draw(t, "id"), Type: rapid.SampledFrom([]Type{Track, Identify, Wake, "odd"}).Draw(t, "type"), Name: words.Draw(t, "name"),
		Profile: words.Draw(t, "profile"), User: words.Draw(t, "user"), Occurred: at.Draw(t, "occurred"), Accepted: at.Draw(t, "accepted"),
		Historical: rapid.Bool().Draw(t, "historical"), Properties: object.Draw(t, "properties"), Traits: object.Draw(t, "traits"), Context: object.Draw(t, "context"),
		Consent: rapid.MapOf(words, rapid.Bool()).Draw(t, "consent"), Trace: words.Draw(t, "trace"),
		Source: Source{Name: words.Draw(t, "source"), Ordinal: rapid.Uint64().Draw(t, "ordinal"), After: rapid.Uint64().Draw(t, "after")},
	}
	if rapid.Bool().Draw(t, "joins") {
		e.Joins = []Join{{Loser: words.Draw(t, "loser"), Refused: words.Draw(t, "refused")}, {}}
	}
	if rapid.Bool().Draw(t, "merge") {
		e.Type = Merge
		e.Merge = &MergeRecord{Loser: words.Draw(t, "loser"), Winner: words.Draw(t, "winner"), State: rapid.SliceOf(rapid.Byte()).Draw(t, "state")}
	}
	if rapid.Bool().Draw(t, "control") {
		e.Control = &ControlRecord{Kind: words.Draw(t, "kind"), Version: rapid.Uint64().Draw(t, "version"), Hash: words.Draw(t, "hash")}
	}
	return e
}

// What is written is what encoding/json reads, and reads back as it was.
func TestEncodeIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := randomEvent(t)
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var want reflected
		if err := json.Unmarshal(encodeReflected(t, &e), &want); err != nil {
			t.Fatal(err)
		}
		var read reflected
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(want, read, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		back, err := Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(Event(want), back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The bytes of a plain event are those that encoding/json wrote in earlier versions.
func TestEncodePlain(t *testing.T) {
	e := Event{
		ID: "m1", Type: Track, Name: "Product Viewed", Profile: "p1", User: "ada", Occurred: 1_777_636_800_123, Accepted: 1_777_636_801_000,
		Properties: Object(`{"price":"<5 €"}`), Consent: map[string]bool{"sms": false, "email": true}, Source: Source{Name: "raw.k.3", Ordinal: 7, After: 6},
	}
	got, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := string(encodeReflected(t, &e)); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, e := range map[string]Event{
		"a year beyond RFC 3339": {Accepted: latest + 1},
		"a year before it":       {Occurred: earliest - 1},
		"an object that is none": {Properties: Object(`{"a":`)},
		"an array":               {Context: Object(`[1]`)},
	} {
		if data, err := e.Encode(); err == nil {
			t.Errorf("%s is written: %s", name, data)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data := []byte(`{"id":"0190c5f2-7b1e-7a3c-9d41-00000000abcd","type":"track","name":"Product Viewed","profile":"ge2tqnbrgyydcmry","user":"customer-00042","occurred":"2026-11-24T22:20:28.398Z","accepted":"2026-11-24T22:20:28.535Z","properties":{"product_id":"sku-0042","category":"sneakers","price":52.99,"quantity":1,"currency":"GBP","cart_id":"c-42"},"context":{"locale":"en-GB"},"source":{"name":"raw.k3j2h4.3","ordinal":4711,"after":4709}}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := Event{
		ID: "0190c5f2-7b1e-7a3c-9d41-00000000abcd", Type: Track, Name: "Product Viewed", Profile: "ge2tqnbrgyydcmry", User: "customer-00042",
		Occurred: 1_777_636_800_123, Accepted: 1_777_636_801_000, Source: Source{Name: "raw.k3j2h4.3", Ordinal: 4711, After: 4709},
		Properties: Object(`{"product_id":"sku-0042","category":"sneakers","price":52.99,"quantity":1,"currency":"GBP","cart_id":"c-42"}`),
		Context:    Object(`{"locale":"en-GB"}`),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
