package pipeline_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// broken is a stage that fails at everything.
type broken struct{}

func (broken) Name() string { return "broken" }

func (broken) Due(p *profile.Profile) event.Instant { return p.SegmentsDue }

func (broken) Apply(*pipeline.Step) { panic("a stage's mistake") }

// member is a profile with a segment that it left to be judged, and a wait.
func member(id, segment string) *profile.Profile {
	return &profile.Profile{
		ID: id, Now: base, First: base, Applied: 1, SegmentsDue: base + 10,
		Segments: map[string]profile.Membership{segment: {In: true, Since: base, Until: base + 10}},
		Waits:    []profile.Wait{{Campaign: "cart", Key: id, Due: base + 20}},
	}
}

// A record whose step fails ties profiles all the same: joins, the merge record and the transfer each do their part, once.
func TestSalvage(t *testing.T) {
	t.Parallel()
	c := &pipeline.Chain{Stages: []pipeline.Stage{broken{}}}
	winner, loser := member("w", "mine"), member("l", "theirs")
	position := uint64(1)
	salvage := func(p *profile.Profile, e event.Event) pipeline.Result {
		t.Helper()
		position++
		e.Occurred, e.Accepted = base+100, base+100
		if _, err := c.Try(member(p.ID, "tried"), &e, position); err == nil {
			t.Fatalf("%s: the step did not fail", e.Type)
		}
		result, err := c.Salvage(p, &e, position)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}

	// What is no part of a merge leaves no trace.
	before := profile.Encode(winner)
	if r := salvage(winner, event.Event{Type: event.Track, Name: "view"}); !cmp.Equal(r, pipeline.Result{}) || string(profile.Encode(winner)) != string(before) {
		t.Errorf("a view: %+v, %+v", r, winner)
	}

	// The joins: the winner waits from then on, and still owes what it owed at its own time.
	announced := salvage(winner, event.Event{Type: event.Track, Joins: []event.Join{{Loser: "l"}, {Loser: "z", Refused: "too many"}}})
	if len(announced.Leaving) != 1 || announced.Leaving[0].Type != event.Merge || announced.Leaving[0].Profile != "l" {
		t.Fatalf("leaving: %+v", announced.Leaving)
	}
	if diff := cmp.Diff([]pipeline.Merge{{Loser: "z", Winner: "w", At: base + 100, Refused: "too many", Position: 3}}, announced.Facts.Merges); diff != "" {
		t.Errorf("merges (-want +got):\n%s", diff)
	}
	if want := (base + 100).Add(profile.MaxAwait); winner.Now != base || winner.Whole() != want || winner.Applied != 3 {
		t.Errorf("now %s, whole at %s, want %s and %s; applied %d", winner.Now, winner.Whole(), base, want, winner.Applied)
	}

	// The merge record: the loser is a tombstone, and all that it was is on its way.
	left := salvage(loser, announced.Leaving[0])
	if len(left.Leaving) != 1 || left.Leaving[0].Type != event.Transfer || loser.Into != "w" || len(loser.Segments)+len(loser.Waits) > 0 || loser.Applied != 4 {
		t.Fatalf("leaving %+v, loser %+v", left.Leaving, loser)
	}
	if diff := cmp.Diff([]pipeline.SegmentChange{{Segment: "theirs", Profile: "l", At: base + 100, Reason: "merge", Position: 4}}, left.Facts.Changes); diff != "" {
		t.Errorf("the loser's flips (-want +got):\n%s", diff)
	}

	// The transfer: the winner has it all but the waits, and is to be woken at once to be judged.
	taken := salvage(winner, left.Leaving[0])
	if diff := cmp.Diff([]pipeline.SegmentChange{{Segment: "theirs", Profile: "w", At: base + 100, Entered: true, Reason: "merge", Position: 5}}, taken.Facts.Changes); diff != "" {
		t.Errorf("the winner's flips (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]pipeline.Merge{{Loser: "l", Winner: "w", At: base + 100, Position: 5}}, taken.Facts.Merges); diff != "" {
		t.Errorf("merges (-want +got):\n%s", diff)
	}
	if !winner.TookIn("l") || len(winner.Awaits)+len(winner.Waits) > 0 || !winner.In("mine") || taken.Wake != winner.Now || winner.Armed != winner.Now {
		t.Errorf("winner %+v, wake-up at %s", winner, taken.Wake)
	}

	// A second time it does nothing; and what can't be read is no merge.
	if r := salvage(winner, left.Leaving[0]); !cmp.Equal(r, pipeline.Result{}) || winner.Applied != 5 {
		t.Errorf("again: %+v", r)
	}
	garbled := left.Leaving[0]
	garbled.Merge = &event.MergeRecord{Loser: "l", Winner: "w", State: []byte("no profile")}
	if _, err := c.Salvage(member("w", "mine"), &garbled, 9); err == nil {
		t.Error("what can't be read was merged")
	}
}

// What waited for a customer who is whole again by a salvaged transfer is judged at the wake-up that it asks for.
func TestSalvagedTransferIsJudgedSoon(t *testing.T) {
	t.Parallel()
	failing, works := &pipeline.Chain{Stages: []pipeline.Stage{broken{}}}, &pipeline.Chain{Stages: []pipeline.Stage{account{}}}
	winner, loser := profile.New("w"), profile.New("l")
	for i, p := range []*profile.Profile{winner, loser, loser} {
		at := base + event.Instant(i)
		if _, err := works.Apply(p, &event.Event{ID: "e", Type: event.Track, Name: "view", Occurred: at, Accepted: at}, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	left, err := works.Apply(loser, &event.Event{Type: event.Merge, Accepted: base + 5, Merge: &event.MergeRecord{Loser: "l", Winner: "w"}}, 4)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := failing.Salvage(winner, &left.Leaving[0], 5)
	if err != nil || taken.Wake == 0 || len(taken.Facts.Changes) > 0 {
		t.Fatalf("%+v, %v", taken, err)
	}
	woken, err := works.Apply(winner, &event.Event{Type: event.Wake, Accepted: taken.Wake.Add(time.Second)}, 6)
	if err != nil || len(woken.Facts.Changes) != 1 || !winner.In("busy") {
		t.Errorf("%+v, %v; busy %t with %d views", woken.Facts, err, winner.In("busy"), winner.Count("view"))
	}
}
