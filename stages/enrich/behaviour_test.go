package enrich_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
)

func TestCounts(t *testing.T) {
	e := func(typ event.Type, name string) event.Event {
		return event.Event{Type: typ, Name: name, Occurred: start, Accepted: start}
	}
	p := apply(t, stage(t),
		e(event.Track, "Product Viewed"), e(event.Track, "Product Viewed"), e(event.Page, "Home"), e(event.Page, ""),
		e(event.Screen, "Home"), e(event.Identify, ""), e(event.Group, "g1"), e(event.Alias, ""), e(event.Track, ""),
		e(event.Delivery, "accepted"), e(event.Track, strings.Repeat("x", 300)))
	want := map[string]uint64{"Product Viewed": 2, "page:Home": 1, "page:": 1, "screen:Home": 1}
	got := map[string]uint64{}
	for _, a := range p.Activities {
		got[a.Name] = a.Count
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestNamesAreBounded(t *testing.T) {
	st := stage(t, "zz asked")
	var events []event.Event
	for i := range 3 * profile.MaxNames {
		name := fmt.Sprintf("event %03d", i)
		e := track(name, start+event.Instant(i), "")
		e.Traits = event.Object(fmt.Sprintf(`{%q:%d}`, name, i))
		e.Consent = map[string]bool{name: true}
		events = append(events, e, e)
	}
	events = append(events, track("zz asked", start, ""), track("zz asked", start, ""), order(start, "1"))
	want := apply(t, st, events...)
	if n := len(want.Activities); n != profile.MaxNames+2 {
		t.Errorf("%d counts, want %d and the two that are asked for", n, profile.MaxNames)
	}
	if want.Count("zz asked") != 2 || want.Count(event.OrderCompleted) != 1 || want.Count("event 199") != 2 || want.Count("event 200") != 0 {
		t.Errorf("activities %v", want.Activities)
	}
	if len(want.Traits) != profile.MaxNames || len(want.Consents) != profile.MaxNames {
		t.Errorf("%d traits and %d consents, want %d", len(want.Traits), len(want.Consents), profile.MaxNames)
	}
	slices.Reverse(events)
	got := apply(t, st, events...)
	if diff := cmp.Diff(behaviour(want), behaviour(got), cmp.Comparer(near)); diff != "" {
		t.Errorf("what is kept depends on the order of arrival:\n%s", diff)
	}
}

func TestTraits(t *testing.T) {
	said := func(typ event.Type, at event.Instant, traits string) event.Event {
		return event.Event{Type: typ, Occurred: at, Accepted: start + 100, Traits: event.Object(traits)}
	}
	p := apply(t, stage(t),
		said(event.Identify, start+2, `{"plan":"pro","seats":5,"gone":1}`),
		said(event.Identify, start+1, `{"plan":"free","country":"AT"}`), // arrives late
		said(event.Group, start+3, `{"industry":{"code":7},"gone":null}`),
		said(event.Identify, start+2, `{"plan":"basic","seats":40}`), // the same instant: the larger text
		said(event.Identify, start+4, `{"country":"`+strings.Repeat("x", enrich.MaxTraitSize)+`"}`),
		said(event.Delivery, start+9, `{"plan":"no"}`))
	want := map[string]profile.Trait{
		"plan": {Value: event.Object(`"pro"`), At: start + 2}, "seats": {Value: event.Object(`5`), At: start + 2}, "industry": {Value: event.Object(`{"code":7}`), At: start + 3},
		"gone": {Value: event.Object(`null`), At: start + 3}, "country": {Value: event.Object(`null`), At: start + 4},
	}
	if diff := cmp.Diff(want, p.Traits); diff != "" {
		t.Errorf("traits (-want +got):\n%s", diff)
	}
}

func TestConsents(t *testing.T) {
	says := func(typ event.Type, at event.Instant, consent map[string]bool) event.Event {
		return event.Event{Type: typ, Name: "x", Occurred: at, Accepted: start + 100, Consent: consent}
	}
	yes, no := map[string]bool{"email": true}, map[string]bool{"email": false}
	tests := []struct {
		name   string
		events []event.Event
		want   map[string]profile.Consent
	}{
		{"never said", []event.Event{says(event.Track, start, nil)}, nil},
		{"granted", []event.Event{says(event.Track, start, yes)}, map[string]profile.Consent{"email": {Granted: true, At: start}}},
		{"withdrawn later", []event.Event{says(event.Track, start, yes), says(event.Track, start+1, no)}, map[string]profile.Consent{"email": {Granted: false, At: start + 1}}},
		{"withdrawn earlier, arrives later", []event.Event{says(event.Track, start+1, yes), says(event.Track, start, no)}, map[string]profile.Consent{"email": {Granted: true, At: start + 1}}},
		{"both at one instant", []event.Event{says(event.Track, start, no), says(event.Track, start, yes)}, map[string]profile.Consent{"email": {Granted: false, At: start}}},
		{"both at one instant, the other way round", []event.Event{says(event.Track, start, yes), says(event.Track, start, no)}, map[string]profile.Consent{"email": {Granted: false, At: start}}},
		{"withdrawn by the mailbox provider", []event.Event{says(event.Track, start, yes), says(event.Delivery, start+1, no)}, map[string]profile.Consent{"email": {Granted: false, At: start + 1}}},
		{"two channels", []event.Event{says(event.Track, start, map[string]bool{"email": true, "sms": false})}, map[string]profile.Consent{"email": {Granted: true, At: start}, "sms": {Granted: false, At: start}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, apply(t, stage(t), tt.events...).Consents); diff != "" {
				t.Errorf("consents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeliveriesAreNotBehaviour(t *testing.T) {
	want := apply(t, stage(t), order(start, "10"))
	delivery := track(event.OrderCompleted, start.Add(time.Hour), `{"revenue":5,"outcome":"accepted"}`)
	delivery.Type = event.Delivery
	got := apply(t, stage(t), order(start, "10"), delivery)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(profile.Profile{}, "Now", "Applied")); diff != "" {
		t.Errorf("a delivery changed (-want +got):\n%s", diff)
	}
}

// behaviour is what must not depend on the order of arrival.
func behaviour(p *profile.Profile) profile.Profile {
	return profile.Profile{
		ID: p.ID, First: p.First, Last: p.Last, Traits: p.Traits, Consents: p.Consents, Activities: p.Activities, Orders: p.Orders,
		Leanings: p.Leanings, Viewed: p.Viewed, Cart: p.Cart, Zone: p.Zone,
	}
}

// near compares sums that decay: to nine digits.
func near(a, b profile.Decayed) bool {
	return math.Abs(float64(a-b)) <= 1e-9*max(math.Abs(float64(a)), math.Abs(float64(b)))
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	st := stage(t)
	rapid.Check(t, func(t *rapid.T) {
		// Far fewer instants than events: ties are the interesting case.
		occurred := rapid.Custom(func(t *rapid.T) event.Instant {
			return start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "halfdays")) * 12 * time.Hour)
		})
		one := rapid.Custom(func(t *rapid.T) event.Event {
			e := event.Event{
				Type:     rapid.SampledFrom([]event.Type{event.Track, event.Track, event.Track, event.Identify, event.Page, event.Group, event.Delivery}).Draw(t, "type"),
				Name:     rapid.SampledFrom([]string{event.OrderCompleted, event.OrderRefunded, "Product Viewed", "b"}).Draw(t, "name"),
				Occurred: occurred.Draw(t, "occurred"), Accepted: start.Add(30 * day),
				Historical: rapid.Bool().Draw(t, "historical"),
				Properties: event.Object(rapid.SampledFrom([]string{`{"revenue":1.25}`, `{"total":"7"}`, `{"products":[{"price":1.1,"quantity":3}]}`, `{}`, `{"revenue":-3}`, `{"revenue":900000000000000}`}).Draw(t, "properties")),
				Traits:     event.Object(rapid.SampledFrom([]string{``, `{"a":1}`, `{"a":2,"b":"x"}`, `{"a":null}`, `{"b":"y","a":{"c":1}}`}).Draw(t, "traits")),
			}
			if rapid.Bool().Draw(t, "says") {
				e.Consent = map[string]bool{rapid.SampledFrom([]string{"email", "sms"}).Draw(t, "channel"): rapid.Bool().Draw(t, "granted")}
			}
			return e
		})
		events := rapid.SliceOfN(one, 1, 15).Draw(t, "events")
		shuffled := rapid.Permutation(events).Draw(t, "shuffled")
		c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
		run := func(events []event.Event) *profile.Profile {
			p := profile.New("p1")
			for i := range events {
				if _, err := c.Apply(p, &events[i], uint64(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			return p
		}
		want, got := run(events), run(shuffled)
		if diff := cmp.Diff(behaviour(want), behaviour(got), cmp.Comparer(near)); diff != "" {
			t.Fatalf("in another order (-want +got):\n%s", diff)
		}
		// All are accepted at one instant: then the scores and the standing, which depend on the clock, are the same as well.
		if want.Scores.CLV != got.Scores.CLV || want.Scores.Alive != got.Scores.Alive || want.Standing != got.Standing {
			t.Fatalf("scores %+v and %+v, standing %+v and %+v", want.Scores, got.Scores, want.Standing, got.Standing)
		}
	})
}

// Nothing of the event's memory stays in the profile.
func TestTraitsAreCopied(t *testing.T) {
	traits := event.Object(`{"plan":"pro"}`)
	p := apply(t, stage(t), event.Event{Type: event.Identify, Occurred: start, Accepted: start, Traits: traits})
	copy(traits, strings.Repeat("#", len(traits)))
	if got := string(p.Traits["plan"].Value); got != `"pro"` {
		t.Errorf("trait %s", got)
	}
}
