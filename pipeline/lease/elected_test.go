package lease

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// A job runs in one of the workers, goes over to another when that one leaves, and ends with its context.
func TestElected(t *testing.T) {
	h := newHouse(t, 1)
	var running, clashes atomic.Int32
	var by atomic.Pointer[Worker] // whose job began last
	elect := func(x *tenant) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() {
			err := Elected(ctx, x.worker.Owner("customer"), "0", func(held context.Context) {
				if running.Add(1) > 1 {
					clashes.Add(1)
				}
				by.Store(x.worker)
				<-held.Done()
				running.Add(-1)
			})
			if err != nil {
				t.Error(err)
			}
		})
		return func() { cancel(); done.Wait() }
	}
	first := h.join(h.n.URL(), 0)
	stopFirst := elect(first)
	defer stopFirst()
	eventually(t, "the job runs in the only worker", func() bool { return running.Load() == 1 && by.Load() == first.worker })
	second := h.join(h.n.URL(), 0)
	stopSecond := elect(second)
	if err := first.worker.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the job runs in the other", func() bool { return running.Load() == 1 && by.Load() == second.worker })
	stopSecond()
	if running.Load() != 0 || clashes.Load() > 0 {
		t.Errorf("%d run after the end; %d times two at a time", running.Load(), clashes.Load())
	}
}
