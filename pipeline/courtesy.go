package pipeline

import (
	"iter"
	"runtime"
)

// GivingWay goes through a sink's work and, before every so many of its values (1: before each), lets others have the
// processor: a range of commits takes one for tens of milliseconds, and decisions share it.
func GivingWay[W any](work []W, every int) iter.Seq2[int, W] {
	return func(yield func(int, W) bool) {
		for i, w := range work {
			if i%every == 0 {
				runtime.Gosched()
			}
			if !yield(i, w) {
				return
			}
		}
	}
}
