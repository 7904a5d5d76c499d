package clickhouse

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
)

// history is a small story: p1 walks the whole funnel and orders again three weeks later, p2 stops at the cart,
// p3 starts at the checkout.
func history() pipeline.SinkBatch {
	part := pipeline.SinkPart{Sequence: 1}
	position := uint64(0)
	add := func(who string, kind event.Type, name, when, properties string) {
		position++
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: position, Event: event.Event{
			ID: fmt.Sprintf("e%d", position), Type: kind, Name: name, Profile: who, Occurred: at(when), Accepted: at(when), Properties: event.Object(properties),
		}})
	}
	add("p1", event.Track, "Product Viewed", "2026-03-02T10:00:00Z", `{}`)
	add("p1", event.Track, "Product Added", "2026-03-02T10:01:00Z", `{}`)
	add("p1", event.Delivery, "", "2026-03-02T10:01:30Z", `{"decision":"d1","campaign":"cart","outcome":"accepted","attempt":1}`)
	add("p1", event.Track, "Checkout Started", "2026-03-02T10:02:00Z", `{}`)
	add("p1", event.Track, "Order Completed", "2026-03-02T10:03:00Z", `{"order_id":"o1","revenue":10.5,"currency":"GBP"}`)
	add("p1", event.Track, "Order Completed", "2026-03-23T00:00:00Z", `{"order_id":"o2","total":"7.25","currency":"GBP"}`)
	add("p2", event.Track, "Product Viewed", "2026-03-02T10:00:00Z", `{}`)
	add("p2", event.Track, "Product Added", "2026-03-09T09:59:00Z", `{}`)
	add("p2", event.Delivery, "", "2026-03-09T11:00:00Z", `{"decision":"d2","campaign":"cart","outcome":"bounced","reason":"no_such_user"}`)
	add("p3", event.Track, "Checkout Started", "2026-03-02T10:00:00Z", `{}`)
	add("p3", event.Track, "Order Completed", "2026-03-08T23:59:59.999Z", `{"revenue":1}`)
	for i, outcome := range []pipeline.Outcome{pipeline.Fired, pipeline.Fired, pipeline.Fired, pipeline.Held, pipeline.Suppressed, pipeline.Suppressed} {
		part.Facts.Decisions = append(part.Facts.Decisions, pipeline.Decision{
			ID: fmt.Sprintf("d%d", i+1), At: at("2026-03-02T10:01:10Z") + event.Instant(i*1000), Profile: fmt.Sprintf("p%d", i%2+1), Campaign: "cart", Outcome: outcome,
		})
	}
	now := event.At(time.Now())
	for i, entered := range []bool{true, true, false, true} {
		part.Facts.Changes = append(part.Facts.Changes, pipeline.SegmentChange{
			Segment: "fans", Profile: fmt.Sprintf("p%d", i%3), At: now - event.Instant(48-20*i)*3_600_000, Entered: entered,
		})
	}
	return pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}}
}

func TestViews(t *testing.T) {
	b := setup(t)
	b.write(t, history())
	for _, test := range []struct{ sql, want string }{
		{"SELECT * FROM campaign_performance", "cart\t6\t3\t1\t2\t2\t1\t0\t1\t0\t0.5\t2026-03-02 10:01:12.000"},
		{"SELECT * EXCEPT last_change FROM segment_health", "fans\t2\ttrue\t1\t1"},
		{"SELECT step, event, customers, round(of_first, 3) FROM funnel", "1\tProduct Viewed\t2\t1\n2\tProduct Added\t2\t1\n3\tCheckout Started\t1\t0.5\n4\tOrder Completed\t1\t0.5"},
		{"SELECT * FROM cohort_retention ORDER BY cohort, week", "2026-03-02\t0\t2\n2026-03-02\t3\t1"},
		{"SELECT * FROM events_per_hour WHERE revenue != 0 ORDER BY hour, event", "2026-03-02 10:00:00\tOrder Completed\ttrack\tGBP\t1\t10.5\n2026-03-08 23:00:00\tOrder Completed\ttrack\t\t1\t1\n2026-03-23 00:00:00\tOrder Completed\ttrack\tGBP\t1\t7.25"},
		{"SELECT * FROM attribution ORDER BY occurred", "e5\t2026-03-02 10:03:00.000\tp1\to1\t10.5\tGBP\tcart\td1\t2026-03-02 10:01:30.000"},
	} {
		if diff := cmp.Diff(test.want, b.text(t, test.sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.sql, diff)
		}
	}
}

