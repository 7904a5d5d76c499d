package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func TestEveryFactHasItsRow(t *testing.T) {
	b := setup(t)
	order := pipeline.Enriched{
		Event: event.Event{
			ID: "e1", Type: event.Track, Name: event.OrderCompleted, Profile: "p1", User: "u1",
			Occurred: at("2026-03-04T05:06:07.891Z"), Accepted: at("2026-03-04T05:06:08.002Z"), Historical: true,
			Properties: event.Object(`{"order_id":"o-1","revenue":12.3456,"currency":"GBP","coupon":"ten","nested":{"n":1}}`),
			Context:    event.Object(`{"page":{"path":"/x"}}`), Consent: map[string]bool{"email": true, "sms": false},
		},
		Position: 77, CLV: 1234567, CLVConfidence: 0.625, Alive: 0.8125, Segments: []string{"a", "b"},
		Propensities: []profile.Propensity{{Name: "purchase", Value: 0.25, Confidence: 0.5}, {Name: "return", Confidence: 0.75}},
	}
	identify := pipeline.Enriched{Event: event.Event{
		ID: "e2", Type: event.Identify, Profile: "p1", Occurred: at("2026-03-04T05:06:09Z"), Accepted: at("2026-03-04T05:06:09Z"),
		Traits: event.Object(`{"plan":"gold","age":41}`),
	}, Position: 78}
	delivery := pipeline.Enriched{Event: event.Event{
		ID: "e3", Type: event.Delivery, Profile: "p1", Occurred: at("2026-03-04T05:07:00Z"), Accepted: at("2026-03-04T05:07:00.5Z"),
		Properties: event.Object(`{"decision":"d1","campaign":"cart","destination":"smtp","template":"cart.html","outcome":"bounced","reason":"mailbox_full","attempt":3}`),
	}, Position: 79, CLV: -50}
	p := &profile.Profile{
		ID: "p1", Now: at("2026-03-04T05:07:00.5Z"), Applied: 79, First: at("2026-03-04T05:06:07.891Z"), Last: at("2026-03-04T05:07:00Z"),
		Traits:   map[string]profile.Trait{"plan": {Value: event.Object(`"gold"`)}, "age": {Value: event.Object(`41`)}},
		Consents: map[string]profile.Consent{"email": {Granted: true}}, Activities: []profile.Activity{{Name: event.OrderCompleted, Count: 1}},
		Orders:       profile.Orders{Count: 1, Refunds: 2, Revenue: 123456, Refunded: 100, First: at("2026-03-04T05:06:07.891Z"), Last: at("2026-03-04T05:06:07.891Z")},
		Scores:       profile.Scores{CLV: 1234567, Confidence: 0.75, Alive: 0.8125},
		Propensities: profile.Propensities{At: at("2026-03-04T05:07:00.5Z"), Scores: []profile.Propensity{{Name: "purchase", Value: 0.125, Confidence: 0.5}}},
		Segments:     map[string]profile.Membership{"b": {In: true}, "a": {In: true}, "c": {}}, Definitions: 5,
		Standing: profile.Standing{Lifecycle: profile.AtRisk, Tier: "gold"}, Zone: profile.Zone{Name: "Europe/Rome", At: 1},
	}
	weight := profile.Decay(&event.Event{Occurred: p.Now, Accepted: p.Now})
	p.Lean(profile.Category, "boots", weight.Times(5))
	p.Lean(profile.Discount, profile.Discounted, weight)
	p.Lean(profile.Discount, profile.FullPrice, weight.Times(3))
	p.Lean(profile.Hour, "19", weight)
	older := profile.New("p1")
	older.Applied = 78
	b.write(t, pipeline.SinkBatch{Stream: "COMMITS", From: 9, To: 10, Parts: []pipeline.SinkPart{
		{Partition: 3, Sequence: 9, Facts: pipeline.Facts{Events: []pipeline.Enriched{order, identify}}, Profiles: []*profile.Profile{older}},
		{Partition: 3, Sequence: 10, Profiles: []*profile.Profile{p}, Facts: pipeline.Facts{
			Events: []pipeline.Enriched{delivery},
			Changes: []pipeline.SegmentChange{{
				Segment: "a", Profile: "p1", At: at("2026-03-04T05:06:08.002Z"), Entered: true, Reason: pipeline.BecauseTime, Position: 77, Version: 5,
			}},
			Decisions: []pipeline.Decision{{
				ID: "d1", At: at("2026-03-04T05:06:08.002Z"), Profile: "p1", Campaign: "cart", Key: "k", Outcome: pipeline.Suppressed, Reason: "no_consent",
				Detail: "never asked", Cause: "e1", Position: 77, Version: 5, CLV: 1234567, Destination: "smtp", Template: "cart.html",
			}},
			Merges: []pipeline.Merge{
				{Loser: "p2", Winner: "p3", At: at("2026-03-04T05:06:07Z"), Position: 70}, {Loser: "p2", Winner: "p1", At: at("2026-03-04T05:06:09Z"), Position: 78},
				{Loser: "p4", Winner: "p1", At: at("2026-03-04T05:06:10Z"), Refused: "too_many_merges", Position: 79},
			},
		}},
	}})
	for _, test := range []struct{ sql, want string }{
		{"SELECT * EXCEPT (properties, traits), properties.coupon, properties.order_id, properties.nested.n, traits.plan, traits.age FROM events ORDER BY event_id", strings.Join([]string{
			"e1\ttrack\tOrder Completed\tp1\tu1\t2026-03-04 05:06:07.891\t2026-03-04 05:06:08.002\ttrue\t\t\t{\"page\":{\"path\":\"/x\"}}\t{'email':true,'sms':false}\t12.3456\tGBP\t123.46\t0.625\t0.8125\t{'purchase':0.25,'return':0}\t{'purchase':0.5,'return':0.75}\t['a','b']\t3\t77\tten\to-1\t1\t\\N\t\\N",
			"e2\tidentify\t\tp1\t\t2026-03-04 05:06:09.000\t2026-03-04 05:06:09.000\tfalse\t\t\t\t{}\t0\t\t0\t0\t0\t{}\t{}\t[]\t3\t78\t\\N\t\t\\N\tgold\t41",
			"e3\tdelivery\t\tp1\t\t2026-03-04 05:07:00.000\t2026-03-04 05:07:00.500\tfalse\t\t\t\t{}\t0\t\t-0.01\t0\t0\t{}\t{}\t[]\t3\t79\t\\N\t\t\\N\t\\N\t\\N",
		}, "\n")},
		{"SELECT * EXCEPT (traits), traits.plan, traits.age FROM profiles FINAL",
			"p1\t2026-03-04 05:07:00.500\t2026-03-04 05:06:07.891\t2026-03-04 05:07:00.000\t\t{'email':true}\t{'Order Completed':1}\t1\t2\t12.3456\t0.01\t2026-03-04 05:06:07.891\t2026-03-04 05:06:07.891\tat_risk\tgold\tboots\t0.5\t0.25\t19\tEurope/Rome\t\t123.46\t0.75\t0.8125\t{'purchase':0.125}\t{'purchase':0.5}\t2026-03-04 05:07:00.500\t\\N\t['a','b']\t5\t3\t79\tgold\t41"},
		{"SELECT * FROM segment_changes", "a\tp1\t2026-03-04 05:06:08.002\ttrue\ttime\t5\t3\t77"},
		{"SELECT * FROM decisions", "d1\t2026-03-04 05:06:08.002\tp1\tcart\tk\tsuppressed\tno_consent\tnever asked\te1\tsmtp\tcart.html\t123.46\t5\t3\t77"},
		{"SELECT * FROM profile_merges", "p2\tp3\t2026-03-04 05:06:07.000\t\t3\t70\n" +
			"p2\tp1\t2026-03-04 05:06:09.000\t\t3\t78\np4\tp1\t2026-03-04 05:06:10.000\ttoo_many_merges\t3\t79"},
		{"SELECT * FROM merged_profiles", "p2\tp1\t2026-03-04 05:06:09.000"},
		{"SELECT * FROM messages", "e3\td1\t2026-03-04 05:07:00.500\tp1\tcart\tsmtp\tcart.html\tbounced\tmailbox_full\t3\t-0.01\t3\t79"},
	} {
		if diff := cmp.Diff(test.want, b.text(t, test.sql)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.sql, diff)
		}
	}
}

