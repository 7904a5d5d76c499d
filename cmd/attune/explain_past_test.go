package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Where the log is too short, ClickHouse says where the customer was: p3 went on in p2 on day 5, and p2 in p1 on day 10; p4
// never did, though a call tied them together.
func TestExplainWhatIsRecordedFollowsMerges(t *testing.T) {
	a := audit(t)
	const (
		start = event.Instant(1_800_000_000_000)
		days  = event.Instant(86_400_000)
	)
	part := pipeline.SinkPart{Sequence: 1}
	part.Facts.Merges = []pipeline.Merge{
		{Loser: "p3", Winner: "p2", At: start + 5*days, Position: 5}, {Loser: "p2", Winner: "p1", At: start + 10*days, Position: 10},
		{Loser: "p3", Winner: "p1", At: start + 10*days, Position: 10}, {Loser: "p4", Winner: "p1", At: start + 10*days, Refused: "too_many_merges", Position: 11},
	}
	change := func(who string, day event.Instant, entered bool, reason string) {
		part.Facts.Changes = append(part.Facts.Changes, pipeline.SegmentChange{
			Segment: "fans", Profile: who, At: start + day*days, Entered: entered, Reason: reason, Position: uint64(day),
		})
	}
	change("p3", 1, true, pipeline.BecauseEvent)
	change("p2", 4, true, pipeline.BecauseEvent)
	change("p3", 5, false, pipeline.BecauseMerge)
	change("p1", 10, true, pipeline.BecauseMerge)
	change("p2", 10, false, pipeline.BecauseMerge)
	change("p4", 1, true, pipeline.BecauseEvent)
	if err := a.sink.Write(t.Context(), pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}}); err != nil {
		t.Fatal(err)
	}
	now := profile.New("p1")
	now.Merged = []profile.Merged{{ID: "p2", At: start + 10*days}, {ID: "p3", At: start + 10*days}}
	c := &explainCommand{target: target{Config: a.file}}
	for _, test := range []struct {
		asked, profile string
		day            event.Instant
		in             bool
		since          event.Instant
		note           string
	}{
		{"p2", "p1", 20, true, 10, "p2 is the same customer as p1 since " + (start + 10*days).String()},
		{"p2", "p1", 10, true, 10, "p2 is the same customer as p1"},
		{"p3", "p1", 20, true, 10, "p3 is the same customer as p1"},
		{"p3", "p2", 7, true, 4, "p3 is the same customer as p1"},
		{"p3", "p3", 4, true, 1, "p3 is the same customer as p1"},
		{"p2", "p2", 9, true, 4, "which can be asked for: p3 (until"},
		{"p1", "p1", 20, true, 10, ""},
		{"p4", "p4", 20, true, 1, ""},
	} {
		who := now
		if test.asked == "p4" {
			who = profile.New("p4")
		}
		x, err := c.recorded(t.Context(), who, test.asked, start+test.day*days, errors.New("too old"))
		if err != nil {
			t.Fatal(err)
		}
		if x.Profile != test.profile || len(x.Recorded) != 1 {
			t.Errorf("%s on day %d: it tells of %s: %+v, not of %s", test.asked, test.day, x.Profile, x.Recorded, test.profile)
			continue
		}
		got := x.Recorded[0]
		if diff := cmp.Diff(recordedSegment{ID: "fans", In: test.in, Since: (start + test.since*days).String(), Reason: got.Reason}, got); diff != "" {
			t.Errorf("%s on day %d (-want +got):\n%s", test.asked, test.day, diff)
		}
		if !strings.Contains(x.Notes[0], "too old. What follows is recorded") || !slices.ContainsFunc(x.Notes, func(n string) bool { return strings.Contains(n, test.note) }) {
			t.Errorf("%s on day %d: the notes are %q", test.asked, test.day, x.Notes)
		}
	}
}
