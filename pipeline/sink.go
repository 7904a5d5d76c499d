package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// Sink takes the facts of the commits somewhere else. Write stores a batch so that the same batch written
// again, after an error or a crash, changes nothing; it blocks while the outside system is away. One goroutine
// calls it; who made it closes it.
type Sink interface {
	Write(ctx context.Context, b SinkBatch) error
}

// SinkBatch is a closed range of the commits' stream: the same range always holds the same facts.
type SinkBatch struct {
	Stream   string // its name and when it was created: a stream made anew is another one
	From, To uint64 // sequences in the stream, both included
	Parts    []SinkPart
	// Courtesy has whoever writes the batch give way to decisions.
	Courtesy *Courtesy

	last bus.Delivery // acknowledges the range
	full bool         // it was closed by its size: more is waiting
}

// SinkPart is one commit of the range.
type SinkPart struct {
	Partition int
	Sequence  uint64 // of the commit
	Facts     Facts
	Profiles  []*profile.Profile // as they were after the commit, of those that no later commit of the range holds
}

// SinkConfig says how commits are batched.
type SinkConfig struct {
	JetStream jetstream.JetStream
	Name      string // the durable consumer's
	Sink      Sink
	// Rows and Interval close a batch, whichever comes first: so many rows, or so long after the batch before it; after a
	// pause, a tenth of that after its first commit. Defaults 100,000 and 1 s.
	Rows     int
	Interval time.Duration
	// Owner says when this process is the one that reads, by the sink's name; nil: always.
	Owner bus.Owner
	Log   *slog.Logger

	faults faults // tests only
}

// maxSinkBytes closes a batch of large commits, so that memory stays bounded.
const maxSinkBytes = 32 << 20

// SinkReader reads the commits in order and hands closed ranges to a sink. The range is journalled before it
// is written, so that a crash in between repeats the very same batch.
type SinkReader struct {
	config  SinkConfig
	commits *CommitCodec

	mu  sync.Mutex
	err error
}

// NewSinkReader prepares the reader.
func NewSinkReader(config SinkConfig) (*SinkReader, error) {
	if config.Rows == 0 {
		config.Rows = 100_000
	}
	if config.Interval == 0 {
		config.Interval = time.Second
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	commits, err := NewCommitCodec()
	if err != nil {
		return nil, err
	}
	return &SinkReader{config: config, commits: commits}, nil
}

// Err is why the sink stands still; nil while it works. It is safe for concurrent use.
func (r *SinkReader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *SinkReader) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// Run reads while it is this process's part, until ctx ends, beginning again after a pause when something fails.
func (r *SinkReader) Run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		held, release, err := bus.Own(ctx, r.config.Owner, r.config.Name)
		began := time.Now()
		if err == nil {
			err = r.read(held)
			release()
			if ctx.Err() == nil && held.Err() != nil {
				r.config.Log.Debug("sink let go", "sink", r.config.Name, "cause", context.Cause(held))
				r.failed(nil)
				pause.Reset()
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause.Reset()
		}
		r.failed(err)
		wait := pause.NextBackOff()
		r.config.Log.Warn("sink stopped, beginning again", "sink", r.config.Name, "error", err, "pause", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// journal is the range that was about to be written.
type journal struct {
	Stream string `json:"stream"` // as in SinkBatch
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
}

func (r *SinkReader) read(ctx context.Context) error {
	js := r.config.JetStream
	journals, err := js.KeyValue(ctx, topology.Journal)
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", topology.Journal, err)
	}
	stream, err := js.Stream(ctx, topology.Commits)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.Commits, err)
	}
	identity := topology.Commits + "@" + stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
	open, revision, err := r.openRange(ctx, journals, identity)
	if err != nil {
		return err
	}
	from, err := r.resume(ctx, stream, open)
	if err != nil {
		return err
	}
	puller, err := bus.OpenConsumer(ctx, js, bus.Consumer{
		Stream: topology.Commits, Subject: topology.Commits + ".*", Durable: r.config.Name, From: from, Batch: 64,
	})
	if err != nil {
		return err
	}
	defer puller.Close()
	var closed time.Time // the batch before
	var behind bool
	for {
		b := SinkBatch{Stream: identity}
		if !behind {
			b.Courtesy = NewCourtesy(r.config.Interval / 2)
		}
		if err := r.collect(ctx, &b, puller, open, closed.Add(r.config.Interval)); err != nil {
			return err
		}
		closed, behind = time.Now(), b.full
		if err := r.config.faults.at(rangeCollected); err != nil {
			return err
		}
		if b.To > open.To {
			open = journal{Stream: identity, From: b.From, To: b.To}
			if revision, err = r.note(ctx, journals, open, revision); err != nil {
				return err
			}
		}
		if err := r.config.faults.at(rangeJournalled); err != nil {
			return err
		}
		if err := r.config.Sink.Write(ctx, b); err != nil {
			return fmt.Errorf("write commits %d to %d: %w", b.From, b.To, err)
		}
		r.failed(nil)
		if err := r.config.faults.at(rangeWritten); err != nil {
			return err
		}
		if err := puller.Ack(b.last); err != nil {
			return err
		}
		if err := r.config.faults.at(rangeAcked); err != nil {
			return err
		}
	}
}

