package pipeline_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/bus"
)

// Memory stays bounded with a hundred times more profiles than fit, also while the bucket takes nothing: then commits
// wait, and go on after it.
func TestCustomerKeepsItsMemoryBounded(t *testing.T) {
	t.Parallel()
	const limit, people, batch = 50, 5000, 500
	w := newRig(t, 1).world(t, 0)
	for i := range people {
		w.eventOf(fmt.Sprint("p", i*37%people), "view")
	}
	held := make(chan int, 10*people)
	w.around(func(s bus.Session) bus.Session {
		return around{Session: s, begin: func(s bus.Session) { held <- pipeline.InMemory(s) }}
	}, nil)
	folding, blocked := make(chan struct{}), make(chan struct{})
	fold := sync.OnceFunc(func() { close(folding) })
	stop := w.customer(func(c *pipeline.CustomerConfig) {
		c.CachedProfiles, c.FoldEvery, c.CommitBytes = limit, time.Hour, 64<<10
		c.FailAt(func(at pipeline.Point) error {
			if at == pipeline.FoldBegun {
				fold()
				<-blocked
			}
			return nil
		})
	})
	eventually(t, "a batch asks for a round of folding", func() bool { // none is due by time
		select {
		case <-folding:
			return true
		default:
			return false
		}
	})
	if at := w.witness.last().Position; at > limit+2*batch {
		t.Errorf("the commits are at %d, though nothing is folded", at)
	}
	close(blocked)
	w.reach(w.end)
	stop()
	close(held)
	most, begins := 0, 0
	for n := range held {
		most, begins = max(most, n), begins+1
	}
	if most > 2*limit+2*batch { // as many clean ones, as many not folded, one batch committed and one under way
		t.Errorf("%d profiles in memory, want at most %d", most, 2*limit+2*batch)
	}
	t.Logf("at most %d profiles in memory at %d batches, of %d", most, begins, people)
	w.serve = nil
	for _, difference := range w.settle() {
		t.Error(difference)
	}
}
