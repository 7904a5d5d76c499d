package fit

import (
	"math"

	"attune/stages/enrich/clv"
)

const (
	testShare     = 4  // the last of so many parts of the calibration tests a model
	testDays      = 7  // and lasts at least so long
	testCustomers = 30 // with at least so many to foretell
)

// Tested fits the model of a name to the customers of a log up to its last day, as Counts does, and looks whether the
// family suits them: a model of the same family, without the last quarter of the calibration, foretells that quarter. Where
// each customer's own rate does so with a smaller squared error, forecasts are drawn to that rate by the share with
// which the error is the least (stacking by least squares; Wolpert: Stacked Generalization, Neural Networks 5, 1992).
// The parameters stay those of Counts, and nothing after the last day is looked at.
func Tested(name string, log []Purchase, last int32) (CountsFit, error) {
	whole := Customers(log, last, 0)
	fitted, err := Counts(name, pasts(whole))
	if err != nil {
		return CountsFit{}, err
	}
	fitted.OwnRateShare, err = ownRateShare(fitted.Counts, log, last)
	return fitted, err
}

// ownRateShare rehearses with fewer customers and from where the whole search ended, which is enough for a comparison.
func ownRateShare(fitted clv.Counts, log []Purchase, last int32) (float64, error) {
	first := last
	for _, p := range log {
		first = min(first, p.Day)
	}
	horizon := (last - first + 1) / testShare
	if horizon < testDays {
		return 0, nil
	}
	customers := Customers(log, last-horizon, horizon)
	if len(customers) < testCustomers {
		return 0, nil
	}
	few := effortOf(fitted.Name())
	few.rows, few.budget = few.coarse, few.budget/4
	for _, v := range fitted.Parameters() {
		few.start = append(few.start, math.Log(v))
	}
	rehearsal, err := counts(fitted.Name(), pasts(customers), few)
	if err != nil {
		return 0, err
	}
	own, weeks := clv.WithOwnRate{Counts: rehearsal.Counts, Share: 1}, float64(horizon)/7
	var gain, shift, towards float64
	for _, c := range customers {
		expected := rehearsal.Counts.Expected(c.Past, weeks)
		missing, step := c.Later-expected, own.Expected(c.Past, weeks)-expected
		gain += missing*missing - (missing-step)*(missing-step)
		shift += step * step
		towards += step * missing
	}
	if gain <= 0 {
		return 0, nil
	}
	return min(max(towards/shift, 0), 1), nil // what gains has moved: shift is above 0
}

func pasts(customers []Customer) []clv.Purchases {
	out := make([]clv.Purchases, len(customers))
	for i, c := range customers {
		out[i] = c.Past
	}
	return out
}
