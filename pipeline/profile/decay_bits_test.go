package profile

import (
	"math"
	"runtime"
	"testing"

	"attune/pipeline/event"
)

// The bits of a spread of weights, summed up: what is stored of them must be the same on every platform, and in the next
// version.
func TestWeightsHaveTheSameBitsEverywhere(t *testing.T) {
	var h uint64 = 14695981039346656037
	for i := range 4000 {
		at := landmark + event.Instant(i-1500)*7_919_333_337
		h = (h ^ math.Float64bits(growth(at))) * 1099511628211
	}
	const want = 0x77dd20d011f47dff
	if h != want {
		t.Errorf("on %s: got %#x, want %#x", runtime.GOARCH, h, uint64(want))
	}
}
