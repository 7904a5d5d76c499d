package pipeline

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// busy keeps every processor busy until the test ends.
func busy(t *testing.T) {
	var stop atomic.Bool
	var begun sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		begun.Add(1)
		go func() {
			for begun.Done(); !stop.Load(); { //nolint:revive // it is to be busy
			}
		}()
	}
	t.Cleanup(func() { stop.Store(true) })
	begun.Wait()
}

func work(long time.Duration) {
	for began := time.Now(); time.Since(began) < long; { //nolint:revive // it is to be busy
	}
}

func TestCourtesyStandsBackAsLongAsItMay(t *testing.T) {
	const most = 3*rest + rest/2
	c := NewCourtesy(most)
	busy(t)
	began := time.Now()
	for range 5 { // it waits for each, since the busy ones are interrupted every 10 ms
		work(stint)
		c.Yield()
	}
	if took := time.Since(began); c.left != most-3*rest || took < 3*rest {
		t.Errorf("after %s it may still stand back for %s, want %s", took, c.left, most-3*rest)
	}
}

func TestCourtesyWorksBetweenItsRests(t *testing.T) {
	c := NewCourtesy(time.Hour)
	busy(t)
	work(stint)
	for range 5 {
		c.Yield()
	}
	if c.left != time.Hour-rest {
		t.Errorf("without work between it stood back for %s, want %s", time.Hour-c.left, rest)
	}
}

func TestCourtesyOfNobody(t *testing.T) {
	var c *Courtesy
	n := 0
	for i, v := range GivingWay(c, []int{0, 1, 2}, 2) {
		if i != v {
			t.Errorf("%d. value: %d", i, v)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d of 3 values", n)
	}
}

func TestCourtesyRestsForNobody(t *testing.T) {
	const most = time.Hour
	c := NewCourtesy(most)
	for range 1000 {
		c.Yield()
	}
	if c.left < most-500*rest {
		t.Errorf("with nothing else to do it stood back for %s", most-c.left)
	}
}
