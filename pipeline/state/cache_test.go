package state

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"attune/pipeline/bus"
)

func openCache(t *testing.T, kv jetstream.KeyValue, b *Bucket, most int) *Cache {
	t.Helper()
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCache(t.Context(), js, kv.Bucket(), most, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func access(t *testing.T, c *Cache) *Cached {
	t.Helper()
	a, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// Whoever reads and writes, and however few entries are kept: an answer is never older than what the reader itself read
// or wrote, and once the cache has caught up it is the broker's.
func TestCacheFollowsItsBucket(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	for _, most := range []int{4, 100} {
		c := openCache(t, kv, b, most)
		readers := []*Cached{access(t, c), access(t, c)}
		seen := []map[string]uint64{{}, {}}
		rapid.Check(t, func(rt *rapid.T) {
			for range 15 {
				keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g"}), 1, 4, rapid.ID).Draw(rt, "keys")
				i := rapid.IntRange(0, 1).Draw(rt, "reader")
				read := readers[i].Get
				switch rapid.SampledFrom([]string{"get", "fresh", "put", "other", "delete"}).Draw(rt, "what") {
				case "fresh":
					read = readers[i].Fresh
				case "put":
					got, err := readers[i].Get(t.Context(), keys)
					if err != nil {
						rt.Fatal(err)
					}
					var writes []Write
					for _, key := range keys {
						writes = append(writes, Write{key, []byte(strconv.Itoa(rapid.Int().Draw(rt, "value"))), got[key].Revision})
					}
					revisions, _, err := readers[i].Put(t.Context(), writes)
					if err != nil {
						rt.Fatal(err)
					}
					for n, r := range revisions {
						seen[i][keys[n]] = max(seen[i][keys[n]], r)
					}
				case "other":
					if _, err := kv.Put(t.Context(), keys[0], []byte("other")); err != nil {
						rt.Fatal(err)
					}
				case "delete":
					if err := kv.Delete(t.Context(), keys[0]); err != nil {
						rt.Fatal(err)
					}
				}
				got, err := read(t.Context(), keys)
				if err != nil {
					rt.Fatal(err)
				}
				for _, key := range keys {
					if got[key].Revision < seen[i][key] {
						rt.Fatalf("%s: revision %d after %d", key, got[key].Revision, seen[i][key])
					}
					seen[i][key] = got[key].Revision
				}
				c.mu.Lock()
				n := c.kept.Len()
				c.mu.Unlock()
				if n > most {
					rt.Fatalf("%d entries are kept, of %d", n, most)
				}
				if rapid.IntRange(0, 3).Draw(rt, "look") > 0 {
					continue
				}
				if err := c.CatchUp(t.Context()); err != nil {
					rt.Fatal(err)
				}
				want, err := b.Get(t.Context(), keys)
				if err != nil {
					rt.Fatal(err)
				}
				if got, err = readers[i].Get(t.Context(), keys); err != nil {
					rt.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					rt.Fatalf("-broker +cache:\n%s", diff)
				}
			}
		})
	}
}

// Counters that many count up by what they find in the cache: none of the steps is lost, and nobody is stuck with an old
// entry.
func TestCachesLoseNoUpdate(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	const writers, steps = 4, 50
	caches := []*Cache{openCache(t, kv, b, 100), openCache(t, kv, b, 2)}
	var all sync.WaitGroup
	for w := range writers {
		a := access(t, caches[w%2])
		all.Go(func() {
			for range steps {
				for done := false; !done; {
					got, err := a.Get(t.Context(), []string{"x", "y"})
					if err != nil {
						t.Error(err)
						return
					}
					n, _ := strconv.Atoi(string(got["x"].Value))
					_, conflicts, err := a.Put(t.Context(), []Write{{"x", []byte(strconv.Itoa(n + 1)), got["x"].Revision}})
					if err != nil {
						t.Error(err)
						return
					}
					done = len(conflicts) == 0
				}
			}
		})
	}
	all.Wait()
	if got, err := b.Get(t.Context(), []string{"x"}); err != nil || string(got["x"].Value) != fmt.Sprint(writers*steps) {
		t.Errorf("counted to %s, %v; want %d", got["x"].Value, err, writers*steps)
	}
}

// A place takes nothing that was read before it was made: a newer entry may have been followed in between.
func TestAPlaceTakesNothingOlder(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	c := openCache(t, kv, b, 10)
	c.position = 7 // nobody writes
	if _, known := c.find("a"); known {
		t.Fatal("known from nowhere")
	}
	c.update("a", Entry{Revision: 5}, 6)
	if _, known := c.find("a"); known {
		t.Error("it took an answer from before")
	}
	if err := c.take(bus.Delivery{Subject: "$KV.b.a", Sequence: 8, Data: []byte("new")}); err != nil {
		t.Fatal(err)
	}
	c.update("a", Entry{Revision: 5}, 7) // asked for when the place was made, answered late
	if e, known := c.find("a"); !known || e.Revision != 8 {
		t.Errorf("it has %v, %v", e, known)
	}
}

// A bucket of which nothing is left is caught up with at once, even by a cache that has not seen all of it.
func TestCacheOfAPurgedBucket(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	c := openCache(t, kv, b, 10)
	c.stop()
	<-c.done // it follows nothing any more
	put(t, b, Write{Key: "a", Value: []byte("1")})
	if err := c.CatchUp(t.Context()); err == nil {
		t.Error("it caught up with what it has not seen")
	}
	stream, err := c.js.Stream(t.Context(), "KV_"+kv.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.CatchUp(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCacheWithoutItsBucket(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewCache(t.Context(), js, "none", 10, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it follows a bucket that is not there")
	}
	c := openCache(t, kv, b, 10)
	a := access(t, c)
	b.conn.Close()
	if _, err := a.Get(t.Context(), []string{"a"}); err == nil {
		t.Error("it read without a connection")
	}
	if err := c.CatchUp(t.Context()); err == nil {
		t.Error("it caught up without a connection")
	}
}
