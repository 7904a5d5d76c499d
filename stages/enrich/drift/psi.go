package drift

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Bins is into how many bins of about equal size a Reference cuts values.
const Bins = 10

// Reference is how values were distributed when a model was made: it is kept with the model. It never changes once made and
// is safe for concurrent use.
type Reference struct {
	Name string `json:"name"`
	// Cuts are the lower bounds of all bins but the first, rising. A value that alone fills a bin has one.
	Cuts []float64 `json:"cuts"`
	// Counts is how many values were in each bin, and last how many there were none of (NaN).
	Counts []float64 `json:"counts"`
}

// NewReference cuts the values into bins of about equal size. NaN stands for a value that there is none of.
func NewReference(name string, values []float64) Reference {
	r := Reference{Name: name}
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	slices.Sort(sorted)
	for i := 1; i < Bins && len(sorted) > 0; i++ {
		cut := sorted[len(sorted)*i/Bins]
		if cut > sorted[0] && (len(r.Cuts) == 0 || cut > r.Cuts[len(r.Cuts)-1]) {
			r.Cuts = append(r.Cuts, cut)
		}
	}
	r.Counts = r.Count(values)
	return r
}

// Count is how many of the values are in each bin.
func (r Reference) Count(values []float64) []float64 {
	counts := make([]float64, len(r.Cuts)+2)
	for _, v := range values {
		if math.IsNaN(v) {
			counts[len(counts)-1]++
			continue
		}
		bin, exact := slices.BinarySearch(r.Cuts, v)
		if exact {
			bin++
		}
		counts[bin]++
	}
	return counts
}

// Validate reports a reference that can't be compared with.
func (r Reference) Validate() error {
	switch {
	case r.Name == "":
		return errors.New("drift: a reference has no name")
	case len(r.Counts) != len(r.Cuts)+2:
		return fmt.Errorf("drift: the reference %s has %d counts: want %d", r.Name, len(r.Counts), len(r.Cuts)+2)
	case !slices.IsSorted(r.Cuts):
		return fmt.Errorf("drift: the cuts of the reference %s do not rise", r.Name)
	}
	return nil
}

// Thresholds of the index, as they are used in credit scoring (Siddiqi: Credit Risk Scorecards, 2006): below the first
// nothing has changed, from the second on a model should be made anew.
const (
	PSIWatch = 0.1
	PSIAct   = 0.25
)

// leastValues is how many values there must be on both sides for an alarm.
const leastValues = 100

// PSI is the population stability index of the values against the reference,
//
//	sum over bins of (q - p) ln(q / p)
//
// with p and q the shares then and now, each count raised by a half so that an empty bin is finite. Where nothing has
// changed its mean is about (bins-1)(1/n + 1/m) for n and m values, and it is so much times a chi-squared variable
// (Yurdakul: Statistical Properties of Population Stability Index, 2018): the threshold is PSIAct, or where there are few
// values what chance exceeds once in ten thousand times.
func (r Reference) PSI(values []float64) Finding {
	now := r.Count(values)
	var n, m, bins float64
	for i := range now {
		n, m = n+r.Counts[i], m+now[i]
		if r.Counts[i]+now[i] > 0 {
			bins++
		}
	}
	f := Finding{Threshold: PSIAct, Values: int(m)}
	if n == 0 || m == 0 {
		return f
	}
	for i := range now {
		if r.Counts[i]+now[i] > 0 {
			p, q := (r.Counts[i]+0.5)/(n+bins/2), (now[i]+0.5)/(m+bins/2)
			f.Value += (q - p) * math.Log(q/p)
		}
	}
	f.Threshold = max(PSIAct, chiSquared(bins-1)*(1/n+1/m))
	f.Alarm = f.Value > f.Threshold && min(n, m) >= leastValues
	return f
}

// onceInTenThousand is the standard normal deviate that chance exceeds so often.
const onceInTenThousand = 3.719016485455709

// chiSquared is what a chi-squared variable exceeds once in ten thousand times, by Wilson and Hilferty's approximation
// (The Distribution of Chi-Square, PNAS 17, 1931).
func chiSquared(degrees float64) float64 {
	if degrees <= 0 {
		return 0
	}
	v := 2 / (9 * degrees)
	return degrees * math.Pow(1-v+onceInTenThousand*math.Sqrt(v), 3)
}
