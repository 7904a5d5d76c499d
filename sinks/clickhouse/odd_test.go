package clickhouse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func oddObjects() []string {
	fields := make([]string, 2000)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"k%d":%d`, i, i)
	}
	return []string{
		`{}`, `{"a":null}`, `{"a":{}}`, `{"a":[]}`, `{"":1}`, `{"a":{"":1}}`, `{"a.b":1}`, `{"a.b":1,"a":{"b":2}}`, `{"a":1,"a":2}`,
		`{"a":1,"a":{"b":2}}`, `{"a":{"b":2},"a":1}`, `{"a..b":1}`, `{".":1}`, `{"a b":1}`, "{\"`\":1}", `{"a\u0000b":"c\u0000d"}`,
		`{"s":"\ud800"}`, `{"\ud800":1}`, "{\"s\":\"\xff\xfe\"}", `{"s":"'\"\\\n"}`, `{"SKIP":1,"max_dynamic_paths":3,"null":2,"size0":1}`,
		`{"n":18446744073709551615}`, `{"n":18446744073709551616}`, `{"n":-9223372036854775809}`, `{"n":1e999}`, `{"n":-1e999}`, `{"n":1e-999}`,
		`{"n":0.1234567890123456789}`, `{"n":123456789012345678901234567890}`, `{"n":-0}`, `{"n":-0.0}`, `{"n":12.10}`, `{"n":1.0}`, `{"n":1e2}`,
		`{"order_id":5}`, `{"order_id":{"x":1}}`, `{"order_id":[1,"a"]}`, `{"order_id":null}`, `{"order_id":true}`, `{"order_id":1e30}`, `{"order_id":12.10}`,
		`{"order_id":18446744073709551616}`, `{"order_id":{"x":1},"order_id.x":2}`, `{"category":"` + strings.Repeat("x", 5000) + `"}`,
		`{"revenue":"12.34"}`, `{"revenue":"abc"}`, `{"revenue":1e30}`, `{"revenue":{"amount":3}}`, `{"revenue":[1]}`, `{"currency":["GBP"]}`,
		`{"a":[1,"x",{"b":1},[2]]}`, `{"a":[{"b":1},{"b":"x"}]}`, `{"a":[[[[1]]]]}`, `{"a":[null]}`, `{"a":[1,null,2.5]}`, `{"a":[1,true]}`, `{"a":["a",1]}`, `{"a":["",true]}`,
		`{"a":[{"":1}]}`, `{"a":[{"x":1,"x":2}]}`, `{"a":[{"x.y":1,"x":{"y":3}}]}`, `{"a":[18446744073709551615,-1]}`, `{"a":[{"b":1},null]}`,
		`{"a":"2020-01-01"}`, `{"a":"2020-01-01T10:00:00Z"}`, `{"a":["2020-01-01 10:00:00","x"]}`, `{"a":"5"}`, `{"a":"true"}`, `{"a":" "}`,
		`{"a":"` + strings.Repeat("é", 16_000) + `"}`, `{"` + strings.Repeat("k", 20_000) + `":1}`, `{` + strings.Join(fields, ",") + `}`,
		strings.Repeat(`{"a":`, 900) + "1" + strings.Repeat("}", 900), strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
		`{"a":` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + "}", `{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
		`{"%2E":1,"a%2Eb":2}`, `{"a":"\u007f\u0001"}`,
	}
}

// batchOf has an event per object, as its properties, its traits and its context, and a profile with the object
// as a trait.
func batchOf(first uint64, objects ...string) pipeline.SinkBatch {
	part := pipeline.SinkPart{Sequence: first}
	for i, o := range objects {
		position := first*10_000 + uint64(i)
		id := fmt.Sprintf("p%08d", position)
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: position, Event: event.Event{
			ID: fmt.Sprintf("e%08d", position), Type: event.Track, Name: "Odd", Profile: id, Accepted: 1_800_000_000_000, Occurred: 1_800_000_000_000,
			Properties: event.Object(o), Traits: event.Object(o), Context: event.Object(o),
		}})
		p := profile.New(id)
		p.Applied, p.Traits = position, map[string]profile.Trait{"t": {Value: event.Object(o)}}
		part.Profiles = append(part.Profiles, p)
	}
	return pipeline.SinkBatch{Stream: "ODD", From: first, To: first, Parts: []pipeline.SinkPart{part}}
}

// checkWhole reads the batch back: each JSON column says all that was sent, or its text stands in the _raw one.
func checkWhole(t rapid.TB, b *bench, text func(sql string) string, first uint64, objects []string) {
	for _, column := range []string{"properties", "traits"} {
		lines := strings.Split(text(fmt.Sprintf("SELECT base64Encode(%[1]s_raw), base64Encode(toJSONString(%[1]s)) FROM %[2]s.events WHERE intDiv(sequence, 10000) = %[3]d AND event = 'Odd' ORDER BY sequence",
			column, b.database, first)), "\n")
		if len(lines) != len(objects) {
			t.Fatalf("%s: %d rows, want %d", column, len(lines), len(objects))
		}
		for i, line := range lines {
			raw, said, _ := strings.Cut(line, "\t")
			compareObject(t, column, objects[i], unbase(t, raw), unbase(t, said), column == "properties")
		}
	}
	lines := strings.Split(text(fmt.Sprintf("SELECT base64Encode(traits_raw), base64Encode(toJSONString(traits)) FROM %s.profiles FINAL WHERE intDiv(version, 10000) = %d AND startsWith(profile_id, 'p0') ORDER BY version", b.database, first)), "\n")
	if len(lines) != len(objects) {
		t.Fatalf("profiles: %d rows, want %d", len(lines), len(objects))
	}
	for i, line := range lines {
		raw, said, _ := strings.Cut(line, "\t")
		compareObject(t, "profiles.traits", `{"t":`+objects[i]+`}`, unbase(t, raw), unbase(t, said), false)
	}
}

func unbase(t rapid.TB, s string) string {
	var out []byte
	if err := json.Unmarshal([]byte(`"`+s+`"`), &out); err != nil {
		t.Fatalf("%v", err)
	}
	return string(out)
}

func compareObject(t rapid.TB, column, sent, raw, said string, typed bool) {
	if raw != "" {
		if raw != sent {
			t.Fatalf("%s: sent %.200q, the text kept is %.200q", column, sent, raw)
		}
		return
	}
	want, got := decode(t, sent), decode(t, said)
	if typed {
		for _, path := range []string{"order_id", "product_id", "category", "cart_id", "currency"} {
			if _, ok := want[path]; !ok && got[path] == "" {
				delete(got, path)
			}
			if n, ok := want[path].(*big.Rat); ok { // a typed path holds text
				if r, ok := new(big.Rat).SetString(fmt.Sprint(got[path])); ok && r.Cmp(n) == 0 {
					got[path] = n
				}
			}
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })); diff != "" {
		t.Fatalf("%s: sent %.300q, which reads %.300q, and no text was kept (-want +got):\n%.500s", column, sent, said, diff)
	}
}

// decode keeps numbers exact.
func decode(t rapid.TB, s string) map[string]any {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%.200q: %v", s, err)
	}
	return exactNumbers(m).(map[string]any)
}

func exactNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = exactNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = exactNumbers(v[i])
		}
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return r
		}
	}
	return v
}

func TestNoPayloadIsLostOrHoldsUpABatch(t *testing.T) {
	b := setup(t)
	objects := oddObjects()
	b.write(t, batchOf(1, objects...))
	text := func(sql string) string { return b.text(t, sql) }
	checkWhole(t, b, text, 1, objects)
	// Merged, in wide parts, and loaded again they still read the same.
	b.exec(t, "ALTER TABLE "+b.database+".events MODIFY SETTING min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0")
	b.write(t, batchOf(2, objects...))
	b.exec(t, "OPTIMIZE TABLE "+b.database+".events FINAL")
	b.exec(t, "DETACH TABLE "+b.database+".events")
	b.exec(t, "ATTACH TABLE "+b.database+".events")
	checkWhole(t, b, text, 1, objects)
	checkWhole(t, b, text, 2, objects)
	// The engine took it at once: nothing had to be sent again as text only.
	if got := b.text(t, "SELECT count() FROM events WHERE properties_raw = ''"); got == "0" {
		t.Error("no object at all was parsed")
	}
}

// What the scanner calls exact is what the engine gives back, for whatever JSON a producer may think of.
func TestWhatTheScannerCallsExactIsExact(t *testing.T) {
	b := setup(t)
	next := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		objects := rapid.SliceOfN(objectText(3), 1, 30).Draw(rt, "objects")
		next++
		if err := b.Write(t.Context(), batchOf(next, objects...)); err != nil {
			rt.Fatal(err)
		}
		checkWhole(rt, b, func(sql string) string { return b.text(t, sql) }, next, objects)
	})
}

func objectText(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var out bytes.Buffer
		out.WriteByte('{')
		for i := range rapid.IntRange(0, 4).Draw(t, "fields") {
			if i > 0 {
				out.WriteByte(',')
			}
			key := rapid.OneOf(
				rapid.SampledFrom([]string{"a", "b", "order_id", "currency", "a.b", "", "x y", "é", "size0"}), rapid.StringN(0, 5, 20)).Draw(t, "key")
			text, _ := json.Marshal(key)
			out.Write(text)
			out.WriteByte(':')
			out.WriteString(valueText(depth).Draw(t, "value"))
		}
		out.WriteByte('}')
		return out.String()
	})
}

func valueText(depth int) *rapid.Generator[string] {
	scalars := []*rapid.Generator[string]{
		rapid.SampledFrom([]string{"null", "true", "false", "0", "-0.0", "1.50", "1e3", "1E-7", "123456789012345", "9007199254740993", "18446744073709551615",
			"99999999999999999999", "0.1", "-1", `"2024-01-01"`, `"12"`, `"true"`, `""`, `"10:00:00"`, `"1.1.1.1"`}),
		rapid.Map(rapid.StringN(0, 8, 40), func(s string) string { text, _ := json.Marshal(s); return string(text) }),
		rapid.Map(rapid.Float64(), func(f float64) string { text, _ := json.Marshal(f); return string(text) }),
		rapid.Map(rapid.Int64(), func(i int64) string { return fmt.Sprint(i) }),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	array := rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[string] { return valueText(depth - 1) }), 0, 4),
		func(items []string) string { return "[" + strings.Join(items, ",") + "]" })
	return rapid.OneOf(append(scalars, array, rapid.Deferred(func() *rapid.Generator[string] { return objectText(depth - 1) }))...)
}

func TestExact(t *testing.T) {
	typed := []string{"order_id"}
	for text, want := range map[string]bool{
		``: true, `{}`: true, `{"a":1}`: true, `{"a":{"b":[1,2.5],"c":"x","d":false,"e":[]}}`: true, `{"a":{"b":1},"b":{"b":1}}`: true,
		`{"a":"\"}{\\"}`: true, `{"order_id":"x"}`: true, `{"order_id":12}`: true, `{"a":123456789012345}`: true, `{"a":-1.5}`: true,
		`{"a":[1,-2.5]}`: true, `{"a":[true,false]}`: true, `{"a":[[1],[2]],"b":["x"]}`: true, `{"a":[{"x":[1]},{"x":["y"]}],"b":[true]}`: true,
		`{"a":["",true]}`: false, `{"a":[1,"x"]}`: false, `{"a":[1,true]}`: false, `{"a":[[1],["x"]]}`: false, `{"a":[[1],2]}`: false, `{"a":[{"x":1},1]}`: false,
		`{"a":null}`: false, `{"a":{}}`: false, `{"a":[{}]}`: false, `{"a.b":1}`: false, `{"a":1,"a":2}`: false, `{"a":{"b":1,"b":2}}`: false,
		`{"\u0061":1}`: false, `{"a":1234567890123456}`: false, `{"a":1e5}`: false, `{"order_id":true}`: false, `{"order_id":[]}`: false,
		`{"a":1`: false, `{"a"`: false, `{`: false, `[]`: false, `{"a":1}x`: false, `{"a":}`: false, `{"a":[1,]}`: false, `null`: false, `{"a":tru}`: false,
		strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32): true, strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33): false,
	} {
		if got := exact([]byte(text), typed); got != want {
			t.Errorf("%s: got %t, want %t", text, got, want)
		}
	}
}

func FuzzExact(f *testing.F) {
	for _, o := range oddObjects() {
		f.Add([]byte(o))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		called := exact(text, nil)
		if o, err := event.ParseObject(text); err == nil && o != nil && called && !bytes.Equal(o, text) {
			t.Errorf("%q is not compact, and is called exact", text)
		}
	})
}

func TestInstantsAndAmountsBeyondTheirColumns(t *testing.T) {
	b := setup(t)
	part := pipeline.SinkPart{Sequence: 1}
	for i, v := range []int64{math.MinInt64, int64(earliest) - 1, int64(earliest), -1, 0, 1, int64(latest), int64(latest) + 1, math.MaxInt64} {
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: uint64(i), CLV: event.Money(v), Alive: math.NaN(), Event: event.Event{
			ID: fmt.Sprint(i), Type: event.Track, Occurred: event.Instant(v), Accepted: 1_800_000_000_000,
			Properties: event.Object(fmt.Sprintf(`{"revenue":"%d.9999"}`, max(min(v, 899_999_999_999_999), -899_999_999_999_999))),
		}})
		p := profile.New(fmt.Sprint(i))
		p.Now, p.First, p.Orders.Revenue, p.Scores.CLV = event.Instant(v), event.Instant(v), event.Money(v), event.Money(v)
		part.Profiles = append(part.Profiles, p)
		part.Facts.Changes = append(part.Facts.Changes, pipeline.SegmentChange{Segment: "s", Profile: "p", At: event.Instant(v), Version: math.MaxUint64})
		part.Facts.Decisions = append(part.Facts.Decisions, pipeline.Decision{ID: fmt.Sprint(i), At: event.Instant(v), CLV: event.Money(v)})
	}
	b.write(t, pipeline.SinkBatch{Stream: "S", From: 1, To: 1, Parts: []pipeline.SinkPart{part}})
	want := strings.Join([]string{
		"1900-01-01 00:00:00.000\t-899999999999999.9999", "1900-01-01 00:00:00.000\t-2208988800001.9999", "1900-01-01 00:00:00.000\t-2208988800000.9999",
		"1969-12-31 23:59:59.999\t-1.9999", "1970-01-01 00:00:00.000\t0.9999", "1970-01-01 00:00:00.001\t1.9999",
		"2262-04-11 23:47:16.854\t9223372036854.9999", "2262-04-11 23:47:16.854\t9223372036855.9999", "2262-04-11 23:47:16.854\t899999999999999.9999",
	}, "\n")
	if diff := cmp.Diff(want, b.text(t, "SELECT occurred, revenue FROM events ORDER BY sequence")); diff != "" {
		t.Error(diff)
	}
	if got := b.text(t, "SELECT count() FROM segment_changes"); got != "9" {
		t.Errorf("%s changes", got)
	}
}
