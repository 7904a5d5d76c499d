package clv

import (
	"math"

	"attune/pipeline/portable"
)

// ParetoNBD are the parameters of the Pareto/NBD model: purchases at a customer's own rate, gamma distributed with shape
// R and rate Alpha (weeks), and a lifetime that ends at a rate of their own too, gamma distributed with shape S and rate
// Beta (weeks), whether they buy or not. Each lies between 1e-4 and 1e5.
type ParetoNBD struct {
	R     float64 `json:"r" yaml:"r"`
	Alpha float64 `json:"alpha" yaml:"alpha"`
	S     float64 `json:"s" yaml:"s"`
	Beta  float64 `json:"beta" yaml:"beta"`
}

var _ Counts = ParetoNBD{}

// Name is paretonbd.
func (m ParetoNBD) Name() string { return NameParetoNBD }

// Alive is the probability that the customer has not left for good.
func (m ParetoNBD) Alive(p Purchases) float64 { return m.bounded().alive(p.bounded()) }

// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
func (m ParetoNBD) Expected(p Purchases, weeks float64) float64 {
	m, p, weeks = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks)
	beta := m.Beta + p.AgeWeeks
	return float64(float64(m.alive(p)*m.rate(p)) * float64(beta*power(1-m.S, portable.Log1p(weeks/beta))))
}

// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
func (m ParetoNBD) Active(p Purchases, weeks float64) float64 {
	m, p, weeks = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks)
	// A customer who is alive is a new one whose rates are known better: no purchase until weeks is x = 0 at that age.
	k, alpha, beta := m.R+p.Repeats, m.Alpha+p.AgeWeeks, m.Beta+p.AgeWeeks
	known := ParetoNBD{R: k, Alpha: alpha, S: m.S, Beta: beta}
	none := softplus(known.logOddsGone(Purchases{AgeWeeks: weeks})) - float64(k*portable.Log1p(weeks/alpha)) - float64(m.S*portable.Log1p(weeks/beta))
	return float64(m.alive(p) * clamp(-portable.Expm1(none), 0, 1))
}

// Discounted is the mean over the purchases of the coming weeks (0 to 1e6) of e^(-rate t), summed; rate is 0 to 1.
// Over a horizon without end it is the papers' DERT: at a rate of 0.0027, 1e6 weeks are that.
func (m ParetoNBD) Discounted(p Purchases, weeks, rate float64) float64 {
	m, p, weeks, rate = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks), clamp(rate, 0, 1)
	if rate == 0 {
		return m.Expected(p, weeks)
	}
	// The integral of e^(-rate t) ((beta+T)/(beta+T+t))^s over t, in v = ln((beta+T+t)/(beta+T)), where the integrand's
	// logarithm is concave.
	beta := m.Beta + p.AgeWeeks
	decay, shape := rate*beta, 1-m.S
	integral := integrate(0, portable.Log1p(weeks/beta), func(v float64) float64 {
		return float64(shape*v) - float64(decay*portable.Expm1(v))
	}, func(v float64) float64 { return shape - float64(decay*portable.Exp(v)) })
	return float64(float64(m.alive(p)*m.rate(p)) * float64(beta*portable.Exp(integral)))
}

// Validate reports every parameter outside its range.
func (m ParetoNBD) Validate() error {
	return validate(NameParetoNBD, []bound{
		{"r", m.R, minParameter, maxParameter}, {"alpha", m.Alpha, minParameter, maxParameter},
		{"s", m.S, minParameter, maxParameter}, {"beta", m.Beta, minParameter, maxParameter},
	})
}

// Parameters are r, alpha, s and beta.
func (m ParetoNBD) Parameters() [4]float64 { return [4]float64{m.R, m.Alpha, m.S, m.Beta} }

// pairs: given the rate and the lifetime left, tau, purchases are a Poisson process until min(tau, weeks). So it is
// E[rate^2] E[min^2], and E[min^2] is the integral of 2y P(tau > y).
func (m ParetoNBD) pairs(p Purchases, weeks float64) float64 {
	m, p, weeks = m.bounded(), p.bounded(), clamp(weeks, 0, maxWeeks)
	k, alpha, beta := m.R+p.Repeats, m.Alpha+p.AgeWeeks, m.Beta+p.AgeWeeks
	ln := portable.Log1p(weeks / beta)
	square := 2 * float64(float64(beta*beta)*(power(2-m.S, ln)-power(1-m.S, ln)))
	return float64(m.alive(p) * float64(float64(k*(k+1)/alpha/alpha)*clamp(square, 0, weeks*weeks)))
}

// rate is the mean number of purchases a week of a customer who is alive.
func (m ParetoNBD) rate(p Purchases) float64 { return (m.R + p.Repeats) / (m.Alpha + p.AgeWeeks) }

func (m ParetoNBD) alive(p Purchases) float64 { return 1 / (1 + portable.Exp(m.logOddsGone(p))) }

