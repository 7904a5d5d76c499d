package state

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
)

// Cache keeps a bucket's entries that this process read lately, and follows the bucket, so that what others write
// replaces them moments later. An answer can be that much older than the broker's; whoever decides by it and writes, by
// compare-and-set, notices. It is safe for concurrent use; make one for a process, and close it.
type Cache struct {
	js   jetstream.JetStream
	name string
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	kept     *simplelru.LRU[string, kept]
	position uint64        // of the bucket: what was stored up to it is known
	moved    chan struct{} // closed, and made anew, when the position moves
}

// kept is an entry, or the place of one that somebody is about to read: what was followed while there was no place for
// it would not show, so a place takes nothing from before its beginning.
type kept struct {
	Entry
	known bool
	since uint64 // of a place: the cache's position when it was made
}

// NewCache begins to follow an existing bucket. It keeps at most so many entries, also
// those of keys that don't exist.
func NewCache(ctx context.Context, js jetstream.JetStream, name string, most int, log *slog.Logger) (*Cache, error) {
	stream, err := js.Stream(ctx, "KV_"+name)
	if err != nil {
		return nil, fmt.Errorf("follow bucket %s: %w", name, err)
	}
	entries, err := simplelru.NewLRU[string, kept](most, nil)
	if err != nil {
		return nil, fmt.Errorf("follow bucket %s: %w", name, err)
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Cache{
		js: js, name: name, stop: stop, done: make(chan struct{}),
		kept: entries, position: stream.CachedInfo().State.LastSeq, moved: make(chan struct{}),
	}
	go func(position uint64) {
		defer close(c.done)
		bus.Follow(following, js, "KV_"+name, position, log, c.take)
	}(c.position)
	return c, nil
}

// Close ends the following. Nobody may use the cache any more.
func (c *Cache) Close() {
	c.stop()
	<-c.done
}

// CatchUp waits until the cache knows what was stored before the call.
func (c *Cache) CatchUp(ctx context.Context) error {
	stream, err := bus.LookUpStream(ctx, c.js, "KV_"+c.name)
	if err != nil {
		return fmt.Errorf("catch up with bucket %s: %w", c.name, err)
	}
	last := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs == 0 { // what was purged is not followed
		return nil
	}
	for {
		c.mu.Lock()
		position, moved := c.position, c.moved
		c.mu.Unlock()
		if position >= last {
			return nil
		}
		select {
		case <-moved:
		case <-c.done:
			return fmt.Errorf("catch up with bucket %s: the cache is closed", c.name)
		case <-ctx.Done():
			return fmt.Errorf("catch up with bucket %s: %w", c.name, ctx.Err())
		}
	}
}

// take notes what somebody wrote, if the key is kept.
func (c *Cache) take(d bus.Delivery) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.update(strings.TrimPrefix(d.Subject, subjectOf(c.name, "")), entryOf(d.Data, d.Header, d.Sequence), d.Sequence)
	c.position = d.Sequence
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}

// update replaces an older entry of a key that is kept, by one that was in force at a position.
func (c *Cache) update(key string, e Entry, at uint64) {
	k, ok := c.kept.Peek(key)
	if ok && (k.known && e.Revision > k.Revision || !k.known && at >= k.since) {
		c.kept.Add(key, kept{Entry: e, known: true})
	}
}

// find returns what is kept of a key, or makes a place for it.
func (c *Cache) find(key string) (Entry, bool) {
	k, ok := c.kept.Get(key)
	if !ok {
		c.kept.Add(key, kept{since: c.position})
	}
	return k.Entry, k.known
}

// Cached accesses a bucket by way of a cache. It is for one goroutine; make one for each, and close it.
type Cached struct {
	cache  *Cache
	bucket *Bucket
}

// Open prepares access on the connection of the cache.
func (c *Cache) Open() (*Cached, error) {
	bucket, err := Open(c.js.Conn(), c.name)
	if err != nil {
		return nil, err
	}
	return &Cached{cache: c, bucket: bucket}, nil
}

// Close ends the access.
func (c *Cached) Close() { c.bucket.Close() }

// Get is Bucket's, of what the cache has not kept. The entries are shared: nobody may change their values.
func (c *Cached) Get(ctx context.Context, keys []string) (map[string]Entry, error) {
	got := make(map[string]Entry, len(keys))
	var missing []string
	c.cache.mu.Lock()
	for _, key := range keys {
		if e, known := c.cache.find(key); known {
			got[key] = e
		} else {
			missing = append(missing, key)
		}
	}
	position := c.cache.position
	c.cache.mu.Unlock()
	return got, c.read(ctx, missing, position, got)
}

// Fresh is Get past the cache: as new as Bucket's.
func (c *Cached) Fresh(ctx context.Context, keys []string) (map[string]Entry, error) {
	got := make(map[string]Entry, len(keys))
	c.cache.mu.Lock()
	for _, key := range keys {
		c.cache.find(key)
	}
	position := c.cache.position
	c.cache.mu.Unlock()
	return got, c.read(ctx, keys, position, got)
}

// read asks the broker, and keeps the answer.
func (c *Cached) read(ctx context.Context, keys []string, position uint64, into map[string]Entry) error {
	if len(keys) == 0 {
		return nil
	}
	c.bucket.NotBefore(position) // what was followed already would not show
	found, err := c.bucket.Get(ctx, keys)
	if err != nil {
		return err
	}
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	for key, e := range found {
		into[key] = e
		c.cache.update(key, e, position)
	}
	return nil
}

// Put is Bucket's. A key in conflict is read anew by the next Get.
func (c *Cached) Put(ctx context.Context, writes []Write) (revisions []uint64, conflicts []int, err error) {
	revisions, conflicts, err = c.bucket.Put(ctx, writes)
	c.cache.mu.Lock()
	defer c.cache.mu.Unlock()
	if err != nil { // what was stored is not known
		for _, w := range writes {
			c.cache.kept.Remove(w.Key)
		}
		return revisions, conflicts, err
	}
	for i, w := range writes {
		if revisions[i] > 0 {
			c.cache.update(w.Key, Entry{Value: w.Value, Revision: revisions[i]}, revisions[i])
		}
	}
	for _, i := range conflicts {
		c.cache.kept.Remove(writes[i].Key)
	}
	return revisions, conflicts, nil
}

// subjectOf is where a bucket keeps a key.
func subjectOf(bucket, key string) string { return "$KV." + bucket + "." + key }

// entryOf is what a stored message says of its key.
func entryOf(data []byte, header nats.Header, revision uint64) Entry {
	if header.Get("KV-Operation") != "" || header.Get("Nats-Marker-Reason") != "" {
		data = nil
	}
	return Entry{Value: data, Revision: revision}
}
