package ingest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Garbage never panics. What is accepted is a JSON object with a type, a messageId and an id, and a batch loses
// nothing: each event is in the log or in the dead letters.
func FuzzBatch(f *testing.F) {
	f.Add(mixedBatch)
	f.Add(`{"batch":[{"type":"track","userId":1,"event":"E","messageId":null}],"context":{"a":{}},"integrations":{"All":true}}`)
	f.Add(`{"batch":[{"type":"alias","userId":"u","previousId":"p","writeKey":"dev"},null,[]],"batch":[{}],"sentAt":5}`)
	f.Add(`{"\u0062atch":[{"t\u0079pe":"pag\u0065","anonymousId":"\ud800"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		b := newBench(t, nil)
		w := b.post("/v1/batch", body)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code == 400 {
			if len(b.log.records)+len(b.dead.letters) > 0 || decode(t, w).Error == nil {
				t.Fatalf("a refusal left something, or says nothing: %s", w.Body)
			}
			return
		}
		var sent struct{ Batch []json.RawMessage }
		last := map[string]json.RawMessage{} // exact names; encoding/json folds their case
		if err := json.Unmarshal([]byte(body), &last); err != nil {
			t.Fatalf("accepted what is not JSON: %v", err)
		}
		if err := json.Unmarshal(last["batch"], &sent.Batch); err != nil {
			t.Fatal(err)
		}
		if got := len(b.log.records) + len(b.dead.letters); got != len(sent.Batch) {
			t.Fatalf("%d events came in, %d went on", len(sent.Batch), got)
		}
		for _, r := range b.log.records {
			item := map[string]json.RawMessage{}
			if err := json.Unmarshal(r.Payload, &item); err != nil {
				t.Fatalf("record %q: %v", r.Payload, err)
			}
			var kind, id string
			if json.Unmarshal(item["type"], &kind) != nil || !isKind(kind) {
				t.Fatalf("record %q has no type", r.Payload)
			}
			if json.Unmarshal(item["messageId"], &id) != nil || id == "" {
				t.Fatalf("record %q has no messageId", r.Payload)
			}
			if r.Key == "" {
				t.Fatalf("record %q has no key", r.Payload)
			}
			if item["writeKey"] != nil {
				t.Fatalf("record %q still has the write key", r.Payload)
			}
		}
	})
}

// The splicing does what decoding, changing and encoding again would do.
func TestPayloadLaw(t *testing.T) {
	names := []string{"userId", "anonymousId", "messageId", "type", "event", "context", "integrations", "writeKey", "properties", "x", "batch"}
	scalar := rapid.SampledFrom([]string{`"a"`, `""`, `null`, `1`, `-2.50`, `true`, `"\u00e9\""`, `"track"`, `"page"`})
	object := rapid.Custom(func(t *rapid.T) string {
		var parts []string
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			parts = append(parts, fmt.Sprintf("%q : %s", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), scalar.Draw(t, "value")))
		}
		return "{" + strings.Join(parts, " ,") + "}"
	})
	space := rapid.SampledFrom([]string{"", " ", "\n\t"})
	rapid.Check(t, func(t *rapid.T) {
		var parts []string
		for range rapid.IntRange(0, 8).Draw(t, "members") {
			value := rapid.OneOf(scalar, object).Draw(t, "value")
			parts = append(parts, space.Draw(t, "s")+fmt.Sprintf("%q:%s", rapid.SampledFrom(names).Draw(t, "name"), value))
		}
		raw := "{" + strings.Join(parts, ",") + space.Draw(t, "s") + "}"
		context, integrations := object.Draw(t, "context"), object.Draw(t, "integrations")
		kind := rapid.SampledFrom([]string{"", "track", "page"}).Draw(t, "kind")

		var c call
		c.parse([]byte(raw))
		all := shared{context: newDefaults([]byte(context)), integrations: newDefaults([]byte(integrations))}
		got, _ := c.payload(nil, kind, &all, func() string { return "new" })

		want := decodeObject(t, raw)
		delete(want, "writeKey")
		if kind != "" {
			want["type"] = kind
		}
		for _, name := range []string{"userId", "anonymousId", "messageId"} {
			if n, ok := want[name].(json.Number); ok {
				want[name] = n.String()
			}
		}
		if id := want["messageId"]; id == nil || id == "" {
			want["messageId"] = "new"
		}
		for name, text := range map[string]string{"context": context, "integrations": integrations} {
			fill := decodeObject(t, text)
			own, isObject := want[name].(map[string]any)
			if want[name] == nil && len(fill) > 0 {
				own, isObject = map[string]any{}, true
			}
			if !isObject {
				continue
			}
			for k, v := range fill {
				if _, has := own[k]; !has {
					own[k] = v
				}
			}
			want[name] = own
		}
		if diff := cmp.Diff(want, decodeObject(t, string(got))); diff != "" {
			t.Fatalf("%s became %s (-want +got):\n%s", raw, got, diff)
		}
		if names := members(got, nil); len(names) < len(want) {
			t.Fatalf("%s became %s", raw, got)
		}
	})
}

func decodeObject(t *rapid.T, text string) map[string]any {
	out := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return out
}
