package trigger_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/trigger"
)

func track(id, name string, at time.Duration, properties string) event.Event {
	return event.Event{ID: id, Type: event.Track, Name: name, Profile: "p1", Occurred: start.Add(at), Accepted: start.Add(at), Properties: event.Object(properties)}
}

func consent(granted bool) event.Event {
	return event.Event{ID: "c", Type: event.Identify, Occurred: start, Accepted: start, Consent: map[string]bool{"email": granted}}
}

func TestDelivery(t *testing.T) {
	st := stage(t, `
- id: cart
  on: {event: Product Added}
  key: cart_id
  wait: 1h
  cap: {per: day, max: 3}
  send: {destination: mail, from: "Shop <hi@shop.example>", subject: "Your {{ event.properties.sku }}", template: cart, not_after: 2d}
- {id: hello, on: {segment_exited: vip}`+send+`
`)
	r := newRun(t, 0, st)
	r.event(consent(true))
	r.profile.Traits = map[string]profile.Trait{"plan": {Value: event.Object(`{"name":"pro"}`)}, "unset": {Value: event.Object(`null`)}}
	r.profile.Scores = profile.Scores{CLV: 123_400, Alive: 0.75}
	r.profile.Orders = profile.Orders{Count: 2, Revenue: 505_000, Refunds: 1, Refunded: 5_000}
	added := track("e1", "Product Added", 0, `{"cart_id":"c<1>","sku":"s1"}`)
	added.Trace = "trace-1" // goes through the wait
	r.event(added)
	r.event(track("e2", "Enter", time.Minute, `{"segment":"vip","for":"2h"}`))
	r.end(start.Add(3 * time.Hour))

	id := r.decisions[0].ID
	want := []pipeline.Delivery{{
		Decision: id, Profile: "p1", Campaign: "cart", Destination: "mail", Definitions: "hash", Template: "cart",
		From: "Shop <hi@shop.example>", Subject: "Your {{ event.properties.sku }}",
		Decided: start.Add(time.Hour), NotAfter: start.Add(49 * time.Hour), Trace: "trace-1",
	}, {
		Decision: r.decisions[1].ID, Profile: "p1", Campaign: "hello", Destination: "mail", Definitions: "hash", Template: "t",
		From: "hi@shop.example", Subject: "Hello", Decided: start.Add(2*time.Hour + time.Minute), NotAfter: start.Add(26*time.Hour + time.Minute),
	}}
	var data []string
	for i := range r.deliveries {
		data = append(data, string(r.deliveries[i].Data))
		r.deliveries[i].Data = nil
	}
	if diff := cmp.Diff(want, r.deliveries); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
	const customer = `"customer":{"clv":12.34,"alive":0.75,"orders":2,"revenue":50.50,"refunds":1,"refunded":0.50,"traits":{"plan":{"name":"pro"}},`
	for i, want := range []string{
		`{"event":{"name":"Product Added","properties":{"cart_id":"c<1>","sku":"s1"},"occurred":"2026-03-02T00:00:00.000Z"},` +
			customer + `"segments":["vip"]},"campaign":"cart","key":"c<1>"}`,
		`{"event":{"name":"segment_exited","properties":{"segment":"vip"},"occurred":"2026-03-02T02:01:00.000Z"},` +
			customer + `"segments":[]},"campaign":"hello","key":""}`,
	} {
		if !sameJSON(t, want, data[i]) {
			t.Errorf("data %d:\n got %s\nwant %s", i, data[i], want)
		}
	}
	if diff := cmp.Diff([]profile.Send{{Decision: id, Campaign: "cart", At: start.Add(time.Hour)}}, r.profile.Sends); diff != "" {
		t.Errorf("only campaigns with a cap count sends (-want +got):\n%s", diff)
	}
	d := r.decisions[0]
	if d.Version != 1 || d.CLV != 123_400 || d.Destination != "mail" || d.Template != "cart" || d.Key != "c<1>" || d.Profile != "p1" {
		t.Errorf("decision %+v", d)
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return cmp.Equal(x, y)
}

// Ids are kept in other systems: how they are made must not change.
func TestDecisionIDsAreStable(t *testing.T) {
	st := stage(t, `[{id: cart, on: {event: A}, key: k, wait: 1h`+send+`, {id: out, on: {segment_exited: vip}`+send+`]`)
	r := newRun(t, 0, st)
	r.event(consent(true))
	r.event(track("e1", "A", 0, `{"k":"x"}`))
	r.event(track("e2", "Enter", 0, `{"segment":"vip","for":"2h"}`))
	r.end(start.Add(3 * time.Hour))
	var got []string
	for _, d := range r.decisions {
		got = append(got, d.ID)
	}
	if diff := cmp.Diff([]string{"lmzqp6qagg7gpfudeh6fmfizri", "co6o2f3dg4srboypl3hht7bn6h"}, got); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestWaitsAreBounded(t *testing.T) {
	campaigns := `[{id: cart, on: {event: A}, key: k, wait: 2d` + send + `, {id: soon, on: {event: B}, key: k, wait: 1h` + send + `]`
	tests := []struct {
		name       string
		properties string
		kept       int
	}{
		{"by number", `{"k":%d}`, trigger.MaxWaits},
		{"by size", `{"k":%d,"x":"` + strings.Repeat("x", 20<<10) + `"}`, 6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, 0, stage(t, campaigns))
			r.event(consent(true))
			for i := range trigger.MaxWaits + 10 {
				name := "A"
				if i == trigger.MaxWaits+9 {
					name = "B" // due before all others, but not older
				}
				r.event(track(fmt.Sprint("e", i), name, time.Duration(i)*time.Millisecond, fmt.Sprintf(tt.properties, i)))
			}
			if len(r.profile.Waits) != tt.kept || len(r.decisions) != trigger.MaxWaits+10-tt.kept {
				t.Fatalf("%d waits and %d decisions, want %d waits", len(r.profile.Waits), len(r.decisions), tt.kept)
			}
			for i, d := range r.decisions {
				if d.Cause != fmt.Sprint("e", i) || d.Reason != trigger.ReasonTooManyWaits || d.Outcome != pipeline.Suppressed {
					t.Errorf("decision %d: %+v", i, d)
				}
			}
			r.end(start.Add(72 * time.Hour))
			if len(r.deliveries) != tt.kept || r.deliveries[0].Campaign != "soon" {
				t.Errorf("%d mails, want %d", len(r.deliveries), tt.kept)
			}
		})
	}
}

