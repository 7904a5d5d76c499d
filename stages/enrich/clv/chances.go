package clv

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Median is the number of days with a purchase in the coming weeks (0 to 1e6) that is exceeded no more often than not. It
// is the forecast whose mean absolute error is the least, as Expected is that of the least squared error (Gneiting: Making
// and Evaluating Point Forecasts, Journal of the American Statistical Association 106, 2011). It is slow, and like Outlook
// not part of the promise about numbers that repeat: models are judged by it, and nothing is decided.
func Median(counts Counts, p Purchases, weeks float64) float64 {
	if counts.Active(p, weeks) <= 0.5 {
		return 0
	}
	most := 2.0
	for counts.AtLeast(p, weeks, most) > 0.5 {
		if most *= 2; most > maxRepeats {
			return maxRepeats
		}
	}
	least := math.Floor(most / 2) // reached more often than not; most is not
	for most-least > 1 {
		if middle := math.Floor((least + most) / 2); counts.AtLeast(p, weeks, middle) > 0.5 {
			least = middle
		} else {
			most = middle
		}
	}
	return least
}

// AtLeast is the probability of at least n days (1 to 1e9) with a purchase in the coming weeks (0 to 1e6).
func (m BGNBD) AtLeast(p Purchases, weeks, n float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).atLeast(clamp(weeks, 0, maxWeeks), clamp(n, 1, maxRepeats)))
}

// AtLeast is the probability of at least n days (1 to 1e9) with a purchase in the coming weeks (0 to 1e6).
func (m MBGNBD) AtLeast(p Purchases, weeks, n float64) float64 {
	m, p = m.bounded(), p.bounded()
	return float64(m.alive(p) * m.future(p).atLeast(clamp(weeks, 0, maxWeeks), clamp(n, 1, maxRepeats)))
}

// atLeast: the customer has stayed after each of the first n-1 purchases, and the process has come to n by then. Rate and
// chance to leave are independent of each other, given that the customer is alive.
func (f future) atLeast(t, n float64) float64 {
	stayed := math.Exp(lbeta(f.a, f.b+n-1) - lbeta(f.a, f.b))
	return clamp(stayed, 0, 1) * reached(n, f.k, t, f.scale)
}

// AtLeast is the probability of at least n days (1 to 1e9) with a purchase in the coming weeks (0 to 1e6), within 1e-3. It
// is the mean over the lifetime left, by its distribution function, of the chance to have come to n in it.
func (m ParetoNBD) AtLeast(p Purchases, weeks, n float64) float64 {
	m, p, weeks, n = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks), clamp(n, 1, maxRepeats)
	k, alpha, beta := m.R+p.Repeats, m.Alpha+p.AgeWeeks, m.Beta+p.AgeWeeks
	lives := lifetime{s: m.S, beta: beta}
	still := lives.survives(weeks)
	chance := still * reached(n, k, weeks, alpha)
	const parts = 64
	for i := range parts {
		gone := still + (1-still)*(float64(i)+0.5)/parts
		chance += (1 - still) / parts * reached(n, k, lives.until(gone), alpha)
	}
	return m.alive(p) * clamp(chance, 0, 1)
}

// lifetime is Lomax distributed: P(longer than t) = (beta/(beta+t))^s.
type lifetime struct{ s, beta float64 }

func (l lifetime) survives(t float64) float64 { return math.Exp(-l.s * math.Log1p(t/l.beta)) }

// until is when so many are left.
func (l lifetime) until(left float64) float64 {
	return clamp(l.beta*math.Expm1(-math.Log(left)/l.s), 0, maxWeeks)
}

// reached is the probability that a Poisson process with a gamma distributed rate (shape k, rate scale) has come to n by t.
func reached(n, k, t, scale float64) float64 {
	return clamp(mathext.RegIncBeta(n, k, t/(scale+t)), 0, 1)
}

func lbeta(a, b float64) float64 {
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	return la + lb - lab
}
