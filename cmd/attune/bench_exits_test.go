package main

import (
	"testing"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/segment"
)

// exitRows measure how late a customer leaves a segment whose window closes.
func exitRows() []row {
	return []row{
		{name: "window-exit-lateness-p99", unit: "ms", of: ofValue, less: true, floor: 1500, aim: 600, most: 1, open: openExits},
	}
}

// openExits has 100,000 members of one segment, who leave it when their view is an hour old: so nothing but exits of windows
// is pending. The delay is from the instant at which the window closes to the commit that states the exit.
func openExits(tb testing.TB, s scale) func() (figure, figure) {
	p := openProduct(tb)
	store, err := openControl(tb.Context(), p.js)
	if err != nil {
		tb.Fatal(err)
	}
	viewers := workspaceOf([]segment.Definition{{ID: "viewers", When: `did("Product Viewed", "1h")`}})
	if done, err := applyWorkspace(tb.Context(), p.js, store, viewers, false); err != nil || done.staged {
		tb.Fatalf("apply the segment: %+v, %v", done, err)
	}
	return func() (figure, figure) {
		return p.lateness(s, "Product Viewed", func(facts pipeline.Facts) (at []event.Instant) {
			for _, change := range facts.Changes {
				if !change.Entered {
					at = append(at, change.At)
				}
			}
			return at
		}), figure{}
	}
}
