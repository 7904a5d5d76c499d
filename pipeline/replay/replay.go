package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// ErrAged is returned when records that the replay would have to begin with are not in the log any more.
var ErrAged = errors.New("the beginning of the log has aged out")

// Config is what a replay needs.
type Config struct {
	JetStream jetstream.JetStream
	// Load makes the chain for what is in force, as for pipeline.Customer.
	Load func(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error)
	// Verify compares with what was recorded; without it the facts are only counted and hashed.
	Verify bool
	// Progress, if it is not nil, is told the position of each batch and the one to reach.
	Progress func(partition int, position, end uint64)
}

// Replayer replays partitions. It is safe for concurrent use on different partitions.
type Replayer struct {
	config  Config
	commits *pipeline.CommitCodec
}

// New prepares a replay over the caller's connection.
func New(config Config) (*Replayer, error) {
	commits, err := pipeline.NewCommitCodec()
	if err != nil {
		return nil, err
	}
	return &Replayer{config: config, commits: commits}, nil
}

// Partition replays one partition up to its newest commit, from a state of it or, where that is nil, from the
// start, and returns the state there. The given state must not be used any more. A difference is no error: the
// report has it. The error wraps ErrAged when the log does not reach back far enough.
func (r *Replayer) Partition(ctx context.Context, partition int, from *State) (*Report, *State, error) {
	report, state, err := r.partition(ctx, partition, from)
	if err != nil {
		return nil, nil, fmt.Errorf("replay partition %d: %w", partition, err)
	}
	return report, state, nil
}

func (r *Replayer) partition(ctx context.Context, partition int, from *State) (*Report, *State, error) {
	if from == nil {
		from = newState(partition)
	}
	end, err := r.newest(ctx, partition)
	if err != nil {
		return nil, nil, err
	}
	if end.position < from.Position {
		return nil, nil, fmt.Errorf("its newest commit stands at position %d, before the snapshot's %d: the snapshot is of other streams", end.position, from.Position)
	}
	read, err := r.reaches(ctx, from, end.position)
	if err != nil {
		return nil, nil, err
	}
	m, err := newMachine(ctx, r.config, r.commits, from)
	if err != nil {
		return nil, nil, err
	}
	c := newComparison(r.commits, from)
	if r.config.Verify {
		if c.recorded, err = openRecorded(ctx, r.config.JetStream, r.commits, from); err != nil {
			return nil, nil, err
		}
	}
	if err := r.run(ctx, m, c, end.position); err != nil {
		return nil, nil, err
	}
	if err := c.finish(ctx, end); err != nil {
		return nil, nil, err
	}
	m.state.Position, m.state.Read = end.position, max(end.position, read)
	c.leave(m.state)
	return &c.report, m.state, nil
}

// newest is the anchor of the partition's newest commit; zero when there is none yet.
func (r *Replayer) newest(ctx context.Context, partition int) (anchor, error) {
	data, sequence, err := bus.LastMessageAtLeader(ctx, r.config.JetStream.Conn(), topology.Commits, topology.Subject(topology.Commits, partition))
	if err != nil {
		return anchor{}, fmt.Errorf("read the newest commit: %w", err)
	}
	if sequence == 0 {
		return anchor{}, nil
	}
	commit, err := r.commits.Decode(data)
	if err != nil {
		return anchor{}, fmt.Errorf("read the newest commit: %w", err)
	}
	return anchor{commit.Position, commit.Hash}, nil
}

// reaches makes sure that the log has not lost what comes after a state to age. It returns the sequence up to
// which the partition has no record after end; 0 when it has some.
func (r *Replayer) reaches(ctx context.Context, from *State, end uint64) (read uint64, err error) {
	stream, err := r.config.JetStream.Stream(ctx, topology.Events) // before the partition's last record is looked up
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", topology.Events, err)
	}
	info := stream.CachedInfo()
	last, err := bus.LastAtLeader(ctx, r.config.JetStream.Conn(), topology.Events, topology.Subject(topology.Events, from.Partition))
	if err != nil {
		return 0, fmt.Errorf("look up the partition's last record: %w", err)
	}
	if last <= end {
		read = info.State.LastSeq
	}
	if end <= max(from.Position, from.Read) || info.State.FirstSeq <= max(from.Position, from.Read)+1 {
		return read, nil
	}
	age := info.Config.MaxAge
	if age == 0 || time.Since(info.Created) < age {
		return read, nil // whatever is missing was taken out on purpose
	}
	if from.Position == 0 {
		return 0, fmt.Errorf("%w: it now begins at position %d, and is kept for %s (events_age): "+
			"give a snapshot that was made before then (--from FILE), and make one regularly from now on (attune replay --snapshot FILE)",
			ErrAged, info.State.FirstSeq, age)
	}
	return 0, fmt.Errorf("%w: it now begins at position %d, and the snapshot ends at %d: give a newer one, and make one more often than every %s (events_age)",
		ErrAged, info.State.FirstSeq, from.Position, age)
}

// run applies the records up to the end.
func (r *Replayer) run(ctx context.Context, m *machine, c *comparison, end uint64) error {
	log := newLogReader(r.config.JetStream, m.state.Partition, max(m.state.Position, m.state.Read), end)
	defer log.close()
	for {
		batch, err := log.batch(ctx)
		if err != nil {
			return err
		}
		if batch == nil {
			return nil
		}
		for _, d := range batch {
			if err := r.one(ctx, m, c, d); err != nil {
				return fmt.Errorf("position %d: %w", d.Sequence, err)
			}
		}
		m.settle()
		if r.config.Progress != nil {
			r.config.Progress(m.state.Partition, m.state.Position, end)
		}
	}
}

func (r *Replayer) one(ctx context.Context, m *machine, c *comparison, d bus.Delivery) error {
	if err := c.reach(ctx, d.Sequence); err != nil {
		return err
	}
	o, err := m.apply(ctx, d, c.was != nil && c.report.Missing > 0)
	if err != nil {
		return err
	}
	return c.compare(d.Sequence, &o)
}

// same tells whether a record's facts are what was recorded.
func (x record) same(facts pipeline.RecordFacts) bool {
	return !x.torn && x.sum == pipeline.Checksum(facts) && (x.data == nil || bytes.Equal(x.data, facts.Data))
}
