package rollout

import (
	"testing"

	"attune/pipeline/event"
)

// What the chain applied, of a log with repeats, with records that were ahead of one that was lost, and with a merge.
func TestAppliedRecords(t *testing.T) {
	a := appliedRecords{merged: merged{"old": {"mid", 50}, "mid": {"new", 60}}, highest: map[[2]string]uint64{}, gone: map[string]bool{}}
	for i, r := range []struct {
		subject        string
		ordinal, after uint64
		profile        string
		at             event.Instant
		kind           event.Type
		want           bool
	}{
		{"p0", 7, 6, "ada", 1, event.Track, true}, // the first that is read of its source
		{"p0", 7, 6, "ada", 1, event.Track, false},
		{"p0", 9, 8, "ada", 2, event.Track, false}, // 8 was lost on the way
		{"p0", 8, 7, "ada", 2, event.Track, true},
		{"p0", 9, 8, "ada", 2, event.Track, true},
		{"p1", 9, 8, "old", 49, event.Track, true}, // another partition's
		{"p1", 10, 9, "old", 50, event.Track, true},
		{"p1", 11, 10, "old", 51, event.Track, false}, // forwarded: the merge lies before what is read
		{"p1", 12, 11, "mid", 55, event.Track, true},
		{"p1", 13, 12, "mid", 55, event.Merge, false},
		{"p1", 14, 13, "mid", 55, event.Track, false},  // forwarded
		{"p1", 15, 14, "late", 90, event.Track, true},  // not merged when the definitions were staged
		{"p1", 16, 15, "late", 90, event.Merge, false}, // but now
		{"p1", 17, 16, "late", 90, event.Track, false},
		{"p1", 18, 17, "new", 99, event.Track, true},
		{"p1", 19, 18, "", 99, event.Control, false},
	} {
		e := event.Event{Type: r.kind, Profile: r.profile, Accepted: r.at, Source: event.Source{Name: "s", Ordinal: r.ordinal, After: r.after}}
		if got := a.has(r.subject, &e); got != r.want {
			t.Errorf("record %d: %v", i, got)
		}
	}
	if a.merged.current("old") != "new" || a.merged.current("ada") != "ada" {
		t.Error("a chain of merges is not followed")
	}
}
