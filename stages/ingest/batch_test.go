package ingest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const mixedBatch = `{"sentAt":"2026-11-23T11:59:59Z","context":{"ip":"1.2.3.4","locale":"de"},"batch":[
	{"type":"track","userId":"u1","event":"E","messageId":"m1"},
	{"type":"track","userId":"u2","messageId":"m2","writeKey":"dev"},
	{"type":"identify","anonymousId":"a3","messageId":"m3","context":{"locale":"fr"}},
	{"type":"alias","userId":"u4","messageId":"m4"},
	"five",
	{"type":"trak","userId":"u6","messageId":"m6"},
	{"type":"page","messageId":"m7"}
]}`

func TestMixedBatch(t *testing.T) {
	b := newBench(t, nil)
	w := b.post("/v1/batch", mixedBatch)
	if w.Code != 200 || w.Body.String() != `{"success":true}` || w.Header().Get("Attune-Parked") != "5" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if diff := cmp.Diff([]string{
		`{"type":"track","userId":"u1","event":"E","messageId":"m1","context":{"ip":"1.2.3.4","locale":"de"}}`,
		`{"type":"identify","anonymousId":"a3","messageId":"m3","context":{"locale":"fr","ip":"1.2.3.4"}}`,
	}, b.payloads()); diff != "" {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
	for _, r := range b.log.records {
		if !r.SentAt.Equal(time.Date(2026, 11, 23, 11, 59, 59, 0, time.UTC)) || !r.Accepted.Equal(noon) || r.Historical {
			t.Errorf("record %+v", r)
		}
	}
	if diff := cmp.Diff([]deadLetter{
		{"event_not_defined", `{"type":"track","userId":"u2","messageId":"m2","context":{"ip":"1.2.3.4","locale":"de"}}`,
			`batch[1].event: a track call needs event, the event's name, such as "Order Completed"`},
		{"previous_id_not_defined", `{"type":"alias","userId":"u4","messageId":"m4","context":{"ip":"1.2.3.4","locale":"de"}}`,
			`batch[3].previousId: an alias call needs previousId, the id that the person had before`},
		{"not_object", `"five"`, `batch[4]: the event is not a JSON object`},
		{"type_not_known", `{"type":"trak","userId":"u6","messageId":"m6","context":{"ip":"1.2.3.4","locale":"de"}}`,
			`batch[5].type: type is missing or unknown; it is one of track, identify, page, screen, group, alias`},
		{"no_user_anon_id", `{"type":"page","messageId":"m7","context":{"ip":"1.2.3.4","locale":"de"}}`,
			`batch[6].userId: neither userId nor anonymousId is given; send one of them, or both`},
	}, b.dead.letters); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

func TestStrictBatch(t *testing.T) {
	b := newBench(t, nil)
	w := b.post("/v1/batch?strict=1", mixedBatch)
	a := decode(t, w)
	if w.Code != 400 || a.Success || a.Error.Code != "invalid_events" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var got []string
	for _, e := range a.Errors {
		got = append(got, strings.Join([]string{e.Code, e.Field}, " "))
		if e.Message == "" || !strings.HasPrefix(e.Field, "batch["+string(rune('0'+e.Index))+"]") {
			t.Errorf("entry %+v", e)
		}
	}
	if diff := cmp.Diff([]string{
		"event_not_defined batch[1].event", "previous_id_not_defined batch[3].previousId", "not_object batch[4]",
		"type_not_known batch[5].type", "no_user_anon_id batch[6].userId",
	}, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if len(b.log.records)+len(b.dead.letters) != 0 {
		t.Errorf("a refused batch left %v %v", b.log.records, b.dead.letters)
	}
	if w := b.post("/v1/batch?strict=true", `{"batch":[{"type":"page","userId":"u"}]}`); w.Code != 200 || len(b.log.records) != 1 {
		t.Errorf("a right batch: %d %s", w.Code, w.Body)
	}
	if w := b.post("/v1/batch?strict=0", mixedBatch); w.Code != 200 {
		t.Errorf("strict=0: %d", w.Code)
	}
}

func TestBatchMerging(t *testing.T) {
	for _, c := range []struct{ name, shared, item, want string }{
		{"no context in the event", `"context":{"a":1}`, ``, `"context":{"a":1}`},
		{"null context in the event", `"context":{"a":1}`, `"context":null`, `"context":{"a":1}`},
		{"empty context in the event", `"context":{"a":1}`, `"context":{ }`, `"context":{"a":1}`},
		{"the event's value wins", `"context":{"a":1,"b":2}`, `"context":{"a":9}`, `"context":{"a":9,"b":2}`},
		{"shallow", `"context":{"a":{"x":1,"y":2}}`, `"context":{"a":{"x":9}}`, `"context":{"a":{"x":9}}`},
		{"null in the event is a value", `"context":{"a":1}`, `"context":{"a":null}`, `"context":{"a":null}`},
		{"nothing is missing", `"context":{"a":1}`, `"context": {"b":2, "a":9}`, `"context": {"b":2, "a":9}`},
		{"names are compared decoded", `"context":{"\u0061":1}`, `"context": {"a":9}`, `"context": {"a":9}`},
		{"a name twice in the batch", `"context":{"a":1,"a":2}`, ``, `"context":{"a":2}`},
		{"a name twice in the event", `"context":{"a":1,"b":2}`, `"context":{"a":3,"a":4}`, `"context":{"a":3,"a":4,"b":2}`},
		{"empty in the batch", `"context":{}`, ``, ``},
		{"null in the batch", `"context":null`, ``, ``},
		{"integrations", `"integrations":{"All":true}`, `"integrations":{"Mixpanel":false}`, `"integrations":{"Mixpanel":false,"All":true}`},
		{"integrations that are no object stay", `"integrations":{"All":true}`, `"integrations":"none"`, `"integrations":"none"`},
		{"both", `"integrations":{"All":true},"context":{"a":1}`, `"integrations":{}`, `"integrations":{"All":true},"context":{"a":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			event := func(more string) string {
				if more != "" {
					more = "," + more
				}
				return `{"type":"page","userId":"u","messageId":"m"` + more + `}`
			}
			b := newBench(t, nil)
			w := b.post("/v1/batch", `{`+c.shared+`,"batch":[`+event(c.item)+`,`+event(c.item)+`]}`)
			if w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if diff := cmp.Diff([]string{event(c.want), event(c.want)}, b.payloads()); diff != "" {
				t.Errorf("payloads (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBatchOddities(t *testing.T) {
	b := newBench(t, nil)
	large := `{"type":"page","userId":"u","x":"` + strings.Repeat("x", 32<<10) + `"}`
	w := b.post("/v1/import/", `{"batch":[`+large+`,{"type":"page","userId":7,"sentAt":"2026-11-23T11:00:00Z"}]}`)
	if w.Code != 200 || w.Header().Get("Attune-Parked") != "1" || len(b.dead.letters) != 1 || b.dead.letters[0].Reason != "event_too_large" {
		t.Errorf("%d %s, parked %d", w.Code, w.Body, len(b.dead.letters))
	}
	if len(b.log.records) != 1 {
		t.Fatalf("%d records", len(b.log.records))
	}
	r := b.log.records[0]
	if r.Key != "7" || string(r.Payload) != `{"type":"page","userId":"7","sentAt":"2026-11-23T11:00:00Z","messageId":"id-2"}` ||
		!r.SentAt.Equal(time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("record %s %+v", r.Payload, r)
	}

	// All of it wrong: nothing to append, still a 200.
	b = newBench(t, nil)
	if w := b.post("/v1/batch", `{"batch":[1,{}]}`); w.Code != 200 || len(b.dead.letters) != 2 || len(b.log.records) != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	// What can't be parked is not acknowledged, and nothing is appended that a retry would double.
	b = newBench(t, nil)
	b.dead.fail = errors.New("down")
	if w := b.post("/v1/batch", `{"batch":[{"type":"page","userId":"u"},{}]}`); w.Code != 503 || len(b.log.records) != 0 {
		t.Errorf("%d %s, %d records", w.Code, w.Body, len(b.log.records))
	}
	b.dead.fail = ErrBusy
	if w := b.post("/v1/batch", `{"batch":[{}]}`); w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What is wrong in a batch is parked together, and in a retry known by its ids, also where ingest made its messageId.
func TestRetriedLettersKeepTheirIDs(t *testing.T) {
	b := newBench(t, nil)
	const batch = `{"context":{"ip":"1.2.3.4"},"batch":[{"type":"page","messageId":"m"},{"type":"page","userId":"u"},{"type":"track","userId":"u"},7]}`
	b.log.fail = func(context.Context) error { return ErrBusy }
	if w := b.post("/v1/batch", batch); w.Code != 503 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	b.log.fail = nil
	if w := b.post("/v1/batch", batch); w.Code != 200 || w.Header().Get("Attune-Parked") != "3" || len(b.log.records) != 1 {
		t.Fatalf("%d %s, %d records", w.Code, w.Body, len(b.log.records))
	}
	var ids [][]string
	for _, letters := range b.dead.parked {
		var together []string
		for _, l := range letters {
			together = append(together, l.ID)
		}
		ids = append(ids, together)
	}
	if len(ids) != 2 || len(ids[0]) != 3 {
		t.Fatalf("letters were parked as %v, want three together in each attempt", ids)
	}
	if diff := cmp.Diff(ids[0], ids[1]); diff != "" {
		t.Errorf("ids (-first +again): %s", diff)
	}
	different := slices.Compact(slices.Sorted(slices.Values(ids[0])))
	if len(different) != 3 || slices.Contains(different, "") {
		t.Errorf("ids %q: want one for each", ids[0])
	}
}

// A letter keeps what is known of the sender's clock: a later attempt must correct it alike.
func TestLettersKeepTheirMoments(t *testing.T) {
	sent, own := noon.Add(-time.Minute), noon.Add(-2*time.Minute)
	for name, c := range map[string]struct {
		batch string
		want  []time.Time
	}{
		"the batch's": {`{"sentAt":"2026-11-23T11:59:00Z","batch":[{"sentAt":"2026-11-23T11:58:00Z"},7]}`, []time.Time{sent, sent}},
		"the event's": {`{"batch":[{"sentAt":"2026-11-23T11:58:00Z"},7,{}]}`, []time.Time{own, {}, {}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			if w := b.post("/v1/batch", c.batch); w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			for i, l := range b.dead.parked[0] {
				if !l.SentAt.Time().Equal(c.want[i]) || !l.Accepted.Time().Equal(noon) {
					t.Errorf("letter %d was sent at %s, want %s, and accepted at %s", i, l.SentAt, c.want[i], l.Accepted)
				}
			}
		})
	}
}
