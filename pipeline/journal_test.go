package pipeline

import (
	"strings"
	"testing"
	"time"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

// The token of a range is what keeps its rows from being written twice, so no commit is ever in two ranges.
func TestJournalRefusesRangesThatOverlap(t *testing.T) {
	t.Parallel()
	js := enginetest.JetStream(t)
	if err := topology.Ensure(t.Context(), js, topology.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), topology.Commits)
	if err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(t.Context(), js, "sink", stream)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to uint64
		refused  bool
	}{
		{from: 1, to: 5},
		{from: 1, to: 5}, // written again
		{from: 1, to: 7, refused: true},
		{from: 5, to: 9, refused: true},
		{from: 6, to: 9},
	} {
		err := j.note(t.Context(), c.from, c.to, time.Time{})
		if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "overlaps") {
			t.Errorf("%d to %d: %v", c.from, c.to, err)
		}
	}
}
