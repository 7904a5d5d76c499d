package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

const (
	// traceBytes close a trail; a commit's traces are not divided, and are always smaller than the commit.
	traceBytes = 16 << 10
	// traceRounds is how many rounds of folding a trail may wait for more; its commits are not purged before.
	traceRounds = 6
)

// tracer keeps the trail of a partition's commits. Its law: a commit that moved the position is purged only when
// its trail is stored. A trail says nothing that the stored commits don't, so whoever writes it, a former owner
// too, writes the truth; it is stored only after the one that it follows, and what that one tells of already
// is left out: so a repeat changes nothing. What an owner had not written yet, the next one reads from the commits.
type tracer struct {
	c       *Customer
	subject string
	number  int

	mu      sync.Mutex
	pending []traced // stored commits, in order, whose trail is not stored

	// Of the folder's goroutine.
	known  bool   // last and newest are the broker's
	last   uint64 // sequence of the last trail
	newest Trail
	behind uint64 // the commit up to which the trail may still have to be read from the commits: the claim
	rounds int    // how many rounds the oldest pending commit has waited
}

// traced is one commit's part of a trail.
type traced struct {
	commit    uint64
	after, to uint64 // positions
	traces    []Trace
	hash      []byte
}

func newTracer(c *Customer, partition int, claim uint64) *tracer {
	return &tracer{c: c, number: partition, subject: topology.Subject(topology.Trails, partition), behind: claim}
}

// newTraced reads a commit that is stored at the sequence.
func newTraced(sequence uint64, commit *Commit) (traced, error) {
	t := traced{commit: sequence, after: commit.After, to: commit.Position, hash: commit.Hash}
	for r, err := range Records(commit.Facts) {
		if err != nil {
			return t, fmt.Errorf("commit %d: %w", sequence, err)
		}
		t.traces = append(t.traces, Trace{Position: r.Position, Sum: Checksum(r)})
	}
	return t, nil
}

// stored takes a commit that was just stored.
func (t *tracer) stored(sequence uint64, commit *Commit) error {
	one, err := newTraced(sequence, commit)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = append(t.pending, one)
	return nil
}

// settled is the commit up to which, it included, nothing is lost by a purge; confirmed is the newest one.
func (t *tracer) settled(confirmed uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.behind != 0 {
		return 0
	}
	for _, one := range t.pending {
		if one.to > one.after { // a claim leaves no trace
			return min(confirmed, one.commit-1)
		}
	}
	return confirmed
}

// round stores what is due: trails that are full, the rest when it has waited long enough or all must go.
func (t *tracer) round(ctx context.Context, all bool) error {
	if err := t.catchUp(ctx); err != nil {
		return err
	}
	for {
		n, full := t.full()
		if n == 0 {
			t.rounds = 0
			return nil
		}
		if t.rounds++; !full && !all && t.rounds < traceRounds {
			return nil
		}
		if err := t.store(ctx, n); err != nil {
			t.known = false // another owner may have written
			return err
		}
		t.rounds = 0
	}
}

// full is how many pending commits go into the next trail, and whether it is full; 0: there are only claims.
func (t *tracer) full() (n int, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := 0
	for i, one := range t.pending {
		if size += len(one.traces) * (checksumBytes + 1); one.to > one.after {
			n = i + 1
		}
		if size >= traceBytes {
			return n, true
		}
	}
	return n, false
}

// store writes one trail of the first n pending commits.
func (t *tracer) store(ctx context.Context, n int) error {
	t.mu.Lock()
	part := t.pending[:n:n]
	t.mu.Unlock()
	end := part[n-1]
	trail := Trail{After: part[0].after, To: end.to, Commit: end.commit, Hash: end.hash}
	before := trail.After
	for _, one := range part {
		for _, trace := range one.traces {
			trail.Traces = trace.append(trail.Traces, before)
			before = trace.Position
		}
	}
	data, err := t.c.commits.EncodeTrail(&trail)
	if err != nil {
		return err
	}
	if err := t.c.config.faults.at(trailBegun); err != nil {
		return err
	}
	ack, err := t.c.config.JetStream.Publish(ctx, t.subject, data, jetstream.WithExpectLastSequencePerSubject(t.last))
	if err != nil {
		return fmt.Errorf("store the trail up to position %d: %w", trail.To, err)
	}
	if err := t.c.config.faults.at(trailStored); err != nil {
		return err
	}
	if trail.After > t.newest.To {
		t.c.config.Log.Warn("the trail has a hole, what it held can't be compared by a replay", "partition", t.number, "after", t.newest.To, "to", trail.After)
	}
	t.last, t.newest = ack.Sequence, trail
	t.drop(n)
	return nil
}

func (t *tracer) drop(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = append([]traced(nil), t.pending[n:]...)
}

// catchUp learns where the trail stands, leaves out what it tells of and reads what neither it nor this owner
// has from the commits.
func (t *tracer) catchUp(ctx context.Context) error {
	if !t.known {
		if err := t.look(ctx); err != nil {
			return fmt.Errorf("look up the last trail: %w", err)
		}
		t.known = true
	}
	if t.behind == 0 {
		return nil
	}
	missed, err := t.read(ctx, t.newest.Commit+1, t.behind)
	if err != nil {
		return fmt.Errorf("read the commits that have no trail yet: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending, t.behind = append(missed, t.pending...), 0
	return nil
}

// look reads the last trail; what it tells of is not pending any more.
func (t *tracer) look(ctx context.Context) error {
	stream, err := bus.LookUpStream(ctx, t.c.config.JetStream, topology.Trails)
	if err != nil {
		return err
	}
	m, err := stream.GetLastMsgForSubject(ctx, t.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		t.last = 0 // aged out after an idle time, if there was one
		return nil
	}
	if err != nil {
		return err
	}
	newest, err := t.c.commits.DecodeTrail(m.Data)
	if err != nil {
		return err
	}
	t.last, t.newest = m.Sequence, *newest
	t.mu.Lock()
	told := 0
	for told < len(t.pending) && t.pending[told].to <= newest.To {
		told++
	}
	t.mu.Unlock()
	t.drop(told)
	return nil
}

// read traces the commits of the given range that are still stored.
func (t *tracer) read(ctx context.Context, from, to uint64) ([]traced, error) {
	stream, err := bus.LookUpStream(ctx, t.c.config.JetStream, topology.Commits)
	if err != nil {
		return nil, err
	}
	var found []traced
	for from <= to {
		m, err := stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(topology.Subject(topology.Commits, t.number)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("commit %d is not there yet", to) // from a replica that lags: the claim is stored
		}
		if err != nil {
			return nil, err
		}
		if m.Sequence > to {
			break
		}
		commit, err := t.c.commits.Decode(m.Data)
		if err != nil {
			return nil, fmt.Errorf("commit %d: %w", m.Sequence, err)
		}
		one, err := newTraced(m.Sequence, commit)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
		from = m.Sequence + 1
	}
	return found, nil
}
