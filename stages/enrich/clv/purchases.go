package clv

import "math"

// Purchases is one customer's past, as of the moment that is scored.
type Purchases struct {
	Repeats   float64 // x: days with a purchase after the first such day; 0 to 1e9, a fraction is cut off
	LastWeek  float64 // t_x: weeks from the first to the last purchase; 0 to AgeWeeks; 0 without a repeat
	AgeWeeks  float64 // T: weeks from the first purchase to now; 0 to 1e6
	MeanSpend float64 // zbar: mean spend of a repeat day; 0 to 1e15; not read without a repeat
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
