package mapping

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMistakes(t *testing.T) {
	golden(t, filepath.Join("testdata", "mistakes.txtar"), func(text []byte) string {
		_, err := Parse("my.yaml", text, Options{})
		if err == nil {
			return "no mistake\n"
		}
		if len(Errors(err)) == 0 {
			t.Errorf("%v holds no *Error", err)
		}
		return err.Error() + "\n"
	})
}

// made is a mapping with the given lines after its name and authentication.
func made(t testing.TB, lines string, o Options) *Mapping {
	t.Helper()
	m, err := Parse("my.yaml", []byte("name: my\nauthenticate: {token: {query: key}}\n"+lines), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mapped(t testing.TB, m *Mapping, body string) string {
	t.Helper()
	return written(m.Map(t.Context(), Request{ID: "r", Body: []byte(body)}, limits()))
}

func TestExpressions(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ expression, body, want string }{
		"numbers stay as they are written": {`.a`, `{"a": 19.90}`, `19.90`},
		"whole numbers beyond a float":     {`.a`, `{"a": 820982911946154508}`, `820982911946154508`},
		"a product":                        {`.a * .b`, `{"a": 3, "b": 2.5}`, `7.5`},
		"a difference":                     {`.a - 1`, `{"a": 3}`, `2`},
		"a sum of texts":                   {`[.a[] | tonumber] | add`, `{"a": ["1.25", "2.50"]}`, `3.75`},
		"minor units":                      {`.a | from_minor("eur")`, `{"a": 1999}`, `"19.99"`},
		"an amount":                        {`.c as $c | .a | amount($c)`, `{"a": "19.995", "c": "JPY"}`, `"20"`},
		"an address":                       {`.a | email`, `{"a": " A@B.Example "}`, `"a@b.example"`},
		"a phone number":                   {`.a | phone`, `{"a": "030 12345678"}`, `"+493012345678"`},
		"a phone number of a country":      {`.a | phone("USA")`, `{"a": "(541) 754-3010"}`, `"+15417543010"`},
		"a country":                        {`.a | country`, `{"a": "Germany"}`, `"DE"`},
		"a locale":                         {`.a | locale`, `{"a": "de_DE"}`, `"de-DE"`},
		"no form":                          {`.a | phone`, `{"a": "call me"}`, `"call me"`},
		"text of a number":                 {`.a | text`, `{"a": 7}`, `"7"`},
		"a time":                           {`.a | strptime("%d.%m.%Y") | mktime | todate`, `{"a": "01.05.2026"}`, `"2026-05-01T00:00:00Z"`},
		"nulls in objects go":              {`{b: .a, c: {d: .a}, e: [.a], f: {}}`, `{}`, `{"e":[null],"f":{}}`},
		"everything below":                 {`[.. | numbers]`, `{"a": [1, {"b": 2}]}`, `[1,2]`},
		"a pattern":                        {`. as {a: [$x, $y]} | "\($x)-\($y)"`, `{"a": [1, 2]}`, `"1-2"`},
		"the item's number":                {`$index`, `{}`, `0`},
		"the request":                      {`$request`, `{}`, `"r"`},
	} {
		m := made(t, "calls:\n  - event: E\n    user: '1'\n    properties:\n      x: |\n        "+c.expression+"\n", Options{Country: "DE"})
		got := mapped(t, m, c.body)
		if want := `"properties":{"x":` + c.want + `}}` + "\n"; !strings.HasSuffix(got, want) {
			t.Errorf("%s: %s of %s gives %s, want %s", name, c.expression, c.body, got, want)
		}
	}
	m := made(t, "calls: [{event: E, user: .u, time: .t}]", Options{Zone: berlin})
	if got := mapped(t, m, `{"u": 1, "t": "2026-05-01 12:00:00"}`); !strings.Contains(got, `"timestamp":"2026-05-01T10:00:00Z"`) {
		t.Errorf("a time without zone in Berlin: %s", got)
	}
}

// What fails says where, and keeps the payload's values to itself: they may be personal.
func TestProblemsHoldNoValues(t *testing.T) {
	for expression, want := range map[string]string{
		`.a | tonumber`:                     "my.yaml:8: item 0: calls[0].properties.x: tonumber cannot be applied to",
		`.a.b`:                              "my.yaml:8: item 0: calls[0].properties.x: expected an object but got: string",
		`.a + 1`:                            "my.yaml:8: item 0: calls[0].properties.x: cannot add: string",
		`.a * 1000000000`:                   "my.yaml:8: item 0: calls[0].properties.x: only numbers can be multiplied, not string with number",
		`[.a] - [.a]`:                       "my.yaml:8: item 0: calls[0].properties.x: only numbers can be subtracted, not array from array",
		`.a | from_minor("EUR")`:            "my.yaml:8: item 0: calls[0].properties.x: it can't be computed",
		`.a as $a | 1 | from_minor($a)`:     "my.yaml:8: item 0: calls[0].properties.x: it can't be computed",
		`.a | strptime("%Y") | mktime`:      "my.yaml:8: item 0: calls[0].properties.x: strptime",
		`.a | fromjson`:                     "my.yaml:8: item 0: calls[0].properties.x: fromjson",
		`{(.a | tojson): 1} | .[.x]`:        "my.yaml:8: item 0: calls[0].properties.x: expected a string for object key but got: null",
		`.a, .a`:                            "my.yaml:8: item 0: calls[0].properties.x: it gives more than one value: collect them in an array: [ … ], or take first( … )",
		`.a | test("(")`:                    "my.yaml:8: item 0: calls[0].properties.x: invalid regular expression",
		`.a as $a | $a | test($a + "(")`:    "my.yaml:8: item 0: calls[0].properties.x: invalid regular expression",
		`.a | amount(7)`:                    "my.yaml:8: item 0: calls[0].properties.x: amount needs a number and a currency, got string and number",
		`.a | @base64d`:                     "my.yaml:8: item 0: calls[0].properties.x: @base",
		`{a: 1} | has(.a)`:                  "my.yaml:8: item 0: calls[0].properties.x: has",
		`.a | ltrimstr("p") | .[0:"x"]`:     "my.yaml:8: item 0: calls[0].properties.x: expected",
		`[1] | join(.a) | tonumber | .[.a]`: "my.yaml:8: item 0: calls[0].properties.x: expected",
	} {
		m := made(t, "calls:\n  - event: E\n    user: '1'\n    properties:\n      x: |\n        "+expression+"\n", Options{})
		r := m.Map(t.Context(), Request{Body: []byte(`{"a": "personal-secret"}`)}, limits())
		if len(r.Problems) != 1 {
			t.Errorf("%s: %s", expression, written(r))
			continue
		}
		p := r.Problems[0]
		if got := p.Error(); !strings.HasPrefix(got, want) || strings.Contains(got, "secret") || p.Reason != ReasonFailed {
			t.Errorf("%s: %s: %s\nwant %s", expression, p.Reason, got, want)
		}
	}
}

// An expression that would run for ages or fill the memory ends, with a reason, on a payload of any kind.
func TestMappingsEnd(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat(`"x",`, 100_000), ",") + "]"
	for name, c := range map[string]struct{ expression, body, reason string }{
		"a product of the payload":    {`[.[] as $a | .[] as $b | .[] as $c | [$a, $b, $c]]`, list, ReasonTooSlow},
		"the whole payload each time": {`[.[] | $payload | tojson | length] | add`, list, ReasonTooSlow},
		"text without end":            {`map(. + ($payload | join(""))) | join("") | . + . + . + . | length`, list, ReasonTooSlow},
		"a value endless in writing":  {`[., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .] | [., .]`, `[]`, ReasonTooLarge},
		"deep nesting":                {`[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]`, `[]`, ReasonTooDeep},
	} {
		t.Run(name, func(t *testing.T) {
			m := made(t, "calls:\n  - event: E\n    user: '1'\n    properties:\n      x: |\n        "+c.expression+"\n", Options{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := m.Map(ctx, Request{Body: []byte(c.body)}, limits())
			if len(r.Problems) != 1 || len(r.Calls) > 0 || r.Problems[0].Reason != c.reason {
				t.Errorf("%d calls, %v, want %s", len(r.Calls), r.Problems, c.reason)
			}
		})
	}
	t.Run("the deadline", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("over"))
		r := made(t, "calls: [{event: E, user: .u}]", Options{}).Map(ctx, Request{Body: []byte(`{"u": 1}`)}, limits())
		if len(r.Problems) != 1 || r.Problems[0].Reason != ReasonTooSlow {
			t.Errorf("%v", r.Problems)
		}
	})
	t.Run("too many items", func(t *testing.T) {
		m := made(t, "each: .[]\ncalls: [{event: E, user: .}]", Options{})
		r := m.Map(t.Context(), Request{Body: []byte(list)}, Limits{Items: 10, CallBytes: 1000, AllBytes: 1000_000})
		if len(r.Problems) != 1 || r.Problems[0].Reason != ReasonTooMany || r.Problems[0].Item != -1 {
			t.Errorf("%v", r.Problems)
		}
	})
	t.Run("too large together", func(t *testing.T) {
		m := made(t, "each: .[]\ncalls: [{event: E, user: '\"\\(.)\\($index)\"'}]", Options{})
		r := m.Map(t.Context(), Request{Body: []byte(`[1,2,3,4,5,6,7,8,9]`)}, Limits{Items: 10, CallBytes: 1000, AllBytes: 300})
		if len(r.Problems) != 1 || r.Problems[0].Reason != ReasonTooLarge || len(r.Calls) == 0 {
			t.Errorf("%v", r.Problems)
		}
	})
}

