package pipeline

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// busy keeps every processor busy until the test ends.
func busy(t *testing.T) {
	var stop atomic.Bool
	var at atomic.Int64
	n := 2 * runtime.GOMAXPROCS(0)
	for range n {
		go func() {
			for at.Add(1); !stop.Load(); { //nolint:revive // it is to be busy
			}
		}()
	}
	t.Cleanup(func() { stop.Store(true) })
	for at.Load() < int64(n) {
		time.Sleep(time.Millisecond)
	}
}

func TestCourtesyStandsBackAsLongAsItMay(t *testing.T) {
	const most = 3*rest + rest/2
	c := NewCourtesy(most)
	busy(t)
	began := time.Now()
	for range 5 { // it waits for each, since the busy ones are interrupted every 10 ms
		c.Yield()
	}
	if took := time.Since(began); c.left != most-3*rest || took < 3*rest {
		t.Errorf("after %s it may still stand back for %s, want %s", took, c.left, most-3*rest)
	}
}

func TestCourtesyInAHurryOnlyGivesWay(t *testing.T) {
	c := NewCourtesy(time.Hour)
	c.Hurry()
	busy(t)
	c.Yield()
	if c.left != 0 {
		t.Errorf("in a hurry it may stand back for %s", c.left)
	}
}

func TestCourtesyOfNobody(t *testing.T) {
	var c *Courtesy
	c.Hurry()
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