// LogOddsGone is the logarithm of the odds that the customer has left, from -inf to about 1e10:
//
//	(alpha+T)^(r+x) (beta+T)^s * integral from t_x to T of s (alpha+y)^-(r+x) (beta+y)^-(s+1) dy
//
// (the lifetime ends at y). It is a step on the way to the likelihood.
func (m ParetoNBD) LogOddsGone(p Purchases) float64 { return m.bounded().logOddsGone(p.bounded()) }

func (m ParetoNBD) logOddsGone(p Purchases) float64 {
	if p.LastWeek >= p.AgeWeeks {
		return math.Inf(-1)
	}
	larger := max(m.Alpha, m.Beta)
	if abs(m.Alpha-m.Beta) <= float64(hyperLimit*(larger+p.LastWeek)) {
		if v, ok := m.oddsFromSeries(p); ok {
			return v
		}
	}
	return m.oddsFromIntegral(p)
}

// hyperLimit is the argument beyond which the series of hyper needs too many terms.
const hyperLimit = 0.8

// oddsFromSeries is the difference of two integrals without an upper end, each by Gauss's function. With the papers'
// A0 in Euler's form the powers leave s/(r+s+x) e^E w(t_x) G(t_x) less the same at T, whose powers are 1:
//
//	alpha >= beta: G = 2F1(1, r+x; r+s+x+1; z), w = 1
//	alpha <  beta: G = 2F1(1, s+1; r+s+x+1; z), w = (alpha+y)/(beta+y)
//
// at z = |alpha-beta|/(max(alpha, beta)+y). All terms of G are positive. ok is false when the two are too near each
// other for a difference.
func (m ParetoNBD) oddsFromSeries(p Purchases) (_ float64, ok bool) {
	k := m.R + p.Repeats
	at := func(y float64) float64 {
		if m.Alpha >= m.Beta {
			return hyper(k, k+m.S+1, (m.Alpha-m.Beta)/(m.Alpha+y))
		}
		return (m.Alpha + y) / (m.Beta + y) * hyper(m.S+1, k+m.S+1, (m.Beta-m.Alpha)/(m.Beta+y))
	}
	silent := p.AgeWeeks - p.LastWeek
	grown := float64(k*portable.Log1p(silent/(m.Alpha+p.LastWeek))) + float64(m.S*portable.Log1p(silent/(m.Beta+p.LastWeek)))
	early, late := at(p.LastWeek), at(p.AgeWeeks)
	if grown < expMax { // beyond it the second is nothing
		late = float64(late * portable.Exp(-grown))
	} else {
		late = 0
	}
	left := early - late
	if left < float64(1e-3*early) {
		return 0, false
	}
	return grown + portable.Log(float64(m.S/(k+m.S)*left)), true
}

// expMax is where e^-x is no longer anything beside 1.
const expMax = 100

// oddsFromIntegral is the integral itself, in u = ln(min(alpha, beta)+y), where the integrand's logarithm is concave.
func (m ParetoNBD) oddsFromIntegral(p Purchases) float64 {
	smaller := min(m.Alpha, m.Beta)
	alpha, beta, k := m.Alpha-smaller, m.Beta-smaller, m.R+p.Repeats
	lnAlpha, lnBeta := portable.Log(m.Alpha+p.AgeWeeks), portable.Log(m.Beta+p.AgeWeeks)
	from := portable.Log(smaller + p.LastWeek)
	to := from + portable.Log1p((p.AgeWeeks-p.LastWeek)/(smaller+p.LastWeek))
	ln := integrate(from, to, func(u float64) float64 {
		y := portable.Exp(u)
		toAlpha, toBeta := portable.Log(y+alpha), portable.Log(y+beta)
		return u - toBeta + float64(k*(lnAlpha-toAlpha)) + float64(m.S*(lnBeta-toBeta))
	}, func(u float64) float64 {
		y := portable.Exp(u)
		return 1 - float64(k*y/(y+alpha)) - float64((m.S+1)*y/(y+beta))
	})
	return ln + portable.Log(m.S)
}

func (m ParetoNBD) bounded() ParetoNBD {
	return ParetoNBD{
		R:     clamp(m.R, minParameter, maxParameter),
		Alpha: clamp(m.Alpha, minParameter, maxParameter),
		S:     clamp(m.S, minParameter, maxParameter),
		Beta:  clamp(m.Beta, minParameter, maxParameter),
	}
}

// power is (w^e - 1)/e at ln = ln w: the integral of w^(e-1) from 1 to w, also at e = 0.
func power(e, ln float64) float64 {
	if e == 0 {
		return ln
	}
	return portable.Expm1(float64(e*ln)) / e
}

// softplus is ln(1+e^x).
func softplus(x float64) float64 {
	if x > 40 {
		return x
	}
	return portable.Log1p(portable.Exp(x))
}

// hyper is Gauss's 2F1(1, b; c; z) for c > b > 0 and 0 <= z < 1: a sum of positive terms.
func hyper(b, c, z float64) float64 {
	sum, term := 1.0, 1.0
	for n := 0.0; n < maxTerms; n++ {
		term = float64(term*float64(z*(b+n))) / (c + n)
		sum += term
		if term < float64(1e-17*sum) {
			break
		}
	}
	return sum
}
