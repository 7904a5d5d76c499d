package pipeline

import (
	"bytes"
	"container/heap"
	"fmt"
	"strings"
	"sync"

	"attune/pipeline/profile"
)

// decodedProfiles bounds the profiles of a partition that stay decoded between two batches: of the few who do most. Each
// more is some 25 objects to be marked in each round of garbage collection, in which decisions are late; decoding one anew
// costs less.
const decodedProfiles = 500

// cache holds the profiles of one partition, each packed as it was last read or committed; those used last are decoded
// besides. Those that lie only in commits so far stay until they are folded into the bucket; others go when there are
// too many, the longest unused first.
//
// The subscriber's goroutine owns the profiles themselves, packed and decoded, but for those that are spare; the
// bookkeeping is shared with the committer and the folder.
//
// A decoded profile is some dozen objects, and the garbage collector visits each of them each time: with a million
// profiles that was half of a worker's work. So what is spare lies on a shelf, and the entries in a register.
type cache struct {
	mu      sync.Mutex
	entries register
	decoded usage
	spare   usage // neither decoded nor to be folded: they may go
	shelf   shelf // with their bytes
	dirty   dirtyHeap
	limit   int
	newest  uint64 // the bucket's latest revision that is known: a fold confirmed it
	soiled  int    // entries that are not folded

	relieved chan struct{} // holds one when an entry was folded
}

// entry is one profile in memory.
type entry struct {
	id           string
	number, twin uint32 // of the register

	profile *profile.Profile // nil: it is only packed
	packed  []byte           // the profile after its newest commit, stored or not; nil: it is new
	inBatch bool             // of the subscriber's goroutine: the profile is ahead of packed

	pinned       int32  // commits under way that hold it
	in           *usage // nil: it is in no list
	newer, older *entry // in that list
	page         *page  // of the shelf; nil: packed is its own
	revision     uint64 // of the bucket's copy; 0: it has none
	since        uint64 // the oldest commit that is not folded yet; 0: clean
	changed      uint64 // the newest commit that holds it
	state        []byte // and its bytes there, until they are folded
}

func newCache(limit int) *cache {
	return &cache{entries: newRegister(), limit: limit, relieved: make(chan struct{}, 1)}
}

// find is nil where a profile is not in memory. An entry stays until the next makeRoom, at least.
func (c *cache) find(id string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries.find(id)
}

// use decodes a profile, if it isn't. It stays decoded until the next makeRoom, at least.
func (c *cache) use(e *entry) error {
	c.touch(e)
	switch {
	case e.profile != nil:
	case e.packed == nil:
		e.profile = profile.New(e.id)
	default:
		decoded, err := profile.Decode(e.packed)
		if err != nil {
			return fmt.Errorf("profile %s: %w", e.id, err)
		}
		e.profile = decoded
	}
	return nil
}

// touch makes a profile the one used last.
func (c *cache) touch(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.in == &c.spare {
		c.shelf.take(e)
	}
	if e.in != nil {
		e.in.remove(e)
	}
	c.decoded.add(e)
}

// load adds a profile as the bucket has it; without bytes it is new.
func (c *cache) load(id string, packed []byte, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries.add(strings.Clone(id)) // which may lie in something larger, as the bytes do
	e.packed, e.revision = bytes.Clone(packed), revision
}

// restore adds a profile as the newest of the commits above the mark that hold it has it; that covers the older ones.
// Its revision in the bucket is not known: the first fold finds it by its conflict.
func (c *cache) restore(id string, state []byte, commit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries.add(id)
	e.packed, e.state, e.changed = state, state, commit
	c.soil(e, commit)
}

// pin keeps the profiles of a commit that is under way.
func (c *cache) pin(dirty []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range dirty {
		e.pinned++
	}
}

// committed notes that a commit is stored.
func (c *cache) committed(dirty []*entry, states []ProfileState, commit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, e := range dirty {
		e.pinned--
		e.changed, e.state = commit, states[i].State
		if e.since == 0 {
			c.soil(e, commit)
		}
	}
}

