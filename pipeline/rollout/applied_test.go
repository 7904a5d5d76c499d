package rollout

import (
	"testing"

	"attune/pipeline/event"
)

// What the chain applied, of a log with repeats and with records that were ahead of one that was lost.
func TestAppliedRecords(t *testing.T) {
	a := appliedRecords{}
	for i, r := range []struct {
		subject        string
		ordinal, after uint64
		profile        string
		want           bool
	}{
		{"p0", 7, 6, "ada", true}, // the first that is read of its source
		{"p0", 7, 6, "ada", false},
		{"p0", 9, 8, "ada", false}, // 8 was lost on the way
		{"p0", 8, 7, "ada", true},
		{"p0", 9, 8, "ada", true},
		{"p1", 9, 8, "bob", true}, // another partition's
		{"p1", 10, 9, "", false},
	} {
		e := event.Event{Type: event.Track, Profile: r.profile, Source: event.Source{Name: "s", Ordinal: r.ordinal, After: r.after}}
		if got := a.has(r.subject, &e); got != r.want {
			t.Errorf("record %d: %v", i, got)
		}
	}
}
