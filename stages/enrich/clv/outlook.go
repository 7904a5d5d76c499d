package clv

import "math"

// Estimate is a score and how far it can be trusted.
type Estimate struct {
	Mean float64 `json:"mean"`
	// StdError is the standard error of Mean: what is left open by parameters fitted to so many customers and no more.
	// Zero where the model does not know its covariance.
	StdError float64 `json:"std_error"`
	// Spread is the standard deviation of what will happen around Mean, for this one customer and exact parameters.
	Spread float64 `json:"spread"`
}

// Outlook is what is to be expected of a customer.
type Outlook struct {
	Alive     Estimate `json:"alive"`     // 1 when they have not left for good
	Purchases Estimate `json:"purchases"` // days with a purchase within the horizon
	Value     Estimate `json:"value"`     // what these are worth, discounted
}

// Outlook scores a customer over the coming weeks (0 to 1e6) with the uncertainty of each score. It takes some 100 times
// as long as the scores alone. A spread of the value is that without discounting, in proportion to the discounted mean.
func (m Model) Outlook(p Purchases, weeks float64) Outlook {
	weeks = clamp(weeks, 0, maxWeeks)
	score := func(m Model) [3]float64 {
		return [3]float64{m.Alive(p), m.Counts.Expected(p, weeks), m.Value(p, weeks)}
	}
	mean, stdError := score(m), m.stdErrors(score)

	n := mean[1]
	square := max(m.Counts.pairs(p, weeks)+n, n*n) // of the number of purchases
	margin := clamp(m.Margin, 0, 1)
	spread := m.Spend.spread(p, n, square) * margin
	if full := n * m.Spend.Spend(p) * margin; full > 0 {
		spread *= mean[2] / full
	}
	return Outlook{
		Alive:     Estimate{mean[0], stdError[0], math.Sqrt(mean[0] * (1 - mean[0]))},
		Purchases: Estimate{n, stdError[1], math.Sqrt(square - n*n)},
		Value:     Estimate{mean[2], stdError[2], spread},
	}
}

// stdErrors is the delta method: the slope of each score by the logarithm of each parameter, through the covariance.
func (m Model) stdErrors(score func(Model) [3]float64) (out [3]float64) {
	const step = 1e-4
	var slopes [7][3]float64
	share := 0.0
	if w, ok := m.Counts.(WithOwnRate); ok {
		share = w.Share
	}
	counts := m.Counts.Parameters()
	slope := func(i int, at func(factor float64) Model) {
		up, down := score(at(math.Exp(step))), score(at(math.Exp(-step)))
		for j := range out {
			slopes[i][j] = (up[j] - down[j]) / (2 * step)
		}
	}
	for i := range counts {
		slope(i, func(factor float64) Model {
			v, moved := counts, m
			v[i] *= factor
			model, _ := NewCounts(m.Counts.Name(), v)
			moved.Counts = drawn(model, share)
			return moved
		})
	}
	for i := range 3 {
		slope(4+i, func(factor float64) Model {
			moved := m
			switch i {
			case 0:
				moved.Spend.P *= factor
			case 1:
				moved.Spend.Q = 1 + (m.Spend.Q-1)*factor
			case 2:
				moved.Spend.V *= factor
			}
			return moved
		})
	}
	for s := range out {
		variance := 0.0
		for i := range 4 {
			for j := range 4 {
				variance += slopes[i][s] * m.CountsError[i][j] * slopes[j][s]
			}
		}
		for i := range 3 {
			for j := range 3 {
				variance += slopes[4+i][s] * m.SpendError[i][j] * slopes[4+j][s]
			}
		}
		out[s] = math.Sqrt(clamp(variance, 0, math.MaxFloat64))
	}
	return out
}