// counts are rows and different ids of each table.
const counts = `SELECT * FROM (
SELECT 'events' AS name, count(), uniqExact(event_id) FROM events UNION ALL
SELECT 'messages', count(), uniqExact(event_id) FROM messages UNION ALL
SELECT 'decisions', count(), uniqExact(decision_id) FROM decisions UNION ALL
SELECT 'segment_changes', count(), uniqExact(partition, sequence) FROM segment_changes UNION ALL
SELECT 'profiles', count(), uniqExact(profile_id) FROM profiles FINAL UNION ALL
SELECT 'rollup', sum(events), sum(events) FROM events_per_hour
) ORDER BY name`

func countsOf(batches ...pipeline.SinkBatch) string {
	var events, messages, decisions, changes int
	who := map[string]bool{}
	for _, b := range batches {
		for _, part := range b.Parts {
			events += len(part.Facts.Events)
			changes += len(part.Facts.Changes)
			decisions += len(part.Facts.Decisions)
			for _, e := range part.Facts.Events {
				if e.Event.Type == event.Delivery {
					messages++
				}
			}
			for _, p := range part.Profiles {
				who[p.ID] = true
			}
		}
	}
	return fmt.Sprintf("decisions\t%[1]d\t%[1]d\nevents\t%[2]d\t%[2]d\nmessages\t%[3]d\t%[3]d\nprofiles\t%[4]d\t%[4]d\nrollup\t%[2]d\t%[2]d\nsegment_changes\t%[5]d\t%[5]d",
		decisions, events, messages, len(who), changes)
}

