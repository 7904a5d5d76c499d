package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

const (
	sourceName  = "rollout"
	waveRecords = 250
	waveBytes   = 1 << 20
	// epochBits leaves room for so many records of one epoch: a trillion.
	epochBits = 40
)

// appender appends records to the partitions' logs in waves, at a bounded rate.
type appender struct {
	r       *Runner
	wave    *bus.Wave
	ordinal uint64
	after   map[int]uint64 // by partition: the ordinal before in this wave
	records int
	bytes   int
	due     time.Time // when the next wave may begin
}

func newAppender(r *Runner, epoch uint64) (*appender, error) {
	wave, err := bus.NewWave(r.config.JetStream.Conn())
	if err != nil {
		return nil, err
	}
	return &appender{r: r, wave: wave, ordinal: epoch << epochBits, after: map[int]uint64{}}, nil
}

// add appends a prepare record for one customer.
func (a *appender) add(ctx context.Context, profile string, b pipeline.Preparation) error {
	properties, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", profile, err)
	}
	if a.records == 0 {
		if err := a.pace(ctx); err != nil {
			return err
		}
	}
	partition := topology.Partition(profile, a.r.config.Partitions)
	a.ordinal++
	now := event.At(time.Now())
	e := event.Event{
		ID: fmt.Sprintf("prepare-%d-%d", b.Staged, a.ordinal), Type: event.Prepare, Profile: profile, Occurred: now, Accepted: now,
		Properties: properties, Source: event.Source{Name: sourceName, Ordinal: a.ordinal, After: a.after[partition]},
	}
	data, err := e.Encode()
	if err != nil {
		return err
	}
	a.after[partition] = a.ordinal
	if _, err := a.wave.Publish(&nats.Msg{Subject: topology.Subject(topology.Events, partition), Data: data}); err != nil {
		return err
	}
	a.records, a.bytes = a.records+1, a.bytes+len(data)
	if a.records >= waveRecords || a.bytes >= waveBytes {
		return a.flush(ctx)
	}
	return nil
}

// pace waits until the next wave may begin: by the rate, and while the log is full.
func (a *appender) pace(ctx context.Context) error {
	if err := a.r.config.Throttle.Wait(ctx); err != nil {
		return err
	}
	if wait := time.Until(a.due); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// flush waits until all is stored.
func (a *appender) flush(ctx context.Context) error {
	if a.records == 0 {
		return nil
	}
	a.due = time.Now().Add(time.Duration(a.records) * time.Second / time.Duration(a.r.config.Rate))
	a.records, a.bytes = 0, 0
	clear(a.after)
	if _, err := a.wave.Wait(ctx); err != nil {
		return fmt.Errorf("append prepare records: %w", err)
	}
	return nil
}

func (a *appender) close() { a.wave.Close() }
