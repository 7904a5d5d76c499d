package portable_test

import (
	"math"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"attune/pipeline/portable"
)

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

func TestElementary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(-690, 690).Draw(t, "x")
		if got, want := portable.Exp(x), math.Exp(x); relative(got, want) > 4e-16*(1+math.Abs(x)/100) {
			t.Errorf("Exp(%v): got %v, want %v", x, got, want)
		}
		small := rapid.Float64Range(-1, 1).Draw(t, "small")
		if got, want := portable.Expm1(small), math.Expm1(small); math.Abs(got-want) > 8e-16*math.Abs(want) {
			t.Errorf("Expm1(%v): got %v, want %v", small, got, want)
		}
		y := rapid.Float64Range(1e-300, 1e300).Draw(t, "y")
		if got, want := portable.Log(y), math.Log(y); math.Abs(got-want) > 4e-16*math.Abs(want) {
			t.Errorf("Log(%v): got %v, want %v", y, got, want)
		}
		near := 1 + small/2
		if got, want := portable.Log(near), math.Log(near); math.Abs(got-want) > 6e-16*math.Abs(want) {
			t.Errorf("Log(%v): got %v, want %v", near, got, want)
		}
		z := math.Exp(rapid.Float64Range(-45, 45).Draw(t, "ln z"))
		if got, want := portable.Log1p(z), math.Log1p(z); math.Abs(got-want) > 6e-16*math.Abs(want) {
			t.Errorf("Log1p(%v): got %v, want %v", z, got, want)
		}
		if got, want := portable.Logistic(x), 1/(1+math.Exp(-x)); relative(got, want) > 4e-15 {
			t.Errorf("Logistic(%v): got %v, want %v", x, got, want)
		}
	})
	if portable.Exp(0) != 1 || portable.Log(1) != 0 || portable.Log1p(0) != 0 || portable.Expm1(0) != 0 || portable.Logistic(0) != 0.5 {
		t.Error("not exact at the origin")
	}
}

// The bits of a spread of results, summed up: the same on every platform.
func TestSameBitsEverywhere(t *testing.T) {
	var h uint64 = 14695981039346656037
	mix := func(v float64) { h = (h ^ math.Float64bits(v)) * 1099511628211 }
	for i := range 4000 {
		x := float64(i)/100 - 20
		y := x * x
		mix(portable.Exp(x))
		mix(portable.Log(y + 1e-9))
		mix(portable.Log1p(y))
		mix(portable.Expm1(x))
		mix(portable.Logistic(x))
	}
	const want = 0x4ecc6f29b811fd04
	if h != want {
		t.Errorf("on %s: got %#x, want %#x", runtime.GOARCH, h, uint64(want))
	}
}
