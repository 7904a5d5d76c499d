package clv

// future describes a customer who is alive: the rate of purchases is gamma distributed (shape k, rate scale), the
// chance to leave after each purchase beta distributed (a, b). BG/NBD and MBG/NBD differ only in b.
type future struct{ k, scale, a, b float64 }

// any is the probability of at least one purchase within t weeks.
func (f future) any(t float64) float64 {
	return -expm1(-float64(f.k * log1p(t/f.scale)))
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
	ln := -log1p(t / f.scale) // ln(1-z)
	power := float64(e * ln)
	first := -ln
	if e != 0 {
		first = -expm1(power) / e
	}
	first = float64(first * (f.a + f.b - 1))
	scale := exp(power)
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

// seriesAt is series for several z, the largest last. All share their coefficients, so that one more costs little.
func (f future) seriesAt(z *[nodes]float64) (sum, size [nodes]float64, ok bool) {
	c := f.a + f.b - 1
	p := c - f.k
	power := *z
	coefficient := p
	for n := 1.0; n <= maxTerms; {
		var ratio float64
		for range termsAtOnce {
			for i := range z {
				term := float64(coefficient * power[i])
				sum[i] += term
				size[i] += abs(term)
				power[i] *= z[i]
			}
			ratio = float64((p+n)*(f.a+n-1)) / float64((c+n)*(n+1))
			coefficient *= ratio
			n++
		}
		const last = nodes - 1
		if settled(abs(float64(coefficient*power[last])), abs(float64(ratio*z[last])), z[last], size[last]) {
			return sum, size, true
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

// integral is the same expectation as the mean of (1-(1+pt/scale)^-k)/p over the beta distribution of p, by the
// trapezoidal rule in s = logit(p), which converges exponentially. Both tails end as geometric series.
func (f future) integral(t float64) float64 {
	u := t / f.scale
	step := 0.5 * sqrt(1/f.a+1/f.b)
	if step > 0.2 {
		step = 0.2
	}
	mode := log(f.a / f.b)
	top := f.weight(mode)

	var weights, sum float64
	add := func(s float64) (w, wg float64) {
		w = exp(f.weight(s) - top)
		g := f.bought(u, s)
		return w, float64(w * g)
	}
	weights, sum = add(mode)
	for j := 1.0; j < 1e5; j++ { // to the right, where p goes to 1
		s := mode + float64(j*step)
		w, wg := add(s)
		weights += w
		sum += wg
		if s > 40 {
			tail := 1/-expm1(-float64(f.b*step)) - 1
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
		weights += w
		sum += wg
		if s < -40 && float64((f.k+1)*u*exp(s)) < 1e-17 {
			tail := 1/-expm1(-float64(f.a*step)) - 1
			weights += float64(w * tail)
			sum += float64(wg * tail)
			break
		}
		if w < float64(1e-19*weights) && wg < float64(1e-19*sum) {
			break
		}
	}
	return f.bounded(sum/weights, t)
}

// weight is the logarithm of p^a (1-p)^b at p = 1/(1+e^-s).
func (f future) weight(s float64) float64 {
	if s < 0 {
		l := log1p(exp(s))
		return float64(f.a*(s-l)) - float64(f.b*l)
	}
	l := log1p(exp(-s))
	return -float64(f.a*l) - float64(f.b*(s+l))
}

// bought is (1-(1+pu)^-k)/p, the mean number of purchases of a customer whose chance to leave is p = 1/(1+e^-s).
func (f future) bought(u, s float64) float64 {
	var p float64
	if s < 0 {
		p = exp(s) / (1 + exp(s))
	} else {
		p = 1 / (1 + exp(-s))
	}
	return -expm1(-float64(f.k*log1p(float64(p*u)))) / p
}

// bounded keeps v between 0 and what a customer who can't leave would buy.
func (f future) bounded(v, t float64) float64 {
	return clamp(v, 0, float64(f.k*t/f.scale))
}
