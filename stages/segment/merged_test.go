package segment

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// merge lets loser go on in winner at an instant, and gives the flips of both.
func merge(t rapid.TB, c *pipeline.Chain, winner, loser *profile.Profile, at event.Instant, historical bool) (flips []string) {
	t.Helper()
	left, err := c.Apply(loser, &event.Event{
		Type: event.Merge, Profile: loser.ID, Accepted: at, Historical: historical, Merge: &event.MergeRecord{Loser: loser.ID, Winner: winner.ID},
	}, loser.Applied+1)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := c.Apply(winner, &left.Leaving[0], winner.Applied+1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range texts(left.Facts.Changes) {
		flips = append(flips, "loser "+f)
	}
	return append(flips, texts(taken.Facts.Changes)...)
}

func happened(name string, at event.Instant) event.Event {
	return event.Event{ID: fmt.Sprint(name, at), Type: event.Track, Name: name, Occurred: at, Accepted: at}
}

// The loser leaves all; the winner enters what both halves make true, once, and what the loser was in, and leaves what the
// whole is not in.
func TestMergedMemberships(t *testing.T) {
	st := stage(t,
		Definition{ID: "both", When: `did("A", "24h")`}, Definition{ID: "theirs", When: `did("B", "24h")`}, Definition{ID: "mine", When: `did("C", "24h")`},
		Definition{ID: "twice", When: `count("A", "24h") >= 2`}, Definition{ID: "only", When: `did("C", "24h") && !did("B", "24h")`},
		Definition{ID: "just-b", When: `did("B", "24h") && !did("C", "24h")`})
	for _, test := range []struct {
		historical bool
		version    uint64
		reason     string
	}{{false, 1, "merge"}, {true, 1, "historical"}, {false, 2, "definitions"}} {
		c := chain(1, enrich{}, st)
		winner, loser := profile.New("w"), profile.New("l")
		run(t, c, winner, happened("A", start), happened("C", start+1))
		run(t, c, loser, happened("A", start+2), happened("B", start+3))
		winner.First, loser.First = start, start+2
		c = chain(test.version, enrich{}, st)
		got := merge(t, c, winner, loser, start+hour, test.historical)
		late := fmt.Sprintf(" at 1h0m0s (%s)", test.reason)
		want := []string{"loser -both at 1h0m0s (merge)", "loser -just-b at 1h0m0s (merge)", "loser -theirs at 1h0m0s (merge)", "+twice" + late, "-only" + late, "+theirs" + late}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: flips (-want +got):\n%s", test.reason, diff)
		}
		if winner.Segments["theirs"].Since != start+3 || loser.Into != "w" || len(loser.Segments) != 0 {
			t.Errorf("%s: theirs since %s, loser %+v", test.reason, winner.Segments["theirs"].Since, loser)
		}
		// Its windows close when they would have for one customer.
		after, err := c.Apply(winner, &event.Event{Type: event.Wake, Accepted: start + 48*hour}, winner.Applied+1)
		if err != nil {
			t.Fatal(err)
		}
		want = []string{"-twice at 24h0m0s (time)", "-mine at 24h0m0.001s (time)", "-both at 24h0m0.002s (time)", "-theirs at 24h0m0.003s (time)"}
		if diff := cmp.Diff(want, slices.DeleteFunc(texts(after.Facts.Changes), func(f string) bool { return f[1:7] == "just-b" })); diff != "" {
			t.Errorf("%s: later (-want +got):\n%s", test.reason, diff)
		}
	}
}

// Who only heard that another profile is theirs has had no event yet: the first one is judged as a first.
func TestTheFirstEventAfterAnAnnouncement(t *testing.T) {
	c := chain(3, enrich{}, stage(t, Definition{ID: "idle", When: `!did("B", "24h")`}))
	p := profile.New("w")
	if _, err := c.Salvage(p, &event.Event{ID: "j", Type: event.Identify, Accepted: start, Joins: []event.Join{{Loser: "l"}}}, 1); err != nil {
		t.Fatal(err)
	}
	if flips := run(t, c, p, happened("A", start+1)); !slices.Equal(flips, []string{"+idle at 1ms (event)"}) {
		t.Errorf("flips %v", flips)
	}
}

