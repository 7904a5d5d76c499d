package replay_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
)

// A snapshot and the rest are the whole, also when what came before it has aged out.
func TestReplayGoesOnFromASnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *topology.Config) { c.EventsAge = time.Hour })
	store, err := control.Open(t.Context(), r.js, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Apply(t.Context(), pipeline.KindDefinitions, []byte("one"), time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	r.run(500, 1, nil)
	first, state := r.replay(nil)
	if !first.Equal() {
		t.Fatalf("report %+v", first)
	}
	kept := save(t, r.js, state)
	if _, _, err := store.Apply(t.Context(), pipeline.KindDefinitions, []byte("two"), time.UnixMilli(2)); err != nil {
		t.Fatal(err)
	}
	r.run(500, 1, nil)
	whole := r.equal()
	for _, purged := range []bool{false, true} {
		if purged {
			r.purge() // adds records
			whole = r.equal()
		}
		rest, after := r.replay(open(t, r.js, kept))
		if !rest.Equal() || rest.Hash != whole.Hash || rest.Facts+first.Facts != whole.Facts || rest.Records+first.Records != whole.Records || rest.Unknown+rest.Missing != 0 {
			t.Errorf("purged %t: rest %+v, first %+v, whole %+v", purged, rest, first, whole)
		}
		_, end := r.replay(nil)
		if diff := cmp.Diff(end, after); diff != "" {
			t.Errorf("purged %t: states by one way and by two: %.2000s", purged, diff)
		}
	}
	// A tampered state is no secret either.
	spoiled := open(t, r.js, kept)
	delete(spoiled.Profiles, "p3")
	if report, _ := r.replay(spoiled); report.Equal() {
		t.Error("a snapshot that lacks a profile makes no difference")
	}
}

// Without the beginning of the log and without a snapshot there is nothing to compare, and it says what to do.
func TestReplayNeedsTheBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(100, 0, nil)
	_, state := r.replay(nil)
	info, err := r.stream(topology.Events).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	aged := info.Config
	aged.MaxAge = 100 * time.Millisecond
	aged.Duplicates = aged.MaxAge
	if _, err := r.js.UpdateStream(t.Context(), aged); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log has aged out", func() bool {
		info, err := r.stream(topology.Events).Info(t.Context())
		return err == nil && info.State.Msgs == 0
	})
	if report, _ := r.replay(state); !report.Equal() || report.Records != 0 {
		t.Errorf("nothing happened since the snapshot: %+v", report)
	}
	_, _, err = r.try(nil)
	if !errors.Is(err, replay.ErrAged) || !strings.Contains(err.Error(), "--from FILE") {
		t.Errorf("error %v", err)
	}
	aged.MaxAge = time.Minute // what comes now stays
	if _, err := r.js.UpdateStream(t.Context(), aged); err != nil {
		t.Fatal(err)
	}
	stop := r.work(nil)
	r.wait(r.flow(50))
	stop()
	if report, _ := r.replay(state); !report.Equal() || report.Facts < 30 || report.Missing != 0 {
		t.Errorf("from the snapshot: %+v, first %+v", report, report.First)
	}
}

// The commits are purged in the middle of a replay, which has compared with them so far and had no trail yet: it
// goes on with the trail, whose beginning tells of what has passed.
func TestReplayOutlivesAPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(900, 5, nil) // each worker ends with a trail of its own
	trails := r.stream(topology.Trails)
	var kept [][]byte
	for sequence := uint64(1); sequence <= 6; sequence++ {
		m, err := trails.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m.Data)
	}
	if err := trails.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	purge := sync.OnceFunc(func() {
		for _, data := range kept {
			r.put(topology.Subject(topology.Trails, 0), data)
		}
		r.purge()
	})
	replayer, err := replay.New(replay.Config{JetStream: r.js, Load: r.load, Verify: true, Progress: func(_ int, position, _ uint64) {
		if position > 400 {
			purge()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := replayer.Partition(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Equal() || report.Unknown+report.Missing != 0 || report.Hash != report.Recorded || report.Whole == 0 || report.Whole == report.Facts {
		t.Errorf("report %+v, first %+v", report, report.First)
	}
}
