package clv

import (
	"gonum.org/v1/gonum/mathext"

	"attune/pipeline/portable"
)

// WithOwnRate draws a model's forecasts to what follows from each customer's own rate so far: with the probability Share
// the customer goes on buying at it. It serves where the customers are unlike what the model knows of, such as a few who
// buy all the time among many who hardly do: the model takes such rates for luck. The first four weeks count whole, since
// the rate of a shorter time says little.
//
// Name, Parameters and Alive are the model's: who has left is told by it alone.
type WithOwnRate struct {
	Counts
	Share float64 // 0 to 1
}

var _ Counts = WithOwnRate{}

// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
func (w WithOwnRate) Expected(p Purchases, weeks float64) float64 {
	return w.mix(w.Counts.Expected(p, weeks), ownCount(p, weeks))
}

// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
func (w WithOwnRate) Active(p Purchases, weeks float64) float64 {
	return w.mix(w.Counts.Active(p, weeks), -portable.Expm1(-ownCount(p, weeks)))
}

// Discounted is Expected with each purchase counted e^(-rate t) at its week t; rate is 0 to 1.
func (w WithOwnRate) Discounted(p Purchases, weeks, rate float64) float64 {
	rate, own := clamp(rate, 0, 1), ownCount(p, weeks)
	if decay := float64(rate * clamp(weeks, 0, maxWeeks)); decay > 0 {
		own = float64(own*-portable.Expm1(-decay)) / decay
	}
	return w.mix(w.Counts.Discounted(p, weeks, rate), own)
}

// AtLeast is the probability of at least n days (1 to 1e9) with a purchase in the coming weeks (0 to 1e6).
func (w WithOwnRate) AtLeast(p Purchases, weeks, n float64) float64 {
	own := 0.0
	if mean := ownCount(p, weeks); mean > 0 {
		own = clamp(mathext.GammaIncReg(clamp(n, 1, maxRepeats), mean), 0, 1)
	}
	return w.mix(w.Counts.AtLeast(p, weeks, n), own)
}

// Validate reports every parameter outside its range.
func (w WithOwnRate) Validate() error {
	if err := w.Counts.Validate(); err != nil {
		return err
	}
	return validate(w.Name(), []bound{{"own_rate_share", w.Share, 0, 1}})
}

func (w WithOwnRate) pairs(p Purchases, weeks float64) float64 {
	own := ownCount(p, weeks)
	return w.mix(w.Counts.pairs(p, weeks), float64(own*own))
}

func (w WithOwnRate) mix(model, own float64) float64 {
	share := clamp(w.Share, 0, 1)
	return float64((1-share)*model) + float64(share*own)
}

const ownRateWeeks = 4 // that a customer is taken to be old at least

// ownCount is how many days with a purchase come in the weeks at the rate so far.
func ownCount(p Purchases, weeks float64) float64 {
	p = p.bounded()
	return p.Repeats / max(p.AgeWeeks, ownRateWeeks) * clamp(weeks, 0, maxWeeks)
}