// A repeat of the same payload has the same ids, an item that is in it twice has two, and a fixed mapping keeps them.
func TestIDs(t *testing.T) {
	m := made(t, "each: .[]\ncalls: [{event: E, user: .u}, {when: .v, event: F, user: .u}]", Options{})
	fixed := made(t, "each: .[]\ncalls: [{event: E, user: .u, properties: {v: .v}}, {when: .v, event: F, user: .u}]", Options{})
	ids := func(m *Mapping, body string) (all []string) {
		for _, c := range m.Map(t.Context(), Request{Body: []byte(body)}, limits()).Calls {
			all = append(all, c.ID)
		}
		return all
	}
	rapid.Check(t, func(t *rapid.T) {
		var items []string
		for range rapid.IntRange(1, 6).Draw(t, "items") {
			items = append(items, rapid.SampledFrom([]string{`{"u": 1}`, `{"u":1,"v":true}`, `{"v": true, "u": 1}`, `{"u": 2.0}`}).Draw(t, "item"))
		}
		body := "[" + strings.Join(items, ", ") + "]"
		one := ids(m, body)
		seen := map[string]bool{}
		for _, id := range one {
			if seen[id] {
				t.Fatalf("%s: %s twice in %v", body, id, one)
			}
			seen[id] = true
		}
		if again := ids(fixed, body); fmt.Sprint(again) != fmt.Sprint(one) {
			t.Fatalf("%s: %v, mapped again by a mended mapping %v", body, one, again)
		}
	})
}

