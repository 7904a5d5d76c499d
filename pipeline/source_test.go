package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
)

func TestSourceSessionNumbersItsRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	wave, err := bus.NewWave(r.js.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s := pipeline.NewSourceSession("raw.3", wave)
	defer s.Close()
	acknowledged := 0
	for _, step := range []struct {
		partition      int
		ordinal, after uint64
		commits        bool
	}{
		{partition: 0, ordinal: 5},
		{partition: 0, ordinal: 9, after: 5},
		{partition: 0, ordinal: 9, after: 5}, // handed over again
		{partition: 1, ordinal: 10},          // each partition has its own chain
		{partition: 0, ordinal: 12, after: 9},
		{commits: true},
		{partition: 0, ordinal: 13}, // of the next batch
		{partition: 1, ordinal: 14},
		{partition: 1, ordinal: 20, after: 14},
	} {
		if step.commits {
			if err := s.Commit(t.Context(), 12, func() error { acknowledged++; return nil }); err != nil || acknowledged != 1 {
				t.Fatalf("commit: %v, acknowledged %d times", err, acknowledged)
			}
			continue
		}
		want := event.Source{Name: "raw.3", Ordinal: step.ordinal, After: step.after}
		if diff := cmp.Diff(want, s.Source(step.partition, step.ordinal)); diff != "" {
			t.Errorf("partition %d: %s", step.partition, diff)
		}
	}
}
