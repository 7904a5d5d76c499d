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

// bookmarkEvery is how often a reader's place is stored at most.
const bookmarkEvery = 5 * time.Second

// bookmark is how far a reader of the commits has come, for when the broker has forgotten what it acknowledged. It lacks
// what was read in the last seconds before that. Whoever stored it had come so far, so that it is never wrong.
type bookmark struct {
	bucket jetstream.KeyValue
	reader string // the durable consumer's name
	stream string // its generation
	place  uint64 // the last commit that was passed when it was opened; 0: unknown
	noted  time.Time
}

// bookmarked is a bookmark as it is stored.
type bookmarked struct {
	Stream string `json:"stream"`
	Place  uint64 `json:"place"`
}

// openBookmark reads a reader's. One that is ahead of the stream is none: the broker has lost what came last.
func openBookmark(ctx context.Context, js jetstream.JetStream, reader string, stream *jetstream.StreamInfo) (*bookmark, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.Patience)
	defer cancel()
	bucket, err := js.KeyValue(ctx, topology.Journal)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Journal, err)
	}
	b := &bookmark{bucket: bucket, reader: reader, stream: topology.Generation(stream)}
	entry, err := bucket.Get(ctx, reader)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the bookmark of %s: %w", reader, err)
	}
	var stored bookmarked
	if err := json.Unmarshal(entry.Value(), &stored); err != nil {
		return nil, fmt.Errorf("read the bookmark of %s: %w", reader, err)
	}
	if stored.Stream == b.stream && stored.Place <= stream.State.LastSeq {
		b.place = stored.Place
	}
	return b, nil
}

// pass notes that a commit and all before it are passed, and stores that now and then. One that can't be stored is no
// reason to stop: the next one may.
func (b *bookmark) pass(ctx context.Context, place uint64) error {
	if time.Since(b.noted) < bookmarkEvery {
		return nil
	}
	b.noted = time.Now()
	data, err := json.Marshal(bookmarked{b.stream, place})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bus.Patience)
	defer cancel()
	if _, err := b.bucket.Put(ctx, b.reader, data); err != nil {
		return fmt.Errorf("store the bookmark of %s at commit %d: %w", b.reader, place, err)
	}
	return nil
}