// A CRM that says no time sends no, yes and no again, and means the last: only what says when it was updated has repeats.
func TestContactsSentAgain(t *testing.T) {
	m := shippedMapping(t, "contacts")
	for name, c := range map[string]struct {
		contacts []string
		want     int // different ids
	}{
		"without a time":    {[]string{`{"id": 7, "optin": "no"}`, `{"id": 7, "optin": "yes"}`, `{"id": 7, "optin": "no"}`}, 3},
		"with a blank time": {[]string{`{"id": 7, "updated_at": " "}`, `{"id": 7, "updated_at": " "}`}, 2},
		"with a time":       {[]string{`{"id": 7, "modified_at": 1777636800}`, `{"modified_at": 1777636800, "id": 7}`}, 1},
		"with another time": {[]string{`{"id": 7, "modified_at": 1777636800}`, `{"id": 7, "modified_at": 1777636801}`}, 2},
		"several in a list": {[]string{`[{"id": 7}, {"id": 7}]`, `[{"id": 7}]`}, 3},
		"a second name's":   {[]string{`{"id": 7, "updated_at": "", "modified_at": 1777636800}`, `{"id": 7, "updated_at": "", "modified_at": 1777636800}`}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			ids := map[string]bool{}
			for i, body := range c.contacts {
				r := m.Map(t.Context(), Request{ID: fmt.Sprint("request-", i), Body: []byte(body)}, limits())
				if len(r.Problems) > 0 {
					t.Fatal(written(r))
				}
				for _, call := range r.Calls {
					ids[call.ID] = true
				}
			}
			if len(ids) != c.want {
				t.Errorf("%d ids, want %d: %v", len(ids), c.want, ids)
			}
		})
	}
}

