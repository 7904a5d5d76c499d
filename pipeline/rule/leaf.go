package rule

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// MaxAhead bounds how many times ahead of the customer's clock one leaf keeps, the nearest first, so that a
// producer with a broken clock can't grow a profile without end.
const MaxAhead = 64

// Leaf is one windowed question: how often an event happened, with these properties, in this window. The
// times that answer it lie in the profile, under the leaf's ID. It never changes.
type Leaf struct {
	// ID is the FNV-1a 64 hash of the canonical definition, event, filter and window, so equal leaves share
	// their times. Its lowest bit keeps segments (0) and campaigns (1: compiled WithEvent or WithSegments)
	// apart: each kind has a stage of its own that records, so none is recorded twice.
	ID     uint64
	Event  string
	Window time.Duration

	filter []condition // sorted by path
	keep   int         // the highest number of times that is asked for
}

// condition is one entry of a filter: the property at the path equals the constant.
type condition struct {
	path string
	want constant
}

func newLeaf(name string, filter []condition, window time.Duration, kind uint64) *Leaf {
	slices.SortFunc(filter, func(a, b condition) int { return strings.Compare(a.path, b.path) })
	l := &Leaf{Event: name, Window: window, filter: filter}
	h := fnv.New64a()
	h.Write([]byte(l.Definition()))
	l.ID = h.Sum64()&^1 | kind
	return l
}

// Definition is the canonical text that the ID is computed from. Profiles depend on it: it must not change.
func (l *Leaf) Definition() string {
	var b strings.Builder
	b.WriteString(strconv.Quote(l.Event))
	b.WriteString(" ")
	writeFilter(&b, l.filter)
	b.WriteString(" ")
	b.WriteString(strconv.FormatInt(l.Window.Milliseconds(), 10))
	return b.String()
}

func writeFilter(b *strings.Builder, filter []condition) {
	b.WriteString("{")
	for i, c := range filter {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(strconv.Quote(c.path))
		b.WriteString(":")
		b.WriteString(c.want.String())
	}
	b.WriteString("}")
}

// Keep is how many times at or before the customer's clock are kept.
func (l *Leaf) Keep() int { return l.keep }

// Matches tells whether the event counts for this leaf.
func (l *Leaf) Matches(e *event.Event) bool {
	return e.CountName() == l.Event && l.passes(e)
}

// passes tells whether the properties are those of the filter.
func (l *Leaf) passes(e *event.Event) bool {
	for i := range l.filter {
		if !l.filter[i].want.equals(e.Properties.Get(l.filter[i].path)) {
			return false
		}
	}
	return true
}

// Record keeps the time of an event that matches, and drops what can no longer matter at p.Now or later: what
// is out of the window, and what lies before the newest times that the thresholds need. What a profile holds
// is the same for any order of arrival within one p.Now.
func (l *Leaf) Record(p *profile.Profile, at event.Instant) {
	if at.Add(l.Window) <= p.Now {
		return
	}
	times := p.Windows[l.ID]
	i := 0
	for i < len(times) && times[i] > at {
		i++
	}
	times = l.trim(slices.Insert(times, i, at), p.Now)
	if p.Windows == nil {
		p.Windows = map[uint64][]event.Instant{}
	}
	p.Windows[l.ID] = times
}

// trim keeps the newest times up to now that a threshold can ask for and that are in the window, and the
// nearest ones after now.
func (l *Leaf) trim(times []event.Instant, now event.Instant) []event.Instant {
	ahead := aheadOf(times, now)
	if extra := ahead - MaxAhead; extra > 0 {
		times, ahead = slices.Delete(times, 0, extra), MaxAhead
	}
	end := min(len(times), ahead+l.keep)
	for end > ahead && times[end-1].Add(l.Window) <= now {
		end--
	}
	return times[:end]
}

// aheadOf is how many of the times, newest first, lie after now.
func aheadOf(times []event.Instant, now event.Instant) int {
	n := 0
	for n < len(times) && times[n] > now {
		n++
	}
	return n
}

// atLeast tells whether the window that ends at now holds n times or more, and exactly when that will change
// by itself. times are newest first, and those after now are events that are still to come.
func atLeast(times []event.Instant, n int, window time.Duration, now event.Instant) (ok bool, until event.Instant) {
	ahead := aheadOf(times, now)
	// The n-th newest up to an instant decides; as the instant moves past a coming event, it moves up by one.
	if i := ahead + n - 1; i < len(times) && times[i].Add(window) > now {
		until = times[i].Add(window)
		for ahead > 0 && times[ahead-1] <= until {
			ahead--
			until = times[ahead+n-1].Add(window)
		}
		return true, until
	}
	for ahead > 0 {
		ahead--
		if i := ahead + n - 1; i < len(times) && times[i].Add(window) > times[ahead] {
			return false, times[ahead]
		}
	}
	return false, 0
}