// However events are divided between two profiles: merged they are in the segments that one customer is in who did all of
// it, and flip when that customer does.
func TestMergedMembershipsAreThoseOfOne(t *testing.T) {
	st := stage(t,
		Definition{ID: "a", When: `count("A", "2h") >= 2`}, Definition{ID: "b", When: `did("B", "3h") && !did("A", "1h")`},
		Definition{ID: "c", When: `sum("A", "n", "4h") > 10.0`}, Definition{ID: "d", When: `distinct("B", "n", "5h") >= 2`})
	rapid.Check(t, func(t *rapid.T) {
		c := chain(1, enrich{}, st)
		whole, parts := profile.New("whole"), []*profile.Profile{profile.New("w"), profile.New("l")}
		at := start
		apply := func(p *profile.Profile, e event.Event) (changes []pipeline.SegmentChange) {
			r, err := c.Apply(p, &e, p.Applied+1)
			if err != nil {
				t.Fatal(err)
			}
			return r.Facts.Changes
		}
		for range rapid.IntRange(1, 20).Draw(t, "events") {
			at += event.Instant(rapid.IntRange(1, 90).Draw(t, "minutes")) * hour / 60
			e := happened(rapid.SampledFrom([]string{"A", "B"}).Draw(t, "name"), at)
			e.Properties = event.Object(fmt.Sprintf(`{"n":%d}`, rapid.IntRange(0, 6).Draw(t, "n")))
			apply(whole, e)
			apply(parts[rapid.IntRange(0, 1).Draw(t, "part")], e)
		}
		merge(t, c, parts[0], parts[1], at, false)
		if diff := cmp.Diff(whole.Memberships(), parts[0].Memberships()); diff != "" {
			t.Fatalf("memberships (-one +merged):\n%s", diff)
		}
		wake := event.Event{Type: event.Wake, Accepted: at + 10*hour}
		if diff := cmp.Diff(texts(apply(whole, wake)), texts(apply(parts[0], wake))); diff != "" {
			t.Fatalf("flips by time (-one +merged):\n%s", diff)
		}
	})
}

// What staged rules look back at stays within what they need, also of who is merged again and again before it is prepared.
func TestMergedLookBacksKeepTheirBounds(t *testing.T) {
	before := stage(t)
	after := stage(t, Definition{ID: "twice", When: `count("A", "24h") >= 2`})
	old, staged := chain(1, enrich{}, before), preparing(enrich{}, before, after)
	winner := profile.New("w")
	run(t, old, winner, happened("C", start))
	run(t, staged, winner, happened("C", start+1))
	largest, at := 0, start
	for i := range 5 {
		at += 10
		loser := profile.New(fmt.Sprint("l", i))
		run(t, old, loser, happened("C", at))
		run(t, staged, loser, happened("A", at+1), happened("A", at+2), happened("A", at+3))
		merge(t, staged, winner, loser, at+4, false)
		for _, times := range winner.Next.Windows {
			largest = max(largest, len(times))
		}
	}
	if winner.Next.Filled || largest != 2 {
		t.Errorf("%d times are kept for a rule that needs two: %+v", largest, winner.Next)
	}
}

// A loser leaves, prepared for definitions that come into force while it is on its way. What it was prepared with counts,
// also where others are staged by the time it arrives, and for those too.
func TestAPreparedLoserArrivesAfterTheSwitch(t *testing.T) {
	before := stage(t, Definition{ID: "c", When: `did("C", "24h")`})
	after := stage(t, Definition{ID: "a", When: `did("A", "24h")`})
	later := stage(t, Definition{ID: "a", When: `did("A", "24h")`}, Definition{ID: "b", When: `did("B", "24h")`})
	for _, restaged := range []bool{false, true} {
		c := chain(1, enrich{}, before)
		winner, loser := profile.New("w"), profile.New("l")
		run(t, c, winner, happened("C", start))
		run(t, c, loser, happened("A", start+1))
		c = preparing(enrich{}, before, after)
		past := []pipeline.PastEvent{{Position: 1, Type: event.Track, Name: "A", Occurred: start + 1}}
		run(t, c, winner, prepare(t, start+2, pipeline.Preparation{Filled: true}))
		run(t, c, loser, prepare(t, start+2, pipeline.Preparation{Past: past, Read: 1, Filled: true}))
		left, err := c.Apply(loser, &event.Event{
			Type: event.Merge, Profile: "l", Accepted: start + 3, Merge: &event.MergeRecord{Loser: "l", Winner: "w"},
		}, loser.Applied+1)
		if err != nil {
			t.Fatal(err)
		}

		c = following(enrich{}, c, after, start+4)
		if restaged {
			c.Staged = preparing(enrich{}, after, later).Staged
			c.Staged.Version = 2
		}
		flips := run(t, c, winner, left.Leaving[0])
		if !winner.In("a") || !slices.Contains(flips, "+a at 4ms (merge)") {
			t.Errorf("others staged: %t: the flips are %v", restaged, flips)
		}
		if restaged && len(winner.Next.Windows) != 1 {
			t.Errorf("what is staged keeps %v", winner.Next.Windows)
		}
	}
}