// A visitor p2 looks, gets mails and orders as a guest, turns out to be the known p1, and orders again; p3, which had become
// a part of p2 before, fired too; p4 was refused. Their views are one customer's. Pages are no orders, whatever they are
// called.
func TestViewsFollowMerges(t *testing.T) {
	b := setup(t)
	part := pipeline.SinkPart{Sequence: 1}
	add := func(who string, kind event.Type, name, when, properties string) {
		position := uint64(len(part.Facts.Events) + 1)
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: position, Event: event.Event{
			ID: fmt.Sprintf("e%d", position), Type: kind, Name: name, Profile: who, Occurred: at(when), Accepted: at(when), Properties: event.Object(properties),
		}})
	}
	add("p2", event.Track, "Order Completed", "2026-03-02T09:00:00Z", `{"revenue":5}`)
	add("p2", event.Track, "Product Viewed", "2026-03-16T10:00:00Z", `{}`)
	add("p3", event.Track, "Product Added", "2026-03-16T10:01:00Z", `{}`)
	add("p3", event.Delivery, "", "2026-03-16T10:02:00Z", `{"decision":"d1","campaign":"cart","outcome":"accepted"}`)
	add("p2", event.Track, "Checkout Started", "2026-03-16T10:03:00Z", `{}`)
	add("p1", event.Track, "Order Completed", "2026-03-16T10:04:00Z", `{"order_id":"o1","revenue":10}`)
	add("p4", event.Track, "Product Viewed", "2026-03-16T10:00:00Z", `{}`)
	add("p4", event.Page, "Order Completed", "2026-03-16T10:05:00Z", `{"revenue":7}`)
	add("p4", event.Page, "Product Viewed", "2026-03-16T10:05:00Z", `{}`)
	add("p4", event.Delivery, "", "2026-03-16T10:02:00Z", `{"decision":"d4","campaign":"cart","outcome":"accepted"}`)
	for i, who := range []string{"p1", "p2", "p3", "p4"} {
		part.Facts.Decisions = append(part.Facts.Decisions, pipeline.Decision{
			ID: fmt.Sprintf("d%d", i), At: at("2026-03-16T10:01:30Z"), Profile: who, Campaign: "cart", Outcome: pipeline.Fired,
		})
	}
	part.Facts.Merges = []pipeline.Merge{
		{Loser: "p3", Winner: "p2", At: at("2026-03-16T10:02:30Z"), Position: 1}, {Loser: "p2", Winner: "p1", At: at("2026-03-16T10:03:30Z"), Position: 2},
		{Loser: "p3", Winner: "p1", At: at("2026-03-16T10:03:30Z"), Position: 2}, {Loser: "p4", Winner: "p1", At: at("2026-03-16T10:03:30Z"), Refused: "too_many_merges", Position: 3},
	}
	b.write(t, pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}})
	for _, test := range []struct{ sql, want string }{
		{"SELECT customers, fired, accepted FROM campaign_performance", "2\t4\t2"},
		{"SELECT step, customers FROM funnel", "1\t2\n2\t1\n3\t1\n4\t1"},
		{"SELECT * FROM cohort_retention ORDER BY cohort, week", "2026-03-02\t0\t1\n2026-03-02\t2\t1"},
		{"SELECT * FROM attribution", "e6\t2026-03-16 10:04:00.000\tp1\to1\t10\t\tcart\td1\t2026-03-16 10:02:00.000"},
	} {
		for _, settings := range []string{"", " SETTINGS join_use_nulls = 1"} { // as dbt and others ask
			if diff := cmp.Diff(test.want, b.text(t, test.sql+settings)); diff != "" {
				t.Errorf("%s%s (-want +got):\n%s", test.sql, settings, diff)
			}
		}
	}
}

func TestViewsOfAnEmptyDatabase(t *testing.T) {
	b := setup(t)
	for view, want := range map[string]string{
		"campaign_performance": "", "segment_health": "", "cohort_retention": "", "attribution": "", "events_per_hour": "",
		"funnel": "1\tProduct Viewed\t0\t\\N\n2\tProduct Added\t0\t\\N\n3\tCheckout Started\t0\t\\N\n4\tOrder Completed\t0\t\\N",
	} {
		if got := b.text(t, "SELECT * FROM "+view); got != want {
			t.Errorf("%s: got %q, want %q", view, got, want)
		}
	}
}

