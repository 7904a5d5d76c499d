package trigger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/stages/trigger/recommend"
)

// A mail that asks for products carries them by value; one that doesn't has none.
func TestRecommendations(t *testing.T) {
	const mail = `send: {destination: mail, from: hi@shop.example, subject: Hello, template: t`
	st := stage(t, `
- {id: skip, on: {event: A}, `+mail+`, recommend: {count: 2}}}
- {id: again, on: {event: A}, `+mail+`, recommend: {count: 1, bought: again}}}
- {id: none, on: {event: A}, `+mail+`}}
`)
	b := recommend.NewBuilder(start)
	for range 5 {
		b.Basket([]recommend.Item{{ID: "a", Name: "Apple", Price: "1.50"}, {ID: "b"}}, start)
		b.Basket([]recommend.Item{{ID: "a"}, {ID: "c"}}, start)
	}
	st.Recommend(recommend.NewProducts(b.Build(), recommend.OutOfStock{"c", "unknown"}))
	r := newRun(t, 0, st)
	r.event(consent(true))
	r.profile.Buy("a", start)
	r.event(event.Event{ID: "e", Type: event.Track, Name: "A", Profile: "p1", Occurred: start.Add(time.Minute), Accepted: start.Add(time.Minute)})
	got := map[string][]recommend.Choice{}
	for _, d := range r.deliveries {
		var data struct {
			Recommendations []recommend.Choice `json:"recommendations"`
		}
		if err := json.Unmarshal(d.Data, &data); err != nil {
			t.Fatal(err)
		}
		got[d.Campaign] = data.Recommendations
	}
	want := map[string][]recommend.Choice{
		"skip":  {{Item: recommend.Item{ID: "b"}, Why: recommend.BoughtTogether}},
		"again": {{Item: recommend.Item{ID: "a", Name: "Apple", Price: "1.50"}, Why: recommend.BoughtBefore}},
		"none":  nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
