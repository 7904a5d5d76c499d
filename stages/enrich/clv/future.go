package clv

import (
	"math"

	"attune/pipeline/portable"
)

// future describes a customer who is alive: the rate of purchases is gamma distributed (shape k, rate scale), the
// chance to leave after each purchase beta distributed (a, b). BG/NBD and MBG/NBD differ only in b.
type future struct{ k, scale, a, b float64 }

// any is the probability of at least one purchase within t weeks.
func (f future) any(t float64) float64 {
	return -portable.Expm1(-float64(f.k * portable.Log1p(t/f.scale)))
}

// seriesLimit is the argument beyond which the series of expected needs too many terms: the horizon is then more
// than 30 times the customer's age plus alpha.
const seriesLimit = 0.97

// expected is the mean number of purchases within t weeks:
//
//	c/(a-1) [1 - (1-z)^k 2F1(k, b; c; z)],  c = a+b-1,  z = t/(scale+t)
//
// It is evaluated by the series of the Euler-transformed function, which has no singularity at a = 1, or where that
// loses digits by the integral over the chance to leave, whose integrand is positive.
func (f future) expected(t float64) float64 {
	if t <= 0 {
		return 0
	}
	if z := t / (f.scale + t); z <= seriesLimit {
		if sum, size, ok := f.series(z); ok {
			if v, ok := f.fromSeries(t, sum, size); ok {
				return v
			}
		}
	}
	return f.integral(t)
}

// fromSeries completes the series' sum to the expectation and says whether enough digits are left: with e = a-1,
//
//	c * (1-(1-z)^e)/e - (1-z)^e * sum
func (f future) fromSeries(t, sum, size float64) (float64, bool) {
	e := f.a - 1
	ln := -portable.Log1p(t / f.scale) // ln(1-z)
	power := float64(e * ln)
	first := -ln
	if e != 0 {
		first = -portable.Expm1(power) / e
	}
	first = float64(first * (f.a + f.b - 1))
	if abs(power) > 600 { // the exponential's bounds are near
		return 0, false
	}
	scale := portable.Exp(power)
	v := first - float64(scale*sum)

	// The terms above are right to some units of their last digit; what they lose against each other is compared
	// with the result. An overflow makes the comparison false.
	lost := float64((abs(first) + float64(scale*size)) * (1 + abs(power)) * 1e-15)
	if !(lost < float64(1e-11*v)) {
		return 0, false
	}
	return f.bounded(v, t), true
}

// series sums
//
//	sum over n >= 1 of (p)_n (a)_(n-1) / ((c+1)_(n-1) n!) z^n,  p = c-k
//
// which is c/(a-1) times the Euler-transformed 2F1(p, a-1; c; z) less its first term. size is the sum of the
// absolute terms; ok is false when the series does not converge soon.
func (f future) series(z float64) (sum, size float64, ok bool) {
	c := f.a + f.b - 1
	p := c - f.k
	term := float64(p * z)
	for n := 1.0; n <= maxTerms; {
		var ratio float64
		for range termsAtOnce {
			sum += term
			size += abs(term)
			ratio = float64(z*float64((p+n)*(f.a+n-1))) / float64((c+n)*(n+1))
			term *= ratio
			n++
		}
		if settled(abs(term), abs(ratio), z, size) {
			return sum, size, true
		}
	}
	return 0, 0, false
}

// seriesAt is series for several z in rising order. All share their coefficients, so that one more costs little, and a
// smaller one is done earlier.
func (f future) seriesAt(z *[nodes]float64) (sum, size [nodes]float64, ok bool) {
	c := f.a + f.b - 1
	p := c - f.k
	power := *z
	coefficient := p
	open := 0 // the first that is not done
	for n := 1.0; n <= maxTerms; {
		var ratio float64
		for range termsAtOnce {
			for i := open; i < nodes; i++ {
				term := float64(coefficient * power[i])
				sum[i] += term
				size[i] += abs(term)
				power[i] *= z[i]
			}
			ratio = float64((p+n)*(f.a+n-1)) / float64((c+n)*(n+1))
			coefficient *= ratio
			n++
		}
		for settled(abs(float64(coefficient*power[open])), abs(float64(ratio*z[open])), z[open], size[open]) {
			if open++; open == nodes {
				return sum, size, true
			}
		}
	}
	return sum, size, false
}

