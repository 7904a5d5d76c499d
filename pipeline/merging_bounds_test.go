package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
	"attune/stages/enrich"
	"attune/stages/trigger"
)

// full is as much as one customer's profile may hold, seed by seed of other names.
func full(t *testing.T, c *pipeline.Chain, id string, seed int, at event.Instant) *profile.Profile {
	t.Helper()
	p := profile.New(id)
	position := uint64(seed) * 10_000
	apply := func(e event.Event) {
		t.Helper()
		position++
		at++
		e.ID, e.Profile, e.Occurred, e.Accepted = fmt.Sprint("e", position), id, at, at
		if _, err := c.Apply(p, &e, position); err != nil {
			t.Fatal(err)
		}
	}
	word := func(i, size int) string { return fmt.Sprintf("%03d %03d ", i, seed) + strings.Repeat("x", size-8) }
	apply(event.Event{Type: event.Identify, Consent: map[string]bool{"email": true}})
	for i := range profile.MaxNames {
		apply(event.Event{Type: event.Identify, Traits: event.Object(`{"` + word(i, 200) + `": "` + strings.Repeat("y", 900) + `"}`)})
		apply(event.Event{Type: event.Track, Name: word(i, 200)})
		apply(event.Event{Type: event.Track, Name: "Product Viewed", Properties: event.Object(
			`{"product_id": "` + word(i, 100) + `", "category": "` + word(i, 100) + `", "brand": "` + word(i, 100) + `"}`)})
		apply(event.Event{Type: event.Track, Name: event.OrderCompleted, Properties: event.Object(`{"revenue": 10, "product_id": "` + word(i, 100) + `"}`)})
	}
	for i := range profile.MaxCart {
		apply(event.Event{Type: event.Track, Name: "Product Added", Properties: event.Object(`{"product_id": "` + word(i, 100) + `"}`)})
	}
	for i := range trigger.MaxWaits {
		apply(event.Event{Type: event.Track, Name: "Asked", Properties: event.Object(`{"k": "` + word(i, 100) + `", "text": "` + strings.Repeat("z", 1000) + `"}`)})
		apply(event.Event{Type: event.Track, Name: "Sent"})
	}
	if len(p.Waits) != trigger.MaxWaits || len(p.Sends) != trigger.MaxCap {
		t.Fatalf("%d waits, %d sends", len(p.Waits), len(p.Sends))
	}
	return p
}

// Who is merged again and again holds no more than one customer may, and of each wait that goes there is a decision.
func TestMergesKeepTheBounds(t *testing.T) {
	t.Parallel()
	const merges, largest = 6, 768 << 10
	compiler, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	send := trigger.Send{Destination: "mail", From: "hi@shop.example", Subject: "Hello", Template: "t"}
	campaigns, err := trigger.New([]trigger.Campaign{
		{ID: "asked", On: trigger.On{Event: "Asked"}, Key: "k", Wait: trigger.Duration(24 * time.Hour), Send: send},
		{ID: "sent", On: trigger.On{Event: "Sent"}, Cap: &trigger.Cap{Per: "day", Max: trigger.MaxCap}, Send: send},
	}, compiler, nil)
	if err != nil {
		t.Fatal(err)
	}
	enrichment, err := enrich.New(enrich.DefaultConfig(), enrich.DefaultModels(), enrich.Asked{Totals: []string{"Asked"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &pipeline.Chain{Stages: []pipeline.Stage{enrichment, campaigns}, Version: 1}
	winner := full(t, c, "w", 0, base)
	decided := map[string]int{}
	at := base
	for i := 1; i <= merges; i++ {
		at = at.Add(time.Minute)
		loser := full(t, c, fmt.Sprint("l", i), i, at)
		state := profile.Encode(loser)
		r, err := c.Apply(winner, &event.Event{
			Type: event.Transfer, Profile: "w", Accepted: at, Merge: &event.MergeRecord{Loser: loser.ID, Winner: "w", State: state},
		}, uint64(1_000_000+i))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range r.Facts.Decisions {
			if d.Reason != trigger.ReasonTooManyWaits {
				t.Fatalf("decision %+v", d)
			}
			decided[d.Key]++
		}
		if n := len(r.Facts.Decisions); n > trigger.MaxWaits {
			t.Errorf("merge %d: %d decisions at once", i, n)
		}
		if size := len(profile.Encode(winner)); size > largest {
			t.Fatalf("after %d merges the profile has %d bytes, more than %d; the last one brought %d", i, size, largest, len(state))
		}
	}
	for _, w := range winner.Waits {
		decided[w.Key]++
	}
	if len(decided) != (merges+1)*trigger.MaxWaits {
		t.Errorf("%d of %d waits are decided or held", len(decided), (merges+1)*trigger.MaxWaits)
	}
	for key, n := range decided {
		if n != 1 {
			t.Errorf("%s: %d times", key, n)
		}
	}
	if n := winner.Count("Asked"); n != (merges+1)*trigger.MaxWaits {
		t.Errorf("an event that rules ask for is counted %d times", n)
	}
	if len(winner.Waits) > trigger.MaxWaits || len(winner.Sends) != trigger.MaxCap || len(winner.Activities) > profile.MaxNames+3 {
		t.Errorf("%d waits, %d sends, %d event names", len(winner.Waits), len(winner.Sends), len(winner.Activities))
	}
}
