package clv

import "math"

// History is what has to be kept of a customer's purchases to score them: five numbers. Purchases of one day count as
// one. The zero value is a customer without a purchase.
type History struct {
	First       int32 `json:"first"`        // day number of the first purchase, in one time zone
	Last        int32 `json:"last"`         // day number of the last purchase
	Days        int32 `json:"days"`         // distinct days with a purchase
	FirstSpend  int64 `json:"first_spend"`  // spend of the first day, in the currency's minor units (cents)
	RepeatSpend int64 `json:"repeat_spend"` // spend of all later days, in minor units
}

// Add returns the history with one more purchase. Purchases should come in the order of their days; one that comes
// late between the first and the last day is taken as a day of its own.
func (h History) Add(day int32, spend int64) History {
	switch {
	case h.Days == 0:
		return History{First: day, Last: day, Days: 1, FirstSpend: spend}
	case day == h.First:
		h.FirstSpend = plus(h.FirstSpend, spend)
	case day < h.First:
		h.RepeatSpend = plus(h.RepeatSpend, h.FirstSpend)
		h.First, h.FirstSpend = day, spend
		h.Days++
	default:
		h.RepeatSpend = plus(h.RepeatSpend, spend)
		if day != h.Last {
			h.Days++
		}
		h.Last = max(h.Last, day)
	}
	return h
}

// plus sums up what is spent without ever wrapping around: what is out of range stays at the bound.
func plus(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// Purchases is the history as of a moment: now in days, on the scale of the day numbers, a fraction being part of the
// day. minorUnits says how many make a unit of the currency (100 for dollars).
func (h History) Purchases(now float64, minorUnits int64) Purchases {
	if h.Days == 0 {
		return Purchases{}
	}
	p := Purchases{
		Repeats:  float64(h.Days - 1),
		LastWeek: float64(h.Last-h.First) / 7,
		AgeWeeks: (now - float64(h.First)) / 7,
	}
	if h.Days > 1 && minorUnits > 0 {
		p.MeanSpend = float64(h.RepeatSpend) / float64(minorUnits) / p.Repeats
	}
	return p
}