const (
	maxTerms    = 2000
	termsAtOnce = 4
)

// settled says whether the terms that are left can be neglected: they are no more than a geometric series of the
// larger of the present ratio and the limit's, z.
func settled(term, ratio, z, size float64) bool {
	if ratio < z {
		ratio = z
	}
	return ratio < 1 && term <= float64(float64(2e-14*(1-ratio))*size)
}

// integral is the same expectation as the mean of (1-(1+pt/scale)^-k)/p over the chance to leave.
func (f future) integral(t float64) float64 {
	u := t / f.scale
	return f.bounded(f.mean(u, func(p float64) float64 {
		return -portable.Expm1(-float64(f.k*portable.Log1p(float64(p*u)))) / p
	}), t)
}

// pairs is the mean of N(N-1) for the number N of purchases within t weeks. With u = t/scale it is twice the mean over the
// chance to leave of
//
//	(1-p) [1 - (1+pu)^-k - k pu (1+pu)^-(k+1)] / p^2
//
// which is q S'(q) for S = (1-e^(-p rate t))/p, the sum of q^(n-1) P(at least n purchases if nobody left), q = 1-p.
func (f future) pairs(t float64) float64 {
	u := t / f.scale
	return 2 * f.mean(u, func(p float64) float64 {
		pu := float64(p * u)
		ln := portable.Log1p(pu)
		v := -portable.Expm1(-float64(f.k*ln)) - float64(float64(f.k*pu)*portable.Exp(-float64((f.k+1)*ln)))
		square := v / p / p
		if (f.k+2)*pu < 1e-5 { // the terms above would cancel
			square = float64(float64(f.k*(f.k+1)/2*u*u) * (1 - float64((f.k+2)*pu*2/3)))
		}
		return float64((1 - p) * square)
	})
}

// mean is that of g over the beta distribution of p, the chance to leave, by the trapezoidal rule in s = logit(p), which
// converges exponentially where g is positive and smooth. Both tails end as geometric series: g no longer changes where
// (k+1) p u is nothing beside 1.
func (f future) mean(u float64, g func(p float64) float64) float64 {
	step := 0.5 * math.Sqrt(1/f.a+1/f.b) // exact by IEEE 754 and so the same on every platform
	if step > 0.2 {
		step = 0.2
	}
	mode := portable.Log(f.a / f.b)
	top := f.weight(mode)

	var weights, sum float64
	add := func(s float64) (w, wg float64) {
		w = portable.Exp(f.weight(s) - top)
		wg = float64(w * g(portable.Logistic(s)))
		weights += w
		sum += wg
		return w, wg
	}
	add(mode)
	for j := 1.0; j < 1e5; j++ { // to the right, where p goes to 1
		s := mode + float64(j*step)
		w, wg := add(s)
		if s > 40 {
			tail := 1/-portable.Expm1(-float64(f.b*step)) - 1
			weights += float64(w * tail)
			sum += float64(wg * tail)
			break
		}
		if w < float64(1e-19*weights) && wg < float64(1e-19*sum) {
			break
		}
	}
	for j := 1.0; j < 1e5; j++ { // to the left, where p goes to 0
		s := mode - float64(j*step)
		w, wg := add(s)
		if s < -40 && float64((f.k+1)*u*portable.Exp(s)) < 1e-17 {
			tail := 1/-portable.Expm1(-float64(f.a*step)) - 1
			weights += float64(w * tail)
			sum += float64(wg * tail)
			break
		}
		if w < float64(1e-19*weights) && wg < float64(1e-19*sum) {
			break
		}
	}
	return sum / weights
}

// weight is the logarithm of p^a (1-p)^b at p = 1/(1+e^-s).
func (f future) weight(s float64) float64 {
	if s < 0 {
		l := portable.Log1p(portable.Exp(s))
		return float64(f.a*(s-l)) - float64(f.b*l)
	}
	l := portable.Log1p(portable.Exp(-s))
	return -float64(f.a*l) - float64(f.b*(s+l))
}

// bounded keeps v between 0 and what a customer who can't leave would buy.
func (f future) bounded(v, t float64) float64 {
	return clamp(v, 0, float64(f.k*t/f.scale))
}
