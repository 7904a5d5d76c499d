package pipeline

import (
	"slices"
	"testing"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

// Commits go when all partitions have told, up to the lowest of what they told; one that must not wait goes alone.
func TestPurgerTakesAllPartitionsTogether(t *testing.T) {
	t.Parallel()
	js := enginetest.JetStream(t)
	config := topology.DefaultConfig()
	config.Partitions = 2
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	fill := func() { // 1, 3, 5, … of partition 0 and 2, 4, 6, … of partition 1
		for i := range 10 {
			if _, err := js.Publish(t.Context(), topology.Subject(topology.Commits, i%2), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func() (sequences []uint64) {
		stream, err := js.Stream(t.Context(), topology.Commits)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(10) {
			if _, err := stream.GetMsg(t.Context(), i+1); err == nil {
				sequences = append(sequences, i+1)
			}
		}
		return sequences
	}
	p := &purger{js: js}
	fill()
	for _, step := range []struct {
		name      string
		partition int
		below     uint64
		alone     bool
		gone      uint64
		left      []uint64
	}{
		{"nobody heard of the other", 0, 3, false, 3, []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"the last takes all", 1, 2, false, 2, []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"the next time the first waits", 1, 6, false, 2, []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"all below the lowest", 0, 5, false, 5, []uint64{5, 6, 7, 8, 9, 10}},
		{"one must not wait", 1, 8, true, 8, []uint64{5, 7, 8, 9, 10}},
		{"what it told counts", 0, 7, false, 7, []uint64{7, 8, 9, 10}},
	} {
		gone, err := p.purge(t.Context(), step.partition, step.below, step.alone, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := left(); gone != step.gone || !slices.Equal(got, step.left) {
			t.Errorf("%s: below %d none is left, want %d; there are %v, want %v", step.name, gone, step.gone, got, step.left)
		}
	}
	// What was told of a stream that is gone says nothing of the next one of its name.
	if err := js.DeleteStream(t.Context(), topology.Commits); err != nil {
		t.Fatal(err)
	}
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	fill()
	if gone, err := p.purge(t.Context(), 1, 2, false, nil); err != nil || gone != 2 || len(left()) != 10 {
		t.Errorf("of a new stream %v are left, below %d none, %v", left(), gone, err)
	}
	if gone, err := p.purge(t.Context(), 1, 6, false, nil); err != nil || gone != 6 || !slices.Equal(left(), []uint64{1, 3, 5, 6, 7, 8, 9, 10}) {
		t.Errorf("of a new stream %v are left, below %d none, %v", left(), gone, err)
	}
}
