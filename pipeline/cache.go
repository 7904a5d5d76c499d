package pipeline

import (
	"container/heap"
	"container/list"
	"sync"

	"attune/pipeline/profile"
)

// cache holds the profiles of one partition. Those that lie only in commits so far are pinned until they are
// folded into the bucket; clean ones go when there are too many, the longest unused first.
//
// The subscriber's goroutine owns the profiles themselves; the bookkeeping is shared with the committer and
// the folder.
type cache struct {
	mu      sync.Mutex
	entries map[string]*entry
	recent  *list.List // of *entry, most recently used first
	dirty   dirtyHeap
	limit   int
	newest  uint64 // the bucket's latest revision that is known: a fold confirmed it
	soiled  int    // entries that are not folded

	relieved chan struct{} // holds one when an entry was folded
}

// entry is one profile in memory.
type entry struct {
	profile *profile.Profile // of the subscriber's goroutine
	inBatch bool             // of the subscriber's goroutine
	size    int              // of the subscriber's goroutine: its last encoding's

	place    *list.Element
	revision uint64 // of the bucket's copy; 0: it has none
	pinned   int    // commits under way that hold it
	since    uint64 // the oldest commit that is not folded yet; 0: clean
	changed  uint64 // the newest commit that holds it
	state    []byte // and its bytes there
}

func newCache(limit int) *cache {
	return &cache{entries: map[string]*entry{}, recent: list.New(), limit: limit, relieved: make(chan struct{}, 1)}
}

func (c *cache) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[id] != nil
}

// get finds a profile and notes that it is in use.
func (c *cache) get(id string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[id]
	if e != nil {
		c.recent.MoveToFront(e.place)
	}
	return e
}

// load adds a profile as the bucket has it, in so many bytes.
func (c *cache) load(p *profile.Profile, revision uint64, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(&entry{profile: p, revision: revision, size: size})
}

// restore adds a profile as the newest of the commits above the mark that hold it has it; that covers the older ones.
// Its revision in the bucket is not known: the first fold finds it by its conflict.
func (c *cache) restore(p *profile.Profile, state []byte, commit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &entry{profile: p, state: state, changed: commit, size: len(state)}
	c.add(e)
	c.soil(e, commit)
}

func (c *cache) add(e *entry) {
	e.place = c.recent.PushFront(e)
	c.entries[e.profile.ID] = e
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

// makeRoom drops clean profiles beyond the limit, the longest unused first. It is called between two batches,
// when every profile that was changed is pinned.
func (c *cache) makeRoom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := c.recent.Back(); at != nil && len(c.entries) > c.limit; {
		e := at.Value.(*entry)
		at = at.Prev()
		if e.pinned > 0 || e.since != 0 {
			continue
		}
		c.recent.Remove(e.place)
		delete(c.entries, e.profile.ID)
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
		folds = append(folds, fold{entry: e, id: e.profile.ID, state: e.state, commit: e.changed, since: e.since, revision: e.revision})
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
