package pipeline_test

import (
	"testing"

	"attune/pipeline/topology"
)

// A partition was idle for so long that its last trail aged out: the next one is stored all the same, and its commits go.
func TestTrailGoesOnAfterTheLastOneAgedOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	stop := r.work(100)
	defer stop()
	stream, err := r.js.Stream(t.Context(), topology.Trails)
	if err != nil {
		t.Fatal(err)
	}
	trails := func() uint64 {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	}
	for round := range uint64(2) {
		for i := range uint64(5) {
			ordinal := 5*round + i + 1
			r.append(ordinal, ordinal-1, "p", "view")
			r.waitPosition(ordinal)
		}
		eventually(t, "the trail is stored", func() bool { return trails() > 0 })
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