// makeRoom packs decoded profiles and drops clean ones beyond the limits, the longest unused first. It is called
// between two batches, when every profile that was changed is pinned, and packed as it is.
func (c *cache) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.decoded.count > min(decodedProfiles, c.limit) {
		e := c.decoded.oldest
		c.decoded.remove(e)
		e.profile = nil
		c.release(e)
	}
	for c.spare.count > 0 && c.entries.count > c.limit {
		e := c.spare.oldest
		c.spare.remove(e)
		c.shelf.remove(e)
		c.entries.remove(e)
	}
}

// release lets a profile go when there are too many, if nothing needs it any more.
func (c *cache) release(e *entry) {
	if e.in == nil && e.pinned == 0 && e.since == 0 {
		c.spare.add(e)
		c.shelf.put(e)
	}
}

// mark is the newest commit up to which everything is folded, given the newest one that is stored, and the
// bucket's revision for it.
func (c *cache) mark(confirmed uint64) (mark, folded uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if oldest := c.oldest(); oldest != nil {
		return min(confirmed, oldest.since-1), c.newest
	}
	return confirmed, c.newest
}

// stored is the bucket's latest revision that is known, and notes that it has one.
func (c *cache) stored(revision uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = max(c.newest, revision)
	return c.newest
}

// toFold returns up to limit profiles that some commit up to the given one holds and that are not folded, the oldest
// commits first.
func (c *cache) toFold(limit int, upTo uint64) []fold {
	c.mu.Lock()
	defer c.mu.Unlock()
	var folds []fold
	for len(folds) < limit {
		e := c.oldest()
		if e == nil || e.since > upTo {
			break
		}
		heap.Pop(&c.dirty)
		folds = append(folds, fold{entry: e, id: e.id, state: e.state, commit: e.changed, since: e.since, revision: e.revision})
	}
	for _, f := range folds { // until they are stored they hold the mark
		heap.Push(&c.dirty, dirtyItem{since: f.since, entry: f.entry})
	}
	return folds
}

// folded notes that the bucket holds what the fold carried.
func (c *cache) folded(f fold, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.entry.revision = revision
	c.newest = max(c.newest, revision)
	if f.entry.changed == f.commit {
		f.entry.since = 0
		f.entry.state = nil
		c.soiled--
		c.release(f.entry)
		select {
		case c.relieved <- struct{}{}:
		default:
		}
		return
	}
	c.soil(f.entry, f.entry.changed)
}

func (c *cache) unfolded() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.soiled
}

// soil notes the oldest commit of an entry that is not folded.
func (c *cache) soil(e *entry, since uint64) {
	if e.since == 0 {
		c.soiled++
	}
	e.since = since
	heap.Push(&c.dirty, dirtyItem{since: since, entry: e})
}

// oldest is the entry whose unfolded commit is the oldest; items that were folded meanwhile are dropped here.
func (c *cache) oldest() *entry {
	for len(c.dirty) > 0 {
		top := c.dirty[0]
		if top.entry.since == top.since {
			return top.entry
		}
		heap.Pop(&c.dirty)
	}
	return nil
}

// fold is one profile on its way into the bucket.
type fold struct {
	entry    *entry
	id       string
	state    []byte
	commit   uint64
	since    uint64
	revision uint64
}

type dirtyItem struct {
	since uint64
	entry *entry
}

// dirtyHeap orders by the oldest unfolded commit.
type dirtyHeap []dirtyItem

func (h dirtyHeap) Len() int           { return len(h) }
func (h dirtyHeap) Less(i, j int) bool { return h[i].since < h[j].since }
func (h dirtyHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dirtyHeap) Push(x any)        { *h = append(*h, x.(dirtyItem)) }
func (h *dirtyHeap) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	(*h)[last] = dirtyItem{}
	*h = (*h)[:last]
	return item
}
