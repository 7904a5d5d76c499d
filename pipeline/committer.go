package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
)

// committer stores the commits of one partition, one in flight at a time, each only if the one before it is
// still the last: a former owner's commit fails there, and so does ours once someone else has claimed.
type committer struct {
	c       *Customer
	subject string
	cache   *cache
	tracer  *tracer
	wave    *bus.Wave
	units   chan unit
	failing chan struct{} // closed at the first failure
	heavy   chan struct{} // holds one when the commits since the last round of folding have grown large
	used    chan buffers  // of commits that are stored

	mu     sync.Mutex
	last   uint64 // sequence of the newest stored commit
	mark   uint64 // that it states
	work   uint64 // sequence of the newest stored commit that states more than a mark
	bytes  int64  // stored since the last round of folding
	err    error
	closed bool
}

// unit is one encoded commit; without data there is nothing to store, only to acknowledge after what was before, and
// without ack it states a mark and nothing else.
type unit struct {
	commit *Commit // its maps have moved on
	data   []byte
	dirty  []*entry
	ack    func() error
	oldest event.Instant
}

func (c *committer) start(wave *bus.Wave) {
	c.wave = wave
	c.units = make(chan unit)
	c.failing = make(chan struct{})
	c.heavy = make(chan struct{}, 1)
	c.used = make(chan buffers, 2) // one commit is stored, one is being made
}

// buffers are what a commit was made in: empty, they serve another one.
type buffers struct{ facts, data []byte }

// maxBuffer is the largest one that is used again: no partition holds more than what its commits mostly need.
const maxBuffer = 1 << 20

// reuse returns the buffers of a commit that is stored, if there are any.
func (c *committer) reuse() buffers {
	select {
	case b := <-c.used:
		return b
	default:
		return buffers{}
	}
}

// leave gives the buffers of a stored commit to another one: nobody reads them any more.
func (c *committer) leave(u unit) {
	if cap(u.commit.Facts) > maxBuffer || cap(u.data) > maxBuffer {
		return
	}
	select {
	case c.used <- buffers{u.commit.Facts[:0], u.data[:0]}:
	default:
	}
}

// submit waits until the commit before this one is stored, then lets it go. Its error is the session's end.
func (c *committer) submit(ctx context.Context, u unit) error {
	select {
	case c.units <- u:
		return nil
	case <-c.failing:
		return c.failed()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// finish ends the committer once the commit under way is stored.
func (c *committer) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.units)
	}
}

func (c *committer) run(ctx context.Context) {
	defer c.wave.Close()
	for u := range c.units {
		if err := c.store(ctx, u); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *committer) store(ctx context.Context, u unit) error {
	if u.data == nil {
		return u.ack()
	}
	sequence, err := c.publish(ctx, u.data)
	if err != nil {
		return err
	}
	if err := c.c.config.faults.at(commitStored); err != nil {
		return err
	}
	c.cache.committed(u.dirty, u.commit.Profiles, sequence)
	if err := c.tracer.stored(sequence, u.commit); err != nil {
		return err
	}
	// Only now: whoever sees the sequence must see its profiles as not folded, or a mark would pass them, and its trail as
	// not stored, or it would be purged.
	c.stored(sequence, &u)
	c.c.metrics.commits.Inc()
	c.c.metrics.bytes.Add(float64(len(u.data)))
	if u.oldest != 0 {
		c.c.metrics.commitAge.Observe(time.Since(u.oldest.Time()).Seconds())
	}
	if err := c.c.config.faults.at(commitNoted); err != nil {
		return err
	}
	if u.ack == nil {
		return nil
	}
	c.leave(u)
	if err := u.ack(); err != nil {
		return err
	}
	return c.c.config.faults.at(inputAcked)
}

func (c *committer) publish(ctx context.Context, data []byte) (uint64, error) {
	if limit := c.c.conn.MaxPayload(); int64(len(data)) > limit {
		return 0, fmt.Errorf("commit to %s: %d bytes are more than the broker's max_payload of %d: raise it", c.subject, len(data), limit)
	}
	_, err := c.wave.Publish(&nats.Msg{Subject: c.subject, Data: data, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(c.confirmed(), 10)},
	}})
	if err != nil {
		return 0, err
	}
	if err := c.c.config.faults.at(commitSent); err != nil {
		return 0, err
	}
	acks, err := c.wave.Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("commit to %s: %w", c.subject, err)
	}
	return acks[0].Sequence, nil
}

func (c *committer) stored(sequence uint64, u *unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.mark = sequence, u.commit.Mark
	if u.ack != nil {
		c.work = sequence
	}
	if c.bytes += int64(len(u.data)); c.bytes >= c.c.config.FoldBytes {
		c.hurry()
	}
}

// worked is the sequence of the newest stored commit that states more than a mark.
func (c *committer) worked() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.work
}

// lighten begins a round of folding, and returns the newest stored commit.
func (c *committer) lighten() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = 0
	return c.last
}

// confirmed is the sequence of the newest stored commit.
func (c *committer) confirmed() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// stated is the mark of the newest stored commit: whoever takes over reads what is above it.
func (c *committer) stated() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mark
}

func (c *committer) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *committer) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.failing)
	}
}
