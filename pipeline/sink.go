package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

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
	Stream   string // its name and when it was created: a stream made anew is another one, as is one that has lost its end
	From, To uint64 // sequences in the stream, both included
	Parts    []SinkPart
	// Courtesy has whoever writes the batch give way to decisions.
	Courtesy *Courtesy
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
	// Rows and Interval close a batch, whichever comes first: so many rows, or so long after the batch before it, once that
	// is written; after a pause, a full batch, or one that waited for longer than that, a tenth of that after its first commit.
	// One is collected while another is written, so there may be twice as many rows in memory. Defaults 100,000 and 1 s.
	Rows     int
	Interval time.Duration
	// Owner says when this process is the one that reads, by the sink's name; nil: always.
	Owner bus.Owner
	Log   *slog.Logger

	faults faults // tests only
}

// SinkReader reads the commits in order and hands closed ranges to a sink, and collects the next one meanwhile. The range
// is journalled before it is written, and after all before it were, so that a crash in between repeats the very same batch.
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

// reads notes that commits are read again. What was not written may still not be.
func (r *SinkReader) reads() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !errors.Is(r.err, errNotWritten) {
		r.err = nil
	}
}

// errNotWritten begins the error of a batch that the sink did not take.
var errNotWritten = errors.New("write commits")

// Run reads while it is this process's part, until ctx ends, beginning again after a pause when something fails.
func (r *SinkReader) Run(ctx context.Context) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		held, release, err := bus.Own(ctx, r.config.Owner, r.config.Name)
		began := time.Now()
		if err == nil {
			err = r.read(held)
			lost := context.Cause(held) // before release, which ends it too
			release()
			if ctx.Err() == nil && lost != nil {
				r.config.Log.Debug("sink let go", "sink", r.config.Name, "cause", lost)
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

func (r *SinkReader) read(ctx context.Context) error {
	js := r.config.JetStream
	stream, err := bus.LookUpStream(ctx, js, topology.Commits)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.Commits, err)
	}
	journal, err := openJournal(ctx, js, r.config.Name, stream)
	if err != nil {
		return err
	}
	consumer := bus.Consumer{ // of all partitions, so more at a time than one of them brings
		Stream: topology.Commits, Subject: topology.Commits + ".*", Durable: r.config.Name, Batch: 64, BatchBytes: 2 << 20, Volatile: true,
	}
	acknowledged, err := consumer.Acknowledged(ctx, js)
	if err != nil {
		return err
	}
	lost := journal.open
	if consumer.From, err = journal.resume(ctx, js, acknowledged); err != nil {
		return err
	}
	if journal.open.Lost > lost.Lost {
		r.config.Log.Error("the broker has lost commits that were written already, as by a power cut: going on with what it has stored since",
			"sink", r.config.Name, "written_up_to", lost.To, "from", consumer.From)
	}
	puller, err := bus.OpenConsumer(ctx, js, consumer)
	if err != nil {
		return err
	}
	defer puller.Close()
	r.reads()
	work, ctx := errgroup.WithContext(ctx)
	closed := make(chan *collected)
	c := collector{config: &r.config, commits: r.commits, puller: puller, stream: journal.batches(), open: journal.open}
	work.Go(func() error { return c.run(ctx, closed) })
	work.Go(func() error { return r.write(ctx, closed, journal, puller) })
	return work.Wait()
}

// write has the sink write one batch after another, and acknowledges each.
func (r *SinkReader) write(ctx context.Context, closed <-chan *collected, journal *journal, puller *bus.Puller) error {
	for {
		select {
		case b := <-closed:
			if err := r.writeOne(ctx, journal, b); err != nil {
				return err
			}
			if err := puller.Ack(b.last); err != nil {
				return err
			}
			if err := r.config.faults.at(rangeAcked); err != nil {
				return err
			}
			b.written()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writeOne journals a batch before the sink has it.
func (r *SinkReader) writeOne(ctx context.Context, journal *journal, b *collected) error {
	if err := journal.note(ctx, b.From, b.To, b.last.Stored); err != nil {
		return err
	}
	if err := r.config.faults.at(rangeJournalled); err != nil {
		return err
	}
	if err := r.config.Sink.Write(ctx, b.SinkBatch); err != nil {
		return fmt.Errorf("%w %d to %d: %w", errNotWritten, b.From, b.To, err)
	}
	r.failed(nil)
	return r.config.faults.at(rangeWritten)
}
