package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// journal remembers the range of commits that a sink was about to write last.
type journal struct {
	bucket   jetstream.KeyValue
	sink     string
	stream   string // its name and when it was created
	info     *jetstream.StreamInfo
	open     journalled
	revision uint64
}

// journalled is a range of commits as it is stored.
type journalled struct {
	Stream string `json:"stream"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"` // 0: there is none
	// Stored is when the broker had stored the commit at To.
	Stored time.Time `json:"stored,omitzero"`
	// Lost is how often the stream has lost its end since it was made, as by a power cut: its sequences began again there.
	Lost int `json:"lost,omitempty"`
}

// openJournal reads a sink's.
func openJournal(ctx context.Context, js jetstream.JetStream, sink string, stream jetstream.Stream) (*journal, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.Patience)
	defer cancel()
	bucket, err := js.KeyValue(ctx, topology.Journal)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Journal, err)
	}
	j := &journal{bucket: bucket, sink: sink, info: stream.CachedInfo(), stream: topology.Commits + "@" + stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano)}
	entry, err := bucket.Get(ctx, sink)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return j, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &j.open); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if j.open.Stream != j.stream {
		j.open = journalled{} // of a stream that is gone
	}
	j.revision = entry.Revision()
	return j, nil
}

// batches is what the sink knows the stream by: the same range after a loss is another one.
func (j *journal) batches() string {
	if j.open.Lost == 0 {
		return j.stream
	}
	return fmt.Sprintf("%s~%d", j.stream, j.open.Lost)
}

// note journals a range, if it isn't the one that is open, unless another reader has journalled one meanwhile: two readers
// never close ranges that overlap.
func (j *journal) note(ctx context.Context, from, to uint64, stored time.Time) error {
	if to <= j.open.To {
		return nil
	}
	if from <= j.open.To { // the token of the overlapping range is another one: nobody would know what is there twice
		return fmt.Errorf("journal %d to %d: it overlaps with %d to %d", from, to, j.open.From, j.open.To)
	}
	return j.write(ctx, journalled{Stream: j.stream, From: from, To: to, Stored: stored, Lost: j.open.Lost})
}

func (j *journal) write(ctx context.Context, next journalled) error {
	data, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if j.revision == 0 {
		j.revision, err = j.bucket.Create(ctx, j.sink, data)
	} else {
		j.revision, err = j.bucket.Update(ctx, j.sink, data, j.revision)
	}
	if err != nil {
		return fmt.Errorf("journal %d to %d: %w", next.From, next.To, err)
	}
	j.open = next
	return nil
}

// resume is where to read on, given up to where was acknowledged. A journalled range is written again unless it is
// known to be acknowledged. An acknowledgement can get lost or forgotten; but whoever journalled a range had written
// all before it, so reading never begins before the range.
func (j *journal) resume(ctx context.Context, js jetstream.JetStream, acknowledged uint64) (uint64, error) {
	if acknowledged >= j.open.To {
		return acknowledged + 1, nil
	}
	// The leader is asked: a replica that lags may not have it yet.
	next, stored, err := bus.StoredAtLeader(ctx, js.Conn(), topology.Commits, topology.Commits+".*", j.open.To)
	switch {
	case err != nil:
		return 0, fmt.Errorf("look up commit %d: %w", j.open.To, err)
	case next == j.open.To && !j.open.Stored.IsZero() && !stored.Equal(j.open.Stored), next == 0 && j.open.To > j.info.State.LastSeq:
		return j.rewind(ctx, js)
	case next != j.open.To:
		return j.open.To + 1, nil // only what is acknowledged is ever purged
	}
	return j.open.From, nil
}

// rewind goes on where the stream does that has lost its end with the journalled range: with what was stored since.
func (j *journal) rewind(ctx context.Context, js jetstream.JetStream) (from uint64, err error) {
	from, end := j.info.State.FirstSeq, j.info.State.LastSeq+1
	for from < end && !j.open.Stored.IsZero() { // times rise with the sequences
		middle := (from + end) / 2
		next, stored, err := bus.StoredAtLeader(ctx, js.Conn(), topology.Commits, topology.Commits+".*", middle)
		if err != nil {
			return 0, fmt.Errorf("look up commit %d: %w", middle, err)
		}
		if next == 0 || stored.After(j.open.Stored) {
			end = middle
		} else {
			from = next + 1
		}
	}
	return end, j.write(ctx, journalled{Stream: j.stream, From: end, To: end - 1, Lost: j.open.Lost + 1})
}
