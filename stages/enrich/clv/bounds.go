package clv

import (
	"errors"
	"fmt"
	"math"
)

// The ranges within which every function is finite and exact. What lies outside is taken as the nearest bound.
const (
	minParameter, maxParameter = 1e-4, 1e5 // of BGNBD and MBGNBD
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

func (p Purchases) bounded() Purchases {
	p.Repeats = math.Floor(clamp(p.Repeats, 0, maxRepeats))
	p.AgeWeeks = clamp(p.AgeWeeks, 0, maxWeeks)
	p.LastWeek = clamp(p.LastWeek, 0, p.AgeWeeks)
	p.MeanSpend = clamp(p.MeanSpend, 0, maxSpend)
	if p.Repeats == 0 {
		p.LastWeek = 0
	}
	return p
}

func (m BGNBD) bounded() BGNBD {
	return BGNBD{
		R:     clamp(m.R, minParameter, maxParameter),
		Alpha: clamp(m.Alpha, minParameter, maxParameter),
		A:     clamp(m.A, minParameter, maxParameter),
		B:     clamp(m.B, minParameter, maxParameter),
	}
}

func (m GammaGamma) bounded() GammaGamma {
	return GammaGamma{P: clamp(m.P, minShape, maxShape), Q: clamp(m.Q, minQ, maxShape), V: clamp(m.V, minShape, maxShape)}
}

// sqrt is exact by IEEE 754 and so the same on every platform.
func sqrt(x float64) float64 { return math.Sqrt(x) }

func abs(x float64) float64 { return math.Abs(x) }

type bound struct {
	field         string
	value, lo, hi float64
}

func validateCounts(model string, m BGNBD) error {
	return validate(model, []bound{
		{"r", m.R, minParameter, maxParameter}, {"alpha", m.Alpha, minParameter, maxParameter},
		{"a", m.A, minParameter, maxParameter}, {"b", m.B, minParameter, maxParameter},
	})
}

func validate(model string, bounds []bound) error {
	var errs []error
	for _, b := range bounds {
		if !(b.value >= b.lo && b.value <= b.hi) {
			errs = append(errs, fmt.Errorf("clv: %s.%s is %v: want a number from %v to %v; clv.CDNOW() has working ones",
				model, b.field, b.value, b.lo, b.hi))
		}
	}
	return join(errs...)
}

func join(errs ...error) error { return errors.Join(errs...) }