// A megabyte of garbage of every kind ends each shipped mapping with a reason or with right calls.
func TestGarbage(t *testing.T) {
	const size = 1 << 20
	random := make([]byte, size)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(source.Uint32())
	}
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	bodies := map[string]string{
		"bytes": string(random), "zeros": string(make([]byte, size)), "open arrays": fill("["), "open objects": fill(`{"a":`), "quotes": fill(`"`),
		"numbers": "[" + strings.TrimSuffix(fill("1,"), ",") + "]", "one number": fill("9"), "nulls": "[" + strings.TrimSuffix(fill("null,"), ",") + "]",
		"events":  `{"events":[` + strings.TrimSuffix(fill(`{"name":"a"},`), ",") + `]}`,
		"objects": "[" + strings.TrimSuffix(fill(`{"id":"1","type":"t","source":"s","specversion":"1.0"},`), ",") + "]",
		"keys": "{" + strings.TrimSuffix(func() string {
			var b strings.Builder
			for i := 0; b.Len() < size; i++ {
				fmt.Fprintf(&b, `"k%d":%d,`, i, i)
			}
			return b.String()
		}(), ",") + "}",
		"long text": `{"id":"` + fill("x") + `"}`, "commas": fill(","), "lines": fill("a\n"), "csv": "id,email\n" + fill("1,a@b.example\n"),
		"columns": fill("a,") + "\n1", "separators": fill(";\t,\n"), "deep": strings.Repeat("[", 500) + "1" + strings.Repeat("]", 500),
	}
	for _, name := range Shipped() {
		m := shippedMapping(t, name)
		for kind, body := range bodies {
			for _, header := range []map[string][]string{
				{"x-shopify-topic": {"orders/create"}, "content-type": {"application/cloudevents-batch+json"}},
				{"x-shopify-topic": {"refunds/create"}, "content-type": {"text/csv"}},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				r := m.Map(ctx, Request{ID: "r", Headers: header, Body: []byte(body)}, limits())
				cancel()
				if len(r.Calls) == 0 && len(r.Problems) == 0 {
					t.Errorf("%s, %s: neither calls nor a reason", name, kind)
				}
				for _, p := range r.Problems {
					if p.Reason == "" || p.What == "" || len(p.Error()) > 500 {
						t.Errorf("%s, %s: %.600s", name, kind, p)
					}
				}
				for _, c := range r.Calls {
					if len(c.Payload) > limits().CallBytes {
						t.Errorf("%s, %s: a call of %d bytes", name, kind, len(c.Payload))
					}
				}
			}
		}
	}
}

