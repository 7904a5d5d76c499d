package clv

import (
	"errors"
	"fmt"
	"math"
)

// The ranges within which every function is finite and exact. What lies outside is taken as the nearest bound.
const (
	minParameter, maxParameter = 1e-4, 1e5 // of the models of counts
	minShape, maxShape, minQ   = 1e-4, 1e7, 1.0001
	maxRepeats                 = 1e9
	maxWeeks                   = 1e6
	maxSpend                   = 1e15
)

// clamp is x within [lo, hi]; NaN becomes lo.
func clamp(x, lo, hi float64) float64 {
	if !(x > lo) {
		return lo
	}
	if x > hi {
		return hi
	}
	return x
}

func abs(x float64) float64 { return math.Abs(x) }

type bound struct {
	field         string
	value, lo, hi float64
}

func validate(model string, bounds []bound) error {
	var errs []error
	for _, b := range bounds {
		if !(b.value >= b.lo && b.value <= b.hi) {
			errs = append(errs, fmt.Errorf("clv: %s.%s is %v: want a number from %v to %v; clv.CDNOW() has working ones",
				model, b.field, b.value, b.lo, b.hi))
		}
	}
	return errors.Join(errs...)
}
