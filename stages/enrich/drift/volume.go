package drift

import (
	"math"
	"slices"
)

const (
	week       = 7
	weeks      = 4
	least      = 20  // expected, for an alarm
	half       = 2.0 // how many times as much, or as little, is let pass
	deviations = 3.5 // Iglewicz and Hoaglin: How to Detect and Handle Outliers, 1993
)

// VolumeDays is how many days Volume looks at, the judged one included; with fewer known it tells nothing.
const VolumeDays = week*weeks + 1

// Volume compares a day's count with the median of the same weekday in the four weeks before. days begins with the day that
// is judged, then the day before it and so on. It is an alarm where the count is less than half or more than twice of that,
// and more than 3.5 deviations off on the scale of logarithms: the deviation is 1.4826 times the median absolute one of the
// days before, each from its own weekday's median, and at least that of a Poisson count. The value is the ratio to what was
// expected; the threshold is 2, or 0.5 where the value is below 1.
func Volume(days []float64) Finding {
	f := Finding{Value: 1, Threshold: half}
	if len(days) < VolumeDays {
		return f
	}
	f.Values = week * weeks
	usual := func(weekday int) float64 {
		same := make([]float64, 0, weeks)
		for i := weekday; i < VolumeDays; i += week {
			if i > 0 {
				same = append(same, days[i])
			}
		}
		return median(same)
	}
	expected := usual(0)
	off := make([]float64, 0, VolumeDays)
	for i := 1; i < VolumeDays; i++ {
		off = append(off, math.Abs(ratio(days[i], usual(i%week))))
	}
	f.Value = (days[0] + 0.5) / (expected + 0.5)
	if f.Value < 1 {
		f.Threshold = 1 / half
	}
	spread := max(1.4826*median(off), 1/math.Sqrt(expected+1))
	distance := math.Abs(math.Log(f.Value))
	f.Alarm = max(expected, days[0]) >= least && distance > math.Log(half) && distance > deviations*spread
	return f
}

// ratio is the logarithm of it, each count raised by a half so that none is without.
func ratio(count, expected float64) float64 { return math.Log((count + 0.5) / (expected + 0.5)) }

// median of an even number of values is the mean of the two in the middle; of none it is 0.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

const (
	leastShift = 0.05 // in the share of missing values, for an alarm
	leastSigma = 4.0  // standard errors
)

// NullRate compares in how many of the values now, and of those before, a field is missing: an alarm where the share has
// moved by more than five hundredths and by more than four standard errors of the difference of two proportions, pooled.
// The value is the difference; the threshold is in the same.
func NullRate(missing, values, missingBefore, valuesBefore float64) Finding {
	f := Finding{Threshold: leastShift, Values: int(values)}
	if values == 0 || valuesBefore == 0 {
		return f
	}
	f.Value = missing/values - missingBefore/valuesBefore
	pooled := (missing + missingBefore) / (values + valuesBefore)
	f.Threshold = max(leastShift, leastSigma*math.Sqrt(pooled*(1-pooled)*(1/values+1/valuesBefore)))
	f.Alarm = math.Abs(f.Value) > f.Threshold && min(values, valuesBefore) >= least
	return f
}
