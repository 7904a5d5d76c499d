package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/topology"
)

// record is what was recorded of one log record: its facts where the commit is still there, else their checksum.
type record struct {
	position uint64
	sum      uint32
	data     []byte
	torn     bool // the commit and its trail tell different things
}

// anchor is a position at which the running hash was recorded.
type anchor struct {
	position uint64
	hash     []byte
}

// span is what one message of COMMITS or TRAIL tells of: the records after a position, up to another one.
type span struct {
	after, to uint64
	records   []record
	hash      []byte
}

// cursor reads one of the two streams in order, forward only.
type cursor struct {
	stream  jetstream.Stream
	subject string
	decode  func(data []byte) (span, error)
	next    uint64 // stream sequence to read on from
	held    uint64 // the sequence after which the newest that was read is read again
	last    uint64 // of the subject, when it was last looked up
	now     span   // the newest that was read
	since   uint64 // what was read tells of all after this position, up to its end
	anchors []anchor
}

// lagPatience is how long a replica may take to store what another one has confirmed.
const lagPatience = 10 * time.Second

// seek reads on until it is known what the stream tells of the position: false when it tells nothing. Where that
// is not needed, it does not ask whether there is more than was known.
func (c *cursor) seek(ctx context.Context, position uint64, needed bool, collect *[]record) (bool, error) {
	for c.now.to < position && (needed || c.next <= c.last) {
		ok, err := c.read(ctx)
		if err != nil || !ok {
			return false, err
		}
		*collect = append(*collect, c.now.records...)
		c.anchors = append(c.anchors, anchor{c.now.to, c.now.hash})
	}
	return c.covers(position), nil
}

// covers tells whether a record at the position would have been read.
func (c *cursor) covers(position uint64) bool { return c.since < position && position <= c.now.to }

// look finds out how much there is.
func (c *cursor) look(ctx context.Context) error {
	m, err := c.stream.GetLastMsgForSubject(ctx, c.subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the last of %s: %w", c.subject, err)
	}
	c.last = max(c.last, m.Sequence)
	return nil
}

// read takes the next message; false: there is none at the moment.
func (c *cursor) read(ctx context.Context) (bool, error) {
	if c.next > c.last {
		if err := c.look(ctx); err != nil || c.next > c.last {
			return false, err
		}
	}
	for deadline := time.Now().Add(lagPatience); ; {
		m, err := c.stream.GetMsg(ctx, c.next, jetstream.WithGetMsgSubject(c.subject))
		if err == nil {
			c.held, c.next = m.Sequence-1, m.Sequence+1
			before := c.now.to
			if c.now, err = c.decode(m.Data); err != nil {
				return false, fmt.Errorf("%s %d: %w", c.subject, m.Sequence, err)
			}
			if c.now.after != before {
				c.since = c.now.after
			}
			return true, nil
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) || time.Now().After(deadline) {
			return false, fmt.Errorf("read %s from %d on: %w", c.subject, c.next, err)
		}
		select {
		case <-time.After(20 * time.Millisecond): // this replica lags
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// recorded is what the commits and the trail tell, merged, in the order of the log.
type recorded struct {
	codec                  *pipeline.CommitCodec
	commits, trail         cursor
	fromCommits, fromTrail []record // read and not yet asked for
	passed                 uint64   // records up to here were taken
	anchored               uint64   // hashes before this position as well
}

func openRecorded(ctx context.Context, js jetstream.JetStream, codec *pipeline.CommitCodec, from *State) (*recorded, error) {
	r := &recorded{codec: codec, passed: from.Position, anchored: from.Position}
	for _, c := range []struct {
		cursor *cursor
		name   string
		next   uint64
		decode func([]byte) (span, error)
	}{
		{&r.commits, topology.Commits, from.Commit + 1, r.commit},
		{&r.trail, topology.Trails, from.Trail + 1, r.traces},
	} {
		stream, err := js.Stream(ctx, c.name)
		if err != nil {
			return nil, fmt.Errorf("look up stream %s: %w", c.name, err)
		}
		*c.cursor = cursor{stream: stream, subject: topology.Subject(c.name, from.Partition), decode: c.decode, next: c.next, held: c.next - 1}
		if err := c.cursor.look(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *recorded) commit(data []byte) (s span, err error) {
	commit, err := r.codec.Decode(data)
	if err != nil {
		return s, err
	}
	s.after, s.to, s.hash = commit.After, commit.Position, commit.Hash
	for f, err := range pipeline.Records(commit.Facts) {
		if err != nil {
			return s, err
		}
		s.records = append(s.records, record{position: f.Position, sum: pipeline.Checksum(f), data: f.Data})
	}
	return s, nil
}

func (r *recorded) traces(data []byte) (s span, err error) {
	trail, err := r.codec.DecodeTrail(data)
	if err != nil {
		return s, err
	}
	s.after, s.to, s.hash = trail.After, trail.To, trail.Hash
	for t, err := range trail.All() {
		if err != nil {
			return s, err
		}
		s.records = append(s.records, record{position: t.Position, sum: t.Sum})
	}
	return s, nil
}

// upTo takes what was recorded up to the position, and tells whether anything at all is known of the position
// itself. The commits are asked first: what was purged meanwhile has a trail by then.
func (r *recorded) upTo(ctx context.Context, position uint64) (all []record, known bool, err error) {
	known, err = r.commits.seek(ctx, position, true, &r.fromCommits)
	if err != nil {
		return nil, false, err
	}
	trailed, err := r.trail.seek(ctx, position, !known, &r.fromTrail)
	if err != nil {
		return nil, false, err
	}
	for {
		one, ok := r.merge(position)
		if !ok {
			r.passed = position
			return all, known || trailed, nil
		}
		if one.position > r.passed { // what lies before is known to the state from which it went on
			all = append(all, one)
		}
	}
}

// merge takes the earliest record; where both tell of it, the one with the facts.
func (r *recorded) merge(position uint64) (record, bool) {
	c, t := first(r.fromCommits, position), first(r.fromTrail, position)
	switch {
	case c == nil && t == nil:
		return record{}, false
	case t == nil || c != nil && c.position <= t.position:
		if t != nil && t.position == c.position {
			c.torn = t.sum != c.sum
			r.fromTrail = r.fromTrail[1:]
		} else {
			c.torn = r.trail.covers(c.position)
		}
		r.fromCommits = r.fromCommits[1:]
		return *c, true
	}
	t.torn = r.commits.covers(t.position)
	r.fromTrail = r.fromTrail[1:]
	return *t, true
}

func first(records []record, upTo uint64) *record {
	if len(records) == 0 || records[0].position > upTo {
		return nil
	}
	return &records[0]
}

// anchors takes the hashes recorded up to the position. A trail that is read late tells of some that have passed.
func (r *recorded) anchors(position uint64) (all []anchor) {
	for _, c := range []*cursor{&r.commits, &r.trail} {
		n := 0
		for n < len(c.anchors) && c.anchors[n].position <= position {
			n++
		}
		for _, a := range c.anchors[:n] {
			if a.position >= r.anchored {
				all = append(all, a)
			}
		}
		c.anchors = c.anchors[n:]
	}
	r.anchored = position + 1
	slices.SortStableFunc(all, func(a, b anchor) int { return cmp.Compare(a.position, b.position) })
	return all
}
