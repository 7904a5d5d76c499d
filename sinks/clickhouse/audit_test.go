package clickhouse

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
)

// Figures are of events that came in by themselves, by days of 24 hours that end now.
func TestAuditQueries(t *testing.T) {
	b := setup(t)
	now := time.Date(2026, 5, 1, 15, 0, 0, 0, time.UTC)
	part := pipeline.SinkPart{Sequence: 1}
	add := func(kind event.Type, name string, ago time.Duration, properties string, historical bool) {
		n := uint64(len(part.Facts.Events) + 1)
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: n, Event: event.Event{
			ID: fmt.Sprint(n), Type: kind, Name: name, Profile: "p", User: "u", Occurred: event.At(now.Add(-ago)), Accepted: event.At(now.Add(-ago)), Properties: event.Object(properties), Historical: historical,
		}})
	}
	const hour = time.Hour
	add(event.Track, "Product Viewed", 0, `{"product_id":"a"}`, false)
	add(event.Track, "Product Viewed", 23*hour, `{}`, false)
	add(event.Track, "Product Viewed", 25*hour, `{"product_id":"a"}`, false)
	add(event.Track, "Product Viewed", 49*hour, `{"product_id":"a"}`, false)
	add(event.Track, "Product Viewed", 49*hour, `{"product_id":"a"}`, true)
	add(event.Track, "Product Viewed", 90*24*hour, `{"product_id":"a"}`, false)
	add(event.Track, "Product Viewed", -hour, `{"product_id":"a"}`, false) // after now
	add(event.Identify, "", 2*hour, `{}`, false)
	add(event.Delivery, "", hour, `{}`, false)
	decide := func(campaign string, outcome pipeline.Outcome, reason string, ago time.Duration) {
		part.Facts.Decisions = append(part.Facts.Decisions, pipeline.Decision{
			ID: fmt.Sprint(len(part.Facts.Decisions)), At: event.At(now.Add(-ago)), Profile: "p", Campaign: campaign, Outcome: outcome, Reason: reason,
		})
	}
	decide("cart", pipeline.Fired, "", hour)
	decide("cart", pipeline.Fired, "", 100*hour)
	decide("cart", pipeline.Held, "cap", hour)
	decide("thanks", pipeline.Suppressed, "no_consent", hour)
	b.write(t, pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}})

	dsn := queryDSN(t, b.config)
	extent, err := EventExtent(t.Context(), dsn, now)
	if want := (Extent{Events: 6, First: now.Add(-90 * 24 * hour).UnixMilli(), Last: now.UnixMilli()}); err != nil || extent != want {
		t.Errorf("extent: got %+v, want %+v: %v", extent, want, err)
	}
	volumes, err := Volumes(t.Context(), dsn, now, 4, 10)
	if diff := cmp.Diff([]Volume{{"Product Viewed", []float64{2, 1, 1, 0}}, {"identify", []float64{1, 0, 0, 0}}}, volumes); err != nil || diff != "" {
		t.Errorf("volumes: %v\n%s", err, diff)
	}
	missing, err := MissingFields(t.Context(), dsn, now, 10)
	if diff := cmp.Diff([]Missing{{"Product Viewed", "product_id", 1, 2, 0, 2}, {"Product Viewed", "user_id", 0, 2, 0, 2}}, missing); err != nil || diff != "" {
		t.Errorf("missing: %v\n%s", err, diff)
	}
	firings, err := Firings(t.Context(), dsn, now.Add(-48*hour))
	if diff := cmp.Diff([]Firing{
		{Campaign: "cart", First: now.Add(-100 * hour).UnixMilli(), Fired: 1, Others: 1, Reason: "cap"},
		{Campaign: "thanks", First: now.Add(-hour).UnixMilli(), Others: 1, Reason: "no_consent"},
	}, firings); err != nil || diff != "" {
		t.Errorf("firings: %v\n%s", err, diff)
	}
	if none, err := EventExtent(t.Context(), dsn, now.Add(-100*24*hour)); err != nil || none.Events != 0 {
		t.Errorf("before the first event: %+v, %v", none, err)
	}
}

// Readings are stored once; the view has the latest of each, and since when it is an alarm.
func TestReadings(t *testing.T) {
	b := setup(t)
	dsn := queryDSN(t, b.config)
	if last, err := LastAudit(t.Context(), dsn); err != nil || !last.IsZero() {
		t.Errorf("before the first audit: %v, %v", last, err)
	}
	start := time.Now().UTC().Truncate(time.Hour)
	for i, alarm := range []bool{true, false, true, true} {
		for range 2 {
			at := start.Add(time.Duration(i) * time.Hour)
			if err := b.WriteReadings(t.Context(), at, []Reading{
				{Check: "psi", Subject: "clv", Value: float64(i), Threshold: 0.25, Values: 9, Alarm: alarm, Detail: "d"},
				{Check: "volume", Subject: "a", Value: 1, Threshold: 2},
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := b.text(t, "SELECT count() FROM audit_readings"); got != "8" {
		t.Errorf("%s rows, want 8", got)
	}
	got := b.text(t, "SELECT check, subject, value, alarm, dateDiff('hour', since, at) FROM drift ORDER BY check")
	if want := "psi\tclv\t3\ttrue\t1\nvolume\ta\t1\tfalse\t\\N"; got != want {
		t.Errorf("the view says %q, want %q", got, want)
	}
	if last, err := LastAudit(t.Context(), dsn); err != nil || !last.Equal(start.Add(3*time.Hour)) {
		t.Errorf("the last audit: %v, %v", last, err)
	}
}
