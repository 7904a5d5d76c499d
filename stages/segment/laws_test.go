package segment

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

var lawDefinitions = []Definition{
	{ID: "two-views", When: `count("View", {"color": "red"}, "6h") >= 2 && !did("Order", "10h")`},
	{ID: "few", When: `count("View", "8h") < 3`},
	{ID: "exactly", When: `count("View", "5h") == 2 || count("Order", "3h") == 1`},
	{ID: "quiet", When: `!did("View", "12h") && !did("Order", "12h")`},
	{ID: "buyers", When: `ever("Order") || trait("vip") == true`},
	{ID: "many", When: `count("View", "20h") != 4`},
}

func drawEvents(t *rapid.T) []event.Event {
	var events []event.Event
	var now event.Instant
	for range rapid.IntRange(1, 25).Draw(t, "events") {
		now += event.Instant(rapid.IntRange(0, 6).Draw(t, "pause")) * hour / 2
		e := track(rapid.SampledFrom([]string{"View", "View", "Order", "Other"}).Draw(t, "name"),
			now+event.Instant(rapid.IntRange(-30, 6).Draw(t, "offset"))*hour/2, now,
			fmt.Sprintf(`{"color":%q}`, rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color")))
		if rapid.IntRange(0, 9).Draw(t, "identify") == 0 {
			e.Type, e.Name, e.Traits = event.Identify, "", event.Object(fmt.Sprintf(`{"vip":%v}`, rapid.Bool().Draw(t, "vip")))
		}
		events = append(events, e)
	}
	return events
}

// Wake-ups are hints: none of them, some late ones or very many give the same flips, and the flips are what an
// evaluation of all events finds at each instant.
func TestWakeUpsDoNotDecide(t *testing.T) {
	s := stage(t, lawDefinitions...)
	c := chain(1, enrich{}, s)
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		end := events[len(events)-1].Accepted - start + 60*hour
		apply := func(wakes []event.Instant) (flips []string, state []byte) {
			all := slices.Clone(events)
			for _, w := range wakes {
				all = append(all, wake(w))
			}
			all = append(all, wake(end))
			slices.SortStableFunc(all, func(a, b event.Event) int { return int(a.Accepted - b.Accepted) })
			p := profile.New("u1")
			for i := range all {
				r, err := c.Apply(p, &all[i], uint64(i+1))
				if err != nil {
					t.Fatal(err)
				}
				flips = append(flips, texts(r.Facts.Changes)...)
				if due := s.Due(p); due != 0 && due <= p.Now {
					t.Fatalf("still due at %d after %d", due, p.Now)
				}
			}
			p.Applied = 0 // differs by the wake-ups themselves
			data := profile.Encode(p)
			return flips, data
		}
		var wakes []event.Instant
		for range rapid.IntRange(0, 20).Draw(t, "wakes") {
			wakes = append(wakes, event.Instant(rapid.IntRange(0, int(end/hour)*4).Draw(t, "wake"))*hour/4)
		}
		want, state := apply(nil)
		again, same := apply(nil)
		got, other := apply(wakes)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("with wake-ups at %v:\n%s", wakes, diff)
		}
		if !slices.Equal(want, again) || string(state) != string(same) || string(state) != string(other) {
			t.Fatal("the same log gave another state")
		}
	})
}

// The final memberships are the same for any order of arrival, and what a profile holds is bounded.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	s := stage(t, lawDefinitions...)
	c := chain(1, enrich{}, s)
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		for i := range events { // distinct times, and traits that the test's enrich would take in order of arrival
			events[i].Occurred += event.Instant(i)
			events[i].Traits = nil
		}
		last := events[len(events)-1].Accepted
		state := func(order []event.Event) (in []string, windows map[uint64][]event.Instant, later []string) {
			p := profile.New("u1")
			for i := range order {
				e := order[i]
				e.Accepted = last + event.Instant(i)
				if _, err := c.Apply(p, &e, uint64(i+1)); err != nil {
					t.Fatal(err)
				}
				for id, times := range p.Windows {
					if len(times) > 5+rule.MaxAhead {
						t.Fatalf("leaf %d holds %d times", id, len(times))
					}
				}
			}
			w := wake(last + hour - start)
			if _, err := c.Apply(p, &w, uint64(len(order)+1)); err != nil {
				t.Fatal(err)
			}
			s.set.Leaves().Expire(p)
			in = p.Memberships()
			data := profile.Encode(p)
			p, err := profile.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			w = wake(last + 100*hour - start)
			r, err := c.Apply(p, &w, uint64(len(order)+2))
			if err != nil {
				t.Fatal(err)
			}
			later = texts(r.Facts.Changes)
			p, _ = profile.Decode(data)
			return in, p.Windows, later
		}
		in, windows, later := state(events)
		otherIn, otherWindows, otherLater := state(rapid.Permutation(events).Draw(t, "order"))
		if diff := cmp.Diff(in, otherIn); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(later, otherLater); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(windows, otherWindows); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A busy customer's profile stays as small as the definitions need.
func TestStateIsBounded(t *testing.T) {
	s := stage(t, lawDefinitions...)
	c := chain(1, s)
	p := profile.New("u1")
	for i := range event.Instant(5000) {
		e := track("View", i*hour/60, i*hour/60, `{"color":"red"}`)
		if _, err := c.Apply(p, &e, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, times := range p.Windows {
		total += len(times)
	}
	if total == 0 || total > 2+3+3+5+1 {
		t.Errorf("holds %d times: %v", total, p.Windows)
	}
	w := wake(10_000 * hour)
	if _, err := c.Apply(p, &w, p.Applied+1); err != nil {
		t.Fatal(err)
	}
	// The last flip is that of "many", when the fourth newest view leaves its window; after that nothing is due.
	if len(p.Windows) != 1 || total == 0 {
		t.Errorf("holds %v long after the last event", p.Windows)
	}
}
