package pipeline

import (
	"iter"
	"runtime"
	"time"
)

const (
	// patience is how long whoever gives way waits for the processor at most where nobody else is in need of it.
	patience = 100 * time.Microsecond
	// stint is how long it works before it stands back again.
	stint = time.Millisecond
	// rest is how long it stands back when it had to wait for longer.
	rest = 3 * time.Millisecond
)

// Courtesy has a sink's work give way to decisions, with which it shares the processors: a batch takes one for tens of
// milliseconds. Giving way alone is not enough while garbage is collected as well: it takes turns then with whatever
// decisions wait for. So it stands back, as long as it may, in turn with stints of work: all at once would leave the rest
// of the work without. It is for one goroutine; nil only gives way.
type Courtesy struct {
	left   time.Duration // how long it may still stand back
	worked time.Duration // since it last did
	since  time.Time     // it works
}

// NewCourtesy stands back for so long at most, all in all.
func NewCourtesy(most time.Duration) *Courtesy { return &Courtesy{left: most, since: time.Now()} }

// Yield lets others have the processor, and stands back for a moment if it took long to get it back.
func (c *Courtesy) Yield() {
	if c == nil || c.left < rest {
		runtime.Gosched()
		return
	}
	began := time.Now()
	c.worked += began.Sub(c.since)
	runtime.Gosched()
	if c.since = time.Now(); c.since.Sub(began) > patience && c.worked >= stint {
		c.left -= rest
		time.Sleep(rest)
		c.worked, c.since = 0, time.Now()
	}
}

// GivingWay goes through a sink's work and yields before every so many of its values (1: before each).
func GivingWay[W any](c *Courtesy, work []W, every int) iter.Seq2[int, W] {
	return func(yield func(int, W) bool) {
		for i, w := range work {
			if i%every == 0 {
				c.Yield()
			}
			if !yield(i, w) {
				return
			}
		}
	}
}