func TestLongKeysAreHashed(t *testing.T) {
	r := newRun(t, 0, stage(t, `[{id: cart, on: {event: A}, key: k, wait: 1h`+send+`]`))
	r.event(consent(true))
	long := strings.Repeat("k", 1000)
	r.event(track("e1", "A", 0, `{"k":"`+long+`1"}`))
	r.event(track("e2", "A", 0, `{"k":"`+long+`2"}`))
	r.event(track("e3", "A", time.Second, `{"k":"`+long+`1"}`))
	if n := len(r.profile.Waits); n != 2 {
		t.Fatalf("%d waits, want 2", n)
	}
	for _, w := range r.profile.Waits {
		if !strings.HasPrefix(w.Key, "sha256:") || len(w.Key) > 128 {
			t.Errorf("key %q", w.Key)
		}
	}
}

// The definitions in force at the due instant decide.
func TestNewDefinitionsDecideOldWaits(t *testing.T) {
	r := newRun(t, -1, stage(t, `[{id: a, on: {event: A}, wait: 1h`+send+`, {id: b, on: {event: A}, wait: 1h`+send+`]`))
	r.event(consent(true))
	r.event(track("e1", "A", 0, ""))
	r.chain.Stages[1] = stage(t, `[{id: b, on: {event: A}, audience: customer.orders > 0`+send+`]`)
	r.end(start.Add(2 * time.Hour))
	want := "1h0m0s a suppressed campaign_removed <- e1\n1h0m0s b suppressed audience (customer.orders > 0) <- e1\n"
	if diff := cmp.Diff(want, print(r.decisions)); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if d := r.decisions[0]; d.Destination != "" || d.Template != "" {
		t.Errorf("decision of a removed campaign: %+v", d)
	}
}

func TestUnreadableContentIsSuppressed(t *testing.T) {
	r := newRun(t, -1, stage(t, `[{id: a, on: {event: A}, wait: 1h`+send+`]`))
	r.event(consent(true))
	r.event(track("e1", "A", 0, ""))
	r.profile.Waits[0].Properties = event.Object(`{"broken`)
	r.end(start.Add(2 * time.Hour))
	if len(r.deliveries) != 0 || len(r.decisions) != 1 || r.decisions[0].Reason != trigger.ReasonUnreadable {
		t.Errorf("decisions:\n%s", print(r.decisions))
	}
}

// A profile keeps nothing of rules and sends that no campaign asks about any more.
func TestWhatNobodyAsksIsForgotten(t *testing.T) {
	const wait = `{id: w, on: {event: W}, wait: 26h` + send
	r := newRun(t, 0, stage(t, `[{id: a, on: {event: A}, audience: 'did("A", "30d")', cap: {per: day, max: 5}`+send+`,`+wait+`]`))
	r.event(consent(true))
	r.event(track("e1", "A", 0, ""))
	r.event(track("e2", "W", 0, ""))
	if len(r.profile.Windows) != 1 || len(r.profile.Sends) != 1 {
		t.Fatalf("windows %v, sends %v: want one each", r.profile.Windows, r.profile.Sends)
	}
	r.chain.Stages[1] = stage(t, `[{id: b, on: {event: B}, audience: 'did("B", "30d")'`+send+`,`+wait+`]`)
	r.end(start.Add(27 * time.Hour))
	if len(r.profile.Windows) != 0 || len(r.profile.Sends) != 0 {
		t.Errorf("windows %v, sends %v: want none", r.profile.Windows, r.profile.Sends)
	}
}

