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
	stream   string // as in SinkBatch
	open     journalled
	revision uint64
}

// journalled is a range of commits as it is stored.
type journalled struct {
	Stream string `json:"stream"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"` // 0: there is none
}

// openJournal reads a sink's.
func openJournal(ctx context.Context, js jetstream.JetStream, sink string, stream jetstream.Stream) (*journal, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.Patience)
	defer cancel()
	bucket, err := js.KeyValue(ctx, topology.Journal)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Journal, err)
	}
	j := &journal{bucket: bucket, sink: sink, stream: topology.Commits + "@" + stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano)}
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

// note journals a range, if it isn't the one that is open, unless another reader has journalled one meanwhile: two readers
// never close ranges that overlap.
func (j *journal) note(ctx context.Context, from, to uint64) error {
	if to <= j.open.To {
		return nil
	}
	if from <= j.open.To { // the token of the overlapping range is another one: nobody would know what is there twice
		return fmt.Errorf("journal %d to %d: it overlaps with %d to %d", from, to, j.open.From, j.open.To)
	}
	next := journalled{Stream: j.stream, From: from, To: to}
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
		return fmt.Errorf("journal %d to %d: %w", from, to, err)
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
	next, err := bus.NextAtLeader(ctx, js.Conn(), topology.Commits, topology.Commits+".*", j.open.To)
	if err != nil {
		return 0, fmt.Errorf("look up commit %d: %w", j.open.To, err)
	}
	if next != j.open.To {
		return j.open.To + 1, nil // only what is acknowledged is ever purged
	}
	return j.open.From, nil
}
