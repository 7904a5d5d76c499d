package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// Phase is how far a rollout is.
type Phase string

// In this order.
const (
	Reading   Phase = "reading"   // the log, for what rules look back at
	Preparing Phase = "preparing" // every customer
	Switching Phase = "switching" // the definitions come into force
	Settling  Phase = "settling"  // they are in force; customers who are in another segment now are told
	Done      Phase = "done"
)

// Progress tells how far the newest rollout is, for people. It is written about once a second.
type Progress struct {
	Version uint64 `json:"version"` // the staged version
	Phase   Phase  `json:"phase"`
	// Done and Total are records of the log while it is read, then customers. Total may grow.
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
	// Prepared is how many customers were given a record so far, and Told how many of them because of another segment.
	Prepared uint64    `json:"prepared"`
	Told     uint64    `json:"told"`
	Began    time.Time `json:"began"`
	Updated  time.Time `json:"updated"`
	// Epoch rises with each worker that takes over.
	Epoch uint64 `json:"epoch"`
	// Read is the position up to which the log has been read back, and ReadTo the one up to which it has to be.
	Read   uint64 `json:"read,omitempty"`
	ReadTo uint64 `json:"read_to,omitempty"`
	// Older tells that what the log has lost to age is being asked for, where it is kept.
	Older bool `json:"older,omitempty"`
	// Failure is what has stopped the rollout, which is tried again; empty: it goes on.
	Failure string `json:"failure,omitempty"`
	// Failing is since when it has come no further; zero: it goes on.
	Failing time.Time `json:"failing,omitzero"`
}

// progressKey is beside the control records'.
const progressKey = "rollout"

// Look reads the progress of the newest rollout; zero: there was none.
func Look(ctx context.Context, js jetstream.JetStream) (Progress, error) {
	p, _, err := look(ctx, js)
	return p, err
}

func look(ctx context.Context, js jetstream.JetStream) (p Progress, revision uint64, err error) {
	bucket, err := js.KeyValue(ctx, topology.Controls)
	if err != nil {
		return p, 0, fmt.Errorf("open bucket %s: %w", topology.Controls, err)
	}
	entry, err := bucket.Get(ctx, progressKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return p, 0, nil
	}
	if err != nil {
		return p, 0, fmt.Errorf("read the rollout's progress: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &p); err != nil {
		return p, 0, fmt.Errorf("read the rollout's progress: %w", err)
	}
	return p, entry.Revision(), nil
}

// note writes the progress, unless another worker has begun: then this one must end.
func (d *drive) note(ctx context.Context) error {
	d.progress.Updated = time.Now().UTC()
	data, err := json.Marshal(d.progress)
	if err != nil {
		return err
	}
	bucket, err := d.r.config.JetStream.KeyValue(ctx, topology.Controls)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", topology.Controls, err)
	}
	if d.revision == 0 {
		d.revision, err = bucket.Create(ctx, progressKey, data)
	} else {
		d.revision, err = bucket.Update(ctx, progressKey, data, d.revision)
	}
	if err != nil {
		return fmt.Errorf("note the rollout's progress: %w", err)
	}
	d.noted = time.Now()
	return nil
}

// failed notes what has stopped the rollout. Where that can't be noted, whoever works next knows it sooner.
func (d *drive) failed(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil || errors.Is(err, errSuperseded) {
		return
	}
	d.progress.Failure = err.Error()
	if d.progress.Failing.IsZero() {
		d.progress.Failing = time.Now().UTC()
	}
	_ = d.note(ctx)
}

// goesOn notes that it goes on.
func (d *drive) goesOn() { d.progress.Failure, d.progress.Failing = "", time.Time{} }

// noteEvery is how often progress is written, and whether something newer is staged is looked at.
const noteEvery = time.Second

// goOn notes the progress from time to time. Its error is errSuperseded when other definitions are staged.
func (d *drive) goOn(ctx context.Context) error {
	if time.Since(d.noted) < noteEvery {
		return nil
	}
	d.goesOn()
	if err := d.note(ctx); err != nil {
		return err
	}
	return d.current(ctx)
}
