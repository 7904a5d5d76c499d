package main

import (
	"fmt"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/stages/segment"
)

// exitRows measure how late a customer leaves a segment whose window closes.
func exitRows() []row {
	return []row{
		{name: "window-exit-lateness-p99", unit: "ms", of: ofValue, less: true, floor: 1500, aim: 600, most: 1, open: openExits},
	}
}

// openExits has 100,000 members of one segment, each since a view nearly an hour ago, who leave it when that view is an hour
// old: so nothing but exits of windows is pending. A fifth of them is due within some seconds; the delay is from the instant
// at which the window closes to the commit that states the exit.
func openExits(tb testing.TB, s scale) func() (figure, figure) {
	p := openProduct(tb)
	store, err := openControl(tb.Context(), p.js)
	if err != nil {
		tb.Fatal(err)
	}
	const window = time.Hour
	viewers := workspaceOf([]segment.Definition{{ID: "viewers", When: `did("Product Viewed", "1h")`}})
	if done, err := applyWorkspace(tb.Context(), p.js, store, viewers, false); err != nil || done.staged {
		tb.Fatalf("apply the segment: %+v, %v", done, err)
	}
	return func() (figure, figure) {
		n := s.of(100_000)
		soon := n / 5
		lead, spread := 25*time.Second, 15*time.Second
		if s != full {
			lead, spread = 1500*time.Millisecond, 300*time.Millisecond
		}
		done := make(chan struct{})
		var delays []time.Duration
		stop := p.observe(func(_ int, _ *pipeline.Commit, facts pipeline.Facts, stored time.Time) {
			for _, change := range facts.Changes {
				if change.Entered {
					continue
				}
				if delays = append(delays, stored.Sub(change.At.Time())); len(delays) == soon {
					close(done)
				}
			}
		})
		defer stop()
		first := time.Now().Add(lead)
		f := newFeed(newPopulation(n), each)
		if _, err := fill(tb.Context(), p.js, topology.Events, n, func(i int) (int, event.Event) {
			due := first.Add(window / 2)
			if i < soon {
				due = first.Add(spread * time.Duration(i) / time.Duration(soon))
			}
			partition, e := f.next(due.Add(-window))
			e.Name = "Product Viewed"
			return partition, e
		}); err != nil {
			tb.Fatal(err)
		}
		if err := p.armed(tb.Context(), n, first); err != nil {
			tb.Fatal(err)
		}
		select {
		case <-done:
		case <-time.After(2 * time.Minute):
			tb.Fatalf("%d of %d exits were stated within 2 minutes", len(delays), soon)
		}
		return figure{
			value: milliseconds(percentile(delays, 0.99)),
			note:  fmt.Sprintf("p50 %.0f ms; %d pending, %.0f a second due", milliseconds(percentile(delays, 0.5)), n, float64(soon)/spread.Seconds()),
		}, figure{}
	}
}
