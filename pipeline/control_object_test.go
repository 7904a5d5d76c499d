package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/topology"
)

// A control record closes the batch before it. Where its object is missing the partition waits, also over a
// new claim, and goes on when the object is there.
func TestCustomerWaitsForTheObjectOfAControlRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	store, err := control.Open(t.Context(), r.js, 1)
	if err != nil {
		t.Fatal(err)
	}
	object := []byte("definitions")
	for i := range uint64(9) {
		r.append(i+1, i, "p", "view") // the fifth flips
	}
	if _, changed, err := store.Apply(t.Context(), pipeline.KindDefinitions, object, time.UnixMilli(1)); err != nil || !changed {
		t.Fatalf("apply: %v, %v", changed, err)
	}
	for i := range uint64(9) {
		r.append(i+10, i+9, "p", "view")
	}
	kv, err := r.js.KeyValue(t.Context(), topology.Objects)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context(), control.Hash(object)); err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	edit := func(c *pipeline.CustomerConfig) {
		c.Load = func(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
			record := inForce[pipeline.KindDefinitions]
			if record.Version == 0 {
				return tallyChain(0), nil
			}
			if _, err := store.Object(ctx, record.Hash); err != nil {
				if errors.Is(err, control.ErrNoObject) {
					refused.Add(1)
				}
				return nil, err
			}
			return tallyChain(record.Version), nil
		}
	}
	for range 2 {
		stop, _ := r.worker(edit)
		r.waitPosition(9)
		refused.Store(0)
		eventually(t, "the object was asked for again and again", func() bool { return refused.Load() >= 3 })
		if c := r.lastCommit(); c.Position != 9 || len(c.Controls) != 0 {
			t.Errorf("without its object the partition stands at %d with %v in force", c.Position, c.Controls)
		}
		stop()
	}
	stop, _ := r.worker(edit)
	eventually(t, "the object was asked for", func() bool { return refused.Load() > 3 })
	if _, err := kv.Put(t.Context(), control.Hash(object), object); err != nil {
		t.Fatal(err)
	}
	r.waitPosition(19)
	stop()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	versions := map[uint64]uint64{}
	for _, c := range r.commits() {
		if inForce := c.Controls[pipeline.KindDefinitions].Version; (c.Position >= 10) != (inForce == 1) {
			t.Errorf("commit up to %d has version %d in force", c.Position, inForce)
		}
		facts, err := codec.Facts(c.Commit)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range facts.Changes {
			versions[change.Position] = change.Version
		}
	}
	if diff := cmp.Diff(map[uint64]uint64{5: 0, 11: 1, 16: 1}, versions); diff != "" { // the record itself is 10
		t.Errorf("flips by position, and their versions: %s", diff)
	}
	// Once in force, its loss keeps the next owner from claiming.
	if err := kv.Purge(t.Context(), control.Hash(object)); err != nil {
		t.Fatal(err)
	}
	before := r.lastCommit().Epoch
	refused.Store(0)
	stop, _ = r.worker(edit)
	eventually(t, "the object was asked for again and again", func() bool { return refused.Load() >= 3 })
	stop()
	if after := r.lastCommit().Epoch; after != before {
		t.Errorf("%d claims without being able to decide", after-before)
	}
}