// openRange reads the journal: the range that was about to be written last.
func (r *SinkReader) openRange(ctx context.Context, journals jetstream.KeyValue, identity string) (open journal, revision uint64, err error) {
	entry, err := journals.Get(ctx, r.config.Name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return open, 0, nil
	}
	if err != nil {
		return open, 0, fmt.Errorf("read journal: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &open); err != nil {
		return open, 0, fmt.Errorf("read journal: %w", err)
	}
	if open.Stream != identity {
		open = journal{} // of a stream that is gone
	}
	return open, entry.Revision(), nil
}

// note journals a range, unless another reader has journalled one meanwhile: two readers never close ranges
// that overlap.
func (r *SinkReader) note(ctx context.Context, journals jetstream.KeyValue, open journal, revision uint64) (uint64, error) {
	data, err := json.Marshal(open)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		revision, err = journals.Create(ctx, r.config.Name, data)
	} else {
		revision, err = journals.Update(ctx, r.config.Name, data, revision)
	}
	if err != nil {
		return 0, fmt.Errorf("journal %d to %d: %w", open.From, open.To, err)
	}
	return revision, nil
}

// resume is where to read on; 0: after what was acknowledged. A journalled range is written again unless it is
// known to be acknowledged. An acknowledgement can get lost; but whoever journalled a range had written all
// before it, so reading never begins before the range.
func (r *SinkReader) resume(ctx context.Context, stream jetstream.Stream, open journal) (uint64, error) {
	if open.To == 0 {
		return 0, nil
	}
	consumer, err := stream.Consumer(ctx, r.config.Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return 0, fmt.Errorf("look up consumer %s: %w", r.config.Name, err)
	}
	if err == nil && consumer.CachedInfo().AckFloor.Stream >= open.To {
		return 0, nil
	}
	// The leader is asked: a replica that lags may not have it yet.
	leader, err := r.config.JetStream.Conn().JetStream()
	if err != nil {
		return 0, fmt.Errorf("look up commit %d: %w", open.To, err)
	}
	_, err = leader.GetMsg(topology.Commits, open.To, nats.Context(ctx))
	if errors.Is(err, nats.ErrMsgNotFound) {
		return open.To + 1, nil // only what is acknowledged is ever purged
	}
	if err != nil {
		return 0, fmt.Errorf("look up commit %d: %w", open.To, err)
	}
	return open.From, nil
}

// collect reads commits into the batch until it is full or its time is up, which is not before the given instant. A
// journalled range that was not acknowledged is closed exactly where it was before.
func (r *SinkReader) collect(ctx context.Context, b *SinkBatch, puller *bus.Puller, open journal, earliest time.Time) error {
	rows, size := 0, 0
	var states [][]ProfileState
	var deadline time.Time
	for {
		got, err := next(ctx, puller, deadline)
		if err != nil {
			return err
		}
		if got == nil {
			return b.close(states) // its time is up
		}
		b.Courtesy.Yield()
		b.last = *got
		part, profiles, err := r.part(b.last)
		if err != nil {
			return err
		}
		if len(b.Parts) > 0 && b.From <= open.To && part.Sequence > open.To {
			return fmt.Errorf("commits %d to %d were acknowledged while they were read again: another reader is at work", open.From, open.To)
		}
		if len(b.Parts) == 0 {
			b.From = open.From
			if part.Sequence > open.To { // a range that is repeated closes at its end, not by time
				b.From, deadline = part.Sequence, time.Now().Add(r.config.Interval/10)
				if deadline.Before(earliest) {
					deadline = earliest
				}
			}
		}
		b.Parts, b.To = append(b.Parts, part), part.Sequence
		states = append(states, profiles)
		rows += len(part.Facts.Events) + len(part.Facts.Changes) + len(part.Facts.Decisions) + len(profiles)
		size += len(b.last.Data)
		b.full = part.Sequence > open.To && (rows >= r.config.Rows || size >= maxSinkBytes)
		if b.full {
			b.Courtesy = nil
		}
		if b.full || part.Sequence == open.To {
			return b.close(states)
		}
	}
}

// close decodes the last state of each profile in the range, given those of each commit.
func (b *SinkBatch) close(states [][]ProfileState) error {
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

// next reads one commit; nil when the deadline, if there is one, passes before it comes.
func next(ctx context.Context, puller *bus.Puller, deadline time.Time) (*bus.Delivery, error) {
	wait := ctx
	if !deadline.IsZero() {
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	got, err := puller.Next(wait, 1)
	switch {
	case err == nil:
		return &got[0], nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil, nil
	}
	return nil, err
}

// part reads one commit, but for its profiles.
func (r *SinkReader) part(d bus.Delivery) (SinkPart, []ProfileState, error) {
	partition, err := topology.PartitionOf(d.Subject)
	if err != nil {
		return SinkPart{}, nil, err
	}
	commit, err := r.commits.Decode(d.Data)
	if err != nil {
		return SinkPart{}, nil, err
	}
	part := SinkPart{Partition: partition, Sequence: d.Sequence}
	if part.Facts, err = r.commits.Facts(commit); err != nil {
		return SinkPart{}, nil, err
	}
	return part, commit.Profiles, nil
}
