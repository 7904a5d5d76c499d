package drift

import "math"

// PageHinkley watches the mean of a stream, in both directions: it sums up by how much each value is off the mean so far,
// less what is allowed, and alarms when the sum has risen too far above its least value (Page: Continuous Inspection
// Schemes, Biometrika 41, 1954; Hinkley: Inference about the Change-Point from Cumulative Sum Tests, Biometrika 58, 1971;
// the form is that of Gama et al.: A Survey on Concept Drift Adaptation, ACM Computing Surveys 46, 2014).
//
// Allowed and Limit are in standard deviations of the values before: their own, so that one setting serves any stream. The
// zero value is not useful; NewPageHinkley has the settings. It is not safe for concurrent use.
type PageHinkley struct {
	allowed, limit float64
	warmUp         int

	n, mean, squares float64 // Welford's sums
	up, down         cusum
	changed          float64 // of what was added after an alarm nothing is looked at
}

type cusum struct{ sum, least float64 }

func (c *cusum) add(x float64) (height float64) {
	c.sum += x
	c.least = min(c.least, c.sum)
	return c.sum - c.least
}

// Settings of NewPageHinkley: a shift of a tenth of a standard deviation is let pass, and one of three tenths is told after
// some 400 values.
const (
	phAllowed = 0.1
	phLimit   = 75
	phWarmUp  = 500 // so that the mean is known well within what is allowed
)

// NewPageHinkley watches from the value 501 on.
func NewPageHinkley() *PageHinkley {
	return &PageHinkley{allowed: phAllowed, limit: phLimit, warmUp: phWarmUp}
}

// Add takes the stream's next value and tells whether the mean has changed so far. NaN is not one.
func (p *PageHinkley) Add(x float64) bool {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return p.changed != 0
	}
	if spread := p.deviation(); p.n >= float64(p.warmUp) && p.changed == 0 {
		off := 0.0
		if spread > 0 {
			off = (x - p.mean) / spread
		} else if x != p.mean {
			off = math.Copysign(p.limit+1, x-p.mean) // never anything else so far
		}
		up, down := p.up.add(off-p.allowed), p.down.add(-off-p.allowed)
		if up > p.limit {
			p.changed = up
		} else if down > p.limit {
			p.changed = -down
		}
	}
	p.n++
	d := x - p.mean
	p.mean += d / p.n
	p.squares += d * (x - p.mean)
	return p.changed != 0
}

func (p *PageHinkley) deviation() float64 {
	if p.n < 2 {
		return 0
	}
	return math.Sqrt(p.squares / (p.n - 1))
}

// Finding is how far the sum has got: above zero the mean has risen, below it has fallen.
func (p *PageHinkley) Finding() Finding {
	f := Finding{Value: p.changed, Threshold: p.limit, Values: int(p.n), Alarm: p.changed != 0}
	if !f.Alarm {
		up, down := p.up.sum-p.up.least, p.down.sum-p.down.least
		if f.Value = up; down > up {
			f.Value = -down
		}
	}
	return f
}
