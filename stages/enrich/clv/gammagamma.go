package clv

import "math"

// GammaGamma are the parameters of the model of spend: a purchase's value is gamma distributed with shape P and a rate
// that differs between customers, gamma distributed with shape Q and rate V (in the currency). P and V lie between
// 1e-4 and 1e7, Q between 1.0001 and 1e7: with less there is no mean.
type GammaGamma struct {
	P float64 `json:"p" yaml:"p"`
	Q float64 `json:"q" yaml:"q"`
	V float64 `json:"v" yaml:"v"`
}

// Spend is the mean value of one of the customer's purchases: their own mean, drawn to that of all customers, and
// less so the more purchases there are. It assumes that spend and frequency are independent.
func (m GammaGamma) Spend(p Purchases) float64 {
	m, p = m.bounded(), p.bounded()
	q, v := m.posterior(p)
	return float64(m.P*v) / (q - 1)
}

// posterior is the gamma distribution (shape, rate) of the customer's own rate.
func (m GammaGamma) posterior(p Purchases) (q, v float64) {
	return m.Q + float64(m.P*p.Repeats), m.V + float64(p.Repeats*p.MeanSpend)
}

// spread is the standard deviation of what n purchases come to, for a number n of the given mean and mean square.
// Given the rate, n purchases have mean nP/rate and variance nP/rate^2; E[1/rate^2] = v^2/((q-1)(q-2)) is without bound
// for q <= 2, where q is taken as minDeviation above it: a lower bound then.
func (m GammaGamma) spread(p Purchases, n, square float64) float64 {
	m, p = m.bounded(), p.bounded()
	q, v := m.posterior(p)
	once := v / (q - 1)
	twice := once * v / max(q-2, minDeviation)
	variance := n*m.P*twice + square*m.P*m.P*twice - n*m.P*once*n*m.P*once
	return math.Sqrt(clamp(variance, 0, math.MaxFloat64))
}

const minDeviation = 0.1

// Validate reports every parameter outside its range.
func (m GammaGamma) Validate() error {
	return validate("gammagamma", []bound{
		{"p", m.P, minShape, maxShape}, {"q", m.Q, minQ, maxShape}, {"v", m.V, minShape, maxShape},
	})
}

func (m GammaGamma) bounded() GammaGamma {
	return GammaGamma{P: clamp(m.P, minShape, maxShape), Q: clamp(m.Q, minQ, maxShape), V: clamp(m.V, minShape, maxShape)}
}