func FuzzMap(f *testing.F) {
	var all []*Mapping
	for _, name := range Shipped() {
		all = append(all, shippedMapping(f, name))
	}
	f.Add([]byte(`{"id":1,"customer":{"id":2},"line_items":[{"price":"1"}]}`), "orders/create", "application/json")
	f.Add([]byte(`[{"specversion":"1.0","type":"t","source":"s","id":"1","data":{"traits":{}}}]`), "refunds/create", "application/cloudevents-batch+json")
	f.Add([]byte(`{"client_id":"1","events":[{"name":"purchase","params":{"items":[{}]}}]}`), "checkouts/update", "")
	f.Add([]byte("id;email\n1;a@b"), "customers/update", "text/csv")
	f.Fuzz(func(t *testing.T, body []byte, topic, kind string) {
		for _, m := range all {
			header := map[string][]string{"x-shopify-topic": {topic}, "content-type": {kind}, "ce-id": {topic}, "ce-type": {kind}}
			one := m.Map(t.Context(), Request{ID: "r", Headers: header, Body: body}, limits())
			if again := m.Map(t.Context(), Request{ID: "r", Headers: header, Body: body}, limits()); written(again) != written(one) {
				t.Errorf("%s gives\n%s\nand then\n%s", m.Name(), written(one), written(again))
			}
			for _, c := range one.Calls {
				if v, p := JSON(c.Payload); p != nil || v == nil {
					t.Errorf("%s: %q is no call: %v", m.Name(), c.Payload, p)
				}
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, name := range Shipped() {
		data, err := Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse("f.yaml", data, Options{})
		if err != nil {
			if bytes.Contains([]byte(err.Error()), []byte("f.yaml")) {
				return
			}
			t.Errorf("%q doesn't name the file", err)
			return
		}
		m.Map(t.Context(), Request{Body: []byte(`{"a": [1, {"b": "c"}]}`)}, limits())
	})
}

func BenchmarkMap(b *testing.B) {
	m := shippedMapping(b, "shopify")
	body := []byte(`{"id": 820982911946154508, "created_at": "2021-12-31T19:00:00-05:00", "customer": {"id": 115310627314723954, "email": "john@example.com"},
		"total_price": "403.00", "subtotal_price": "393.00", "currency": "USD", "line_items": [
		{"product_id": 632910392, "price": "199.00", "quantity": 1, "title": "IPod"}, {"product_id": 632910393, "price": "199.00", "quantity": 1, "title": "IPod"}]}`)
	r := Request{ID: "r", Headers: map[string][]string{"x-shopify-topic": {"orders/create"}, "x-shopify-webhook-id": {"w"}}, Body: body}
	b.ReportAllocs()
	for b.Loop() {
		if got := m.Map(b.Context(), r, limits()); len(got.Calls) != 2 {
			b.Fatal(written(got))
		}
	}
}

// Items of one key are one item wherever they stand, and sums of decimals are exact.
func TestGroups(t *testing.T) {
	m, err := Parse("g.yaml", []byte(`
name: g
reads: [json, csv]
timezone: Europe/London
each: if type == "array" then .[] else . end
group: .order
refuse: {reason: two_customers, when: '[.[].customer] | unique | length > 1'}
id: .[0].order
calls:
  - event: Order Completed
    user: .[0].customer
    time: '[.[].at] | min'
    properties: {revenue: '[.[] | [.quantity, .price]] | sum', lines: length}
`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := mapped(t, m, `[
		{"order": 1, "customer": "a", "at": "2026-06-01 12:00", "quantity": 3, "price": "0.10"},
		{"order": 2, "customer": "b", "at": "2026-06-01 12:00", "quantity": "2", "price": 19.99},
		{"customer": "nobody"},
		{"order": "1", "customer": "a", "at": "2026-06-01 11:59", "quantity": 1, "price": 0.0001},
		{"order": 3, "customer": "a", "at": "2026-06-01"}, {"order": 3, "customer": "b", "at": "2026-06-01"},
		{"order": 4, "customer": "a", "at": "2026-06-01", "quantity": null, "price": 1}]`)
	const want = `0 {"type":"track","messageId":"g:1","userId":"a","event":"Order Completed","timestamp":"2026-06-01T10:59:00Z","properties":{"lines":2,"revenue":0.3001}}
1 {"type":"track","messageId":"g:2","userId":"b","event":"Order Completed","timestamp":"2026-06-01T11:00:00Z","properties":{"lines":1,"revenue":39.98}}
! mapping_failed: g.yaml:6: item 2: group: it gives nothing to group by: leave such items out under each: select(…)
! two_customers: g.yaml:7: item 2: refuse[0].when: the mapping refuses the item
! mapping_failed: g.yaml:13: item 3: calls[0].properties.revenue: sum needs numbers, and what is null or other text is none
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSum(t *testing.T) {
	for _, c := range []struct{ items, want string }{
		{`[]`, "null"}, {`null`, "null"}, {`[0.1, 0.2]`, "0.3"}, {`["0.10", "-0.10"]`, "0"}, {`[[2, "1.5", -1]]`, "-3"}, {`[1e2, 0.000001]`, "100.000001"},
		{`["x"]`, ""}, {`[true]`, ""}, {`[{}]`, ""}, {`[[]]`, ""}, {`[[1,1,1,1,1]]`, ""}, {`[1e99]`, ""}, {`"1"`, ""}, {`7`, ""}, {`["NaN"]`, ""},
	} {
		v, p := JSON([]byte(c.items))
		if p != nil {
			t.Fatal(p)
		}
		got := sum(v, nil)
		if err, failed := got.(error); failed {
			if c.want != "" {
				t.Errorf("%s: %v, want %s", c.items, err, c.want)
			}
			continue
		}
		if text, _ := json.Marshal(got); string(text) != c.want {
			t.Errorf("%s: got %s, want %q", c.items, text, c.want)
		}
	}
}