func TestAsks(t *testing.T) {
	st := stage(t, `[{id: b, on: {event: A}, audience: 'ever("X") || did("Y", "1d")'`+send+`, {id: a, on: {event: A}, audience: 'total("X") > 2'`+send+`]`)
	if diff := cmp.Diff([]string{"X"}, st.Asks()); diff != "" {
		t.Errorf("asks (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, st.Campaigns()); diff != "" {
		t.Errorf("campaigns (-want +got):\n%s", diff)
	}
}

// An event that no campaign listens to costs the same for one campaign and for a thousand.
func TestCostDoesNotGrowWithOtherCampaigns(t *testing.T) {
	allocs := func(n int) float64 {
		var campaigns []string
		for i := range n {
			campaigns = append(campaigns, fmt.Sprintf(`{id: c%d, on: {event: E%d}, wait: 1h, unless: {event: F%d}, audience: 'did("G%d", "1d")'%s`, i, i, i, i, send))
		}
		st := stage(t, "["+strings.Join(campaigns, ",")+"]")
		p := profile.New("p1")
		e := track("e", "Product Viewed", 0, `{}`)
		s := &pipeline.Step{Now: start, Event: &e, Profile: p}
		return testing.AllocsPerRun(100, func() { st.Apply(s) })
	}
	if one, many := allocs(1), allocs(300); one != 0 || many != 0 {
		t.Errorf("%v allocations with one campaign, %v with 300, want none", one, many)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 1000} {
		var campaigns []string
		for i := range n {
			campaigns = append(campaigns, fmt.Sprintf(`{id: c%d, on: {event: E%d}, wait: 1h, unless: {event: F%d}%s`, i, i, i, send))
		}
		st := stage(b, "["+strings.Join(campaigns, ",")+"]")
		b.Run(fmt.Sprint("campaigns=", n), func(b *testing.B) {
			e := track("e", "E0", 0, `{}`)
			s := &pipeline.Step{Now: start, Event: &e, Profile: profile.New("p1")}
			b.ReportAllocs()
			for b.Loop() {
				st.Apply(s)
			}
		})
	}
}

// While a segment that chooses the audience is too small, a campaign does as it says; one that leaves members out is no
// choice.
func TestSmallSegments(t *testing.T) {
	st := stage(t, `
- {id: asked, on: {event: Go}, audience: 'in_segment("vip") && trait("plan") == "pro"'`+send+`
- {id: entered, on: {segment_entered: vip}`+send+`
- {id: everyone, on: {event: Go}, below_min_size: everyone, audience: 'in_segment("vip") && trait("plan") == "pro"'`+send+`
- {id: everyone-else, on: {event: Go}, below_min_size: everyone, audience: 'in_segment("vip") && trait("plan") == "free"'`+send+`
- {id: left-out, on: {event: Go}, audience: '!in_segment("vip")'`+send+`
- {id: other, on: {event: Go}, audience: '!in_segment("lapsed")'`+send+`
`)
	decide := func(st *trigger.Stage) string {
		r := newRun(t, 0, st)
		r.event(consent(true))
		r.profile.Traits = map[string]profile.Trait{"plan": {Value: event.Object(`"pro"`)}}
		r.event(track("e1", "Go", 0, ""))
		r.event(track("e2", "Enter", time.Minute, `{"segment":"vip"}`))
		r.event(track("e3", "Go", 2*time.Minute, ""))
		return print(r.decisions)
	}
	const want = `0s asked suppressed segment_too_small (vip has fewer than 100 members) <- e1
0s everyone fired <- e1
0s everyone-else suppressed audience (in_segment("vip") && trait("plan") == "free") <- e1
0s left-out fired <- e1
0s other fired <- e1
1m0s entered suppressed segment_too_small (vip has fewer than 100 members) <- e2
2m0s asked suppressed segment_too_small (vip has fewer than 100 members) <- e3
2m0s everyone fired <- e3
2m0s everyone-else suppressed audience (in_segment("vip") && trait("plan") == "free") <- e3
2m0s left-out suppressed audience (!in_segment("vip")) <- e3
2m0s other fired <- e3
`
	const large = `0s asked suppressed audience (in_segment("vip") && trait("plan") == "pro") <- e1
0s everyone suppressed audience (in_segment("vip") && trait("plan") == "pro") <- e1
`
	if got := decide(st); !strings.HasPrefix(got, large) || strings.Contains(got, "small") {
		t.Errorf("without a guard:\n%s", got)
	}
	st.Guard(map[string]int{"vip": 100})
	if diff := cmp.Diff(want, decide(st)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