// Sums are exact to the ten-thousandth, where floats would not be.
func TestMoneyIsExact(t *testing.T) {
	b := setup(t)
	r := rand.New(rand.NewPCG(1, 2))
	part := pipeline.SinkPart{Sequence: 1}
	var want event.Money
	for i := range 20_000 {
		m := event.Money(r.Int64N(1e12)) - 1e11
		want += m
		name := []string{"revenue", "total"}[i%2]
		quote := []string{"", `"`}[i%3%2]
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: uint64(i), Event: event.Event{
			ID: fmt.Sprint(i), Type: event.Track, Name: event.OrderCompleted, Accepted: 1_800_000_000_000, Occurred: 1_800_000_000_000,
			Properties: event.Object(fmt.Sprintf(`{"%s":%s%s%s,"currency":"GBP"}`, name, quote, m, quote)),
		}})
	}
	b.write(t, pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}})
	got, err := event.ParseMoney(b.text(t, "SELECT sum(revenue) FROM events"))
	if err != nil || got != want {
		t.Errorf("sum is %s (%v), want %s", got, err, want)
	}
	if rolled, err := event.ParseMoney(b.text(t, "SELECT revenue FROM events_per_hour WHERE currency = 'GBP'")); err != nil || rolled != want {
		t.Errorf("the roll-up's sum is %s (%v), want %s", rolled, err, want)
	}
}

// An order that only its products price is worth the same everywhere; lists and carts show products too.
func TestRevenueOfProducts(t *testing.T) {
	b := setup(t)
	const when = event.Instant(1_800_000_000_000)
	products := event.Object(`{"products":[{"price":40,"quantity":2},{"price":"0.5"}],"currency":"EUR"}`)
	part := pipeline.SinkPart{Sequence: 1}
	for i, e := range []event.Event{
		{Type: event.Delivery, Properties: event.Object(`{"decision":"d1","campaign":"cart","outcome":"accepted"}`)},
		{Type: event.Track, Name: event.OrderCompleted, Properties: products},
		{Type: event.Track, Name: event.OrderRefunded, Properties: products},
		{Type: event.Track, Name: "Cart Viewed", Properties: products},
		{Type: event.Page, Name: event.OrderCompleted, Properties: products},
	} {
		e.ID, e.Profile, e.Occurred, e.Accepted = fmt.Sprint("e", i), "p1", when, when
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: uint64(i), Event: e})
	}
	b.write(t, pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}})
	for _, test := range []struct{ sql, want string }{
		{"SELECT type, event, revenue FROM events WHERE revenue != 0 ORDER BY sequence", "track\tOrder Completed\t80.5\ntrack\tOrder Refunded\t80.5"},
		{"SELECT type, event, revenue FROM events_per_hour WHERE revenue != 0 ORDER BY event", "track\tOrder Completed\t80.5\ntrack\tOrder Refunded\t80.5"},
		{"SELECT event_id, revenue, campaign FROM attribution WHERE revenue != 0", "e1\t80.5\tcart"},
	} {
		if diff := cmp.Diff(test.want, b.text(t, test.sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.sql, diff)
		}
	}
}

func TestCents(t *testing.T) {
	for m, want := range map[event.Money]string{0: "0", 49: "0", 50: "0.01", -49: "0", -50: "-0.01", 12_345: "1.23", 12_350: "1.24", -12_350: "-1.24"} {
		if got := cents(m).String(); got != want {
			t.Errorf("%d: got %s, want %s", int64(m), got, want)
		}
	}
}

// Should the server refuse a batch as it is, it takes it with the JSON as text.
func TestARefusedBatchIsKeptAsText(t *testing.T) {
	b := setup(t)
	b.exec(t, "ALTER TABLE "+b.database+".events MODIFY COLUMN properties DEFAULT CAST(if(empty(properties_text), '{}', properties_text), 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)')")
	objects := []string{`{"a":1}`, `{"n":18446744073709551616}`, `{"a":null}`, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)}
	for range 2 {
		b.write(t, batchOf(1, objects...))
	}
	if diff := cmp.Diff(strings.Join(objects, "\n"), b.text(t, "SELECT properties_raw FROM events ORDER BY sequence")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