func TestTheSameBatchCountsOnce(t *testing.T) {
	b := setup(t)
	first, second := numbered(1, 3000, 0, 1, 2), numbered(10, 3000, 0, 1)
	for range 3 {
		b.write(t, first)
	}
	b.write(t, second)
	b.write(t, first)
	if diff := cmp.Diff(countsOf(first, second), b.text(t, counts)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got := metric(t, b.Sink, "attune_clickhouse_rows_total", "events"); got != 4*3000+3000 {
		t.Errorf("attune_clickhouse_rows_total counts %v events", got)
	}
}

// A batch may be repeated after others came, and by another process: the token alone decides.
func TestARepeatAfterARestartCountsOnce(t *testing.T) {
	b := setup(t)
	var all []pipeline.SinkBatch
	for i := range 12 {
		all = append(all, numbered(uint64(i+1)*10, 400, i%3, i%3+1))
		b.write(t, all[i])
	}
	again := &bench{config: b.config, direct: b.direct, Sink: open(t, b.config)}
	for _, batch := range all {
		again.write(t, batch)
	}
	if diff := cmp.Diff(countsOf(all...), b.text(t, counts)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// The name decides, not the rows: the server must not take equal rows of two ranges for one.
func TestTheRangeIsTheName(t *testing.T) {
	b := setup(t)
	batch := numbered(1, 100, 0)
	b.write(t, batch)
	batch.From, batch.To, batch.Parts[0].Sequence = 2, 2, 2
	b.write(t, batch)
	if got := b.text(t, "SELECT count() FROM events"); got != "200" {
		t.Errorf("equal rows of two ranges: %s, want 200", got)
	}
	batch.Parts[0].Facts.Events = batch.Parts[0].Facts.Events[:10]
	b.write(t, batch)
	if got := b.text(t, "SELECT count() FROM events"); got != "200" {
		t.Errorf("other rows of a range that is stored: %s, want 200", got)
	}
}

func TestABrokenConnectionCountsOnce(t *testing.T) {
	b := setup(t)
	options, err := parseDSN(b.config.DSN)
	if err != nil {
		t.Fatal(err)
	}
	proxy := startProxy(t, options.Addr[0])
	c := b.config
	c.DSN, c.RetryPause = through(t, c.DSN, proxy.address()), 10*time.Millisecond
	weak := &bench{config: c, direct: b.direct, Sink: open(t, c)}
	var all []pipeline.SinkBatch
	for i, cut := range []int64{1, 500, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000} {
		batch := numbered(uint64(i+1)*10, 2000, 0, 1)
		all = append(all, batch)
		proxy.cutAfter(cut) // three connections in a row break after so many bytes of ours
		weak.write(t, batch)
	}
	if proxy.cuts() < 12 {
		t.Errorf("only %d connections were cut: the test tests nothing", proxy.cuts())
	}
	if diff := cmp.Diff(countsOf(all...), b.text(t, counts)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// The worst moment: the rows are stored and the reply is lost.
func TestALostReplyCountsOnce(t *testing.T) {
	b := setup(t)
	options, err := parseDSN(b.config.DSN)
	if err != nil {
		t.Fatal(err)
	}
	proxy := startProxy(t, options.Addr[0])
	c := b.config
	c.DSN, c.RetryPause, c.Connections = through(t, c.DSN, proxy.address()), 10*time.Millisecond, 1
	weak := &bench{config: c, direct: b.direct, Sink: open(t, c)}
	batch := numbered(1, 2000, 0, 1)
	weak.conn.Close() // the next attempt connects anew, through a proxy that is deaf
	weak.Sink = open(t, c)
	done := make(chan error, 1)
	proxy.deafAfter(20_000)
	go func() { done <- weak.Write(t.Context(), batch) }()
	for b.text(t, "SELECT count() FROM events") == "0" { // until the server has stored them
		select {
		case err := <-done:
			t.Fatalf("write ended without the reply: %v", err)
		default:
		}
	}
	proxy.cutAll()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := metric(t, weak.Sink, "attune_clickhouse_retries_total", ""); got == 0 {
		t.Error("nothing was tried again: the test tests nothing")
	}
	if diff := cmp.Diff(countsOf(batch), b.text(t, counts)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	b := setup(t)
	options, err := parseDSN(b.config.DSN)
	if err != nil {
		t.Fatal(err)
	}
	proxy := startProxy(t, options.Addr[0])
	c := b.config
	c.DSN, c.RetryPause = through(t, c.DSN, proxy.address()), 10*time.Millisecond
	weak := open(t, c)
	proxy.refuse()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = weak.Write(ctx, numbered(1, 10, 0))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
	if metric(t, weak, "attune_clickhouse_retries_total", "") < 2 {
		t.Error("it did not try again")
	}
}

func TestAPermanentErrorNamesTableAndRemedy(t *testing.T) {
	b := setup(t)
	b.exec(t, "ALTER TABLE "+b.database+".decisions DROP COLUMN key")
	err := b.Write(t.Context(), numbered(1, 10, 0))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"decisions", "undo that", "code 16", "COMMITS/decisions/1-1/v1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	b.exec(t, "DROP TABLE "+b.database+".events")
	if err := b.Write(t.Context(), numbered(2, 10, 0)); err == nil || !strings.Contains(err.Error(), "events") || !strings.Contains(err.Error(), "dropped") {
		t.Errorf("got %v", err)
	}
}

func TestABatchMustBeNamed(t *testing.T) {
	b := setup(t)
	for _, batch := range []pipeline.SinkBatch{
		{From: 1, To: 2},
		{Stream: "s", From: 2, To: 1},
		{Stream: "s", From: 1, To: 1, Parts: []pipeline.SinkPart{{Sequence: 1, Partition: 65536}}},
		{Stream: "s", From: 1, To: 1, Parts: []pipeline.SinkPart{{Sequence: 2}}},
		{Stream: "s", From: 1, To: 1, Parts: []pipeline.SinkPart{{Sequence: 1, Profiles: []*profile.Profile{nil}}}},
	} {
		if err := b.Write(t.Context(), batch); err == nil {
			t.Errorf("%+v: no error", batch)
		}
	}
	if err := b.Write(t.Context(), pipeline.SinkBatch{Stream: "s", From: 1, To: 1}); err != nil {
		t.Errorf("a batch without facts: %v", err)
	}
}

func TestMetricsAndClose(t *testing.T) {
	b := setup(t)
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(b.Sink); err != nil {
		t.Fatal(err)
	}
	b.write(t, numbered(1, 100, 0))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	want := []string{"attune_clickhouse_insert_duration_seconds", "attune_clickhouse_retries_total", "attune_clickhouse_rows_total"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := b.Write(t.Context(), numbered(2, 10, 0)); err == nil {
		t.Error("a closed sink took a batch")
	}
}

// metric is a counter's value; label is its only label's, empty for none.
func metric(t *testing.T, s *Sink, name, label string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(s); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
