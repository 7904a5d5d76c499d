package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"attune/pipeline/bus"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// maxSinkBytes closes a batch of large commits, so that memory stays bounded.
const maxSinkBytes = 32 << 20

// collector reads the commits in order and closes them into batches for a sink, one while the one before it is written.
// A journalled range that was not acknowledged is closed exactly where it was before.
type collector struct {
	config  *SinkConfig
	commits *CommitCodec
	puller  *bus.Puller
	stream  string     // as in SinkBatch
	open    journalled // when reading began
}

// collected is a batch on its way to the sink.
type collected struct {
	SinkBatch
	last    bus.Delivery // acknowledges the range
	closed  time.Time    // when it was
	full    bool         // by its size: more is waiting
	late    bool         // it waited for the one before, which took longer than the interval to be written
	written func()       // to be called then
}

// run hands on one batch after another until something goes wrong.
func (c *collector) run(ctx context.Context, out chan<- *collected) error {
	busy, written := context.WithCancel(ctx) // as long as the batch before is being written
	written()
	for before := new(collected); ; {
		b := &collected{SinkBatch: SinkBatch{Stream: c.stream}}
		if !before.full {
			b.Courtesy = NewCourtesy(c.config.Interval / 2)
		}
		if err := c.collect(ctx, busy, b, before); err != nil {
			return err
		}
		if err := c.config.faults.at(rangeCollected); err != nil {
			return err
		}
		busy, b.written = context.WithCancel(ctx)
		select {
		case out <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
		before = b
	}
}

// collect reads commits into the batch until it is full, or its time is up and nothing else is being written.
func (c *collector) collect(ctx, busy context.Context, b, before *collected) error {
	rows, size := 0, 0
	var states [][]ProfileState
	var due time.Time // zero: not by time
	for {
		got, waited, err := c.next(ctx, busy, due)
		if err != nil {
			return err
		}
		if got == nil {
			b.late = waited && time.Since(before.closed) > c.config.Interval
			return b.close(states)
		}
		runtime.Gosched() // a commit is short work, and what the courtesy has is for the rest, which comes all at once
		b.last = *got
		part, profiles, err := c.part(b.last)
		if err != nil {
			return err
		}
		repeated := part.Sequence <= c.open.To
		switch {
		case len(b.Parts) == 0 && repeated: // it closes at its end, not by time
			b.From = c.open.From
		case len(b.Parts) == 0:
			b.From, due = part.Sequence, c.due(before)
		case b.From <= c.open.To && !repeated:
			return fmt.Errorf("commits %d to %d were acknowledged while they were read again: another reader is at work", c.open.From, c.open.To)
		}
		b.Parts, b.To = append(b.Parts, part), part.Sequence
		states = append(states, profiles)
		rows += len(part.Facts.Events) + len(part.Facts.Changes) + len(part.Facts.Decisions) + len(profiles)
		size += len(b.last.Data)
		if b.full = !repeated && (rows >= c.config.Rows || size >= maxSinkBytes); b.full {
			b.Courtesy = nil
		}
		if b.full || part.Sequence == c.open.To {
			return b.close(states)
		}
	}
}

// due is when a batch that begins now is closed, if it isn't full before.
func (c *collector) due(before *collected) time.Time {
	soon, rested := time.Now().Add(c.config.Interval/10), before.closed.Add(c.config.Interval)
	if behind := before.full || before.late; behind || soon.After(rested) {
		return soon // where there is much to do, resting spares the sink nothing
	}
	return rested
}

// next reads one commit; nil when the batch is to be closed: it is due, and nothing else is being written, for which it may
// have waited.
func (c *collector) next(ctx, busy context.Context, due time.Time) (got *bus.Delivery, waited bool, err error) {
	if due.IsZero() {
		got, err = receive(ctx, ctx, c.puller)
		return got, false, err
	}
	until, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	if got, err = receive(ctx, until, c.puller); got != nil || err != nil || busy.Err() != nil {
		return got, false, err
	}
	got, err = receive(ctx, busy, c.puller)
	return got, true, err
}

// receive reads one commit; nil when the wait ends before it comes.
func receive(ctx, wait context.Context, puller *bus.Puller) (*bus.Delivery, error) {
	got, err := puller.Next(wait, 1)
	switch {
	case err == nil:
		return &got[0], nil
	case ctx.Err() == nil && wait.Err() != nil && errors.Is(err, wait.Err()):
		return nil, nil
	}
	return nil, err
}

// close ends the batch and decodes the last state of each profile in the range, given those of each commit.
func (b *collected) close(states [][]ProfileState) error {
	b.closed = time.Now()
	known := map[string]bool{}
	for i := len(states) - 1; i >= 0; i-- {
		part := &b.Parts[i]
		for _, s := range GivingWay(b.Courtesy, states[i], 1) {
			if known[s.ID] {
				continue
			}
			known[s.ID] = true
			p, err := profile.Decode(s.State)
			if err != nil {
				return fmt.Errorf("profile %s in commit %d: %w", s.ID, part.Sequence, err)
			}
			part.Profiles = append(part.Profiles, p)
		}
	}
	return nil
}

// part reads one commit, but for its profiles.
func (c *collector) part(d bus.Delivery) (SinkPart, []ProfileState, error) {
	partition, err := topology.PartitionOf(d.Subject)
	if err != nil {
		return SinkPart{}, nil, err
	}
	commit, err := c.commits.Decode(d.Data)
	if err != nil {
		return SinkPart{}, nil, err
	}
	part := SinkPart{Partition: partition, Sequence: d.Sequence}
	if part.Facts, err = c.commits.Facts(commit); err != nil {
		return SinkPart{}, nil, err
	}
	return part, commit.Profiles, nil
}
