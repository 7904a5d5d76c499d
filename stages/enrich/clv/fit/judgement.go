package fit

import (
	"math"

	"attune/stages/enrich/clv"
)

// Judgement compares what was expected of customers with what they did after the calibration. Figures without a meaning
// (the correlation where everybody did the same) are zero.
type Judgement struct {
	// MAE is the mean absolute error: of counts that of the median (clv.Median), since who is judged by it does best to
	// foretell what is exceeded as often as not. MeanMAE is that of the expectation, as papers have it; only of counts.
	MAE         float64 `json:"mae"`
	MeanMAE     float64 `json:"mean_mae,omitempty"`
	RMSE        float64 `json:"rmse"`        // root of the mean squared error, of the expectation
	Correlation float64 `json:"correlation"` // of expected and actual
	Bias        float64 `json:"bias"`        // of the total, as a share of the actual total
	Expected    float64 `json:"expected"`    // in total
	Actual      float64 `json:"actual"`      // in total
	Customers   int     `json:"customers"`
}

// JudgeCounts compares purchase days over the horizon in weeks: those the model foretells, and for comparison those that
// follow from each customer's plain rate so far, x/T.
func JudgeCounts(counts clv.Counts, customers []Customer, weeks float64) (model, plain Judgement) {
	expected, median := make([]float64, len(customers)), make([]float64, len(customers))
	rate, actual := make([]float64, len(customers)), make([]float64, len(customers))
	for i, c := range customers {
		actual[i] = c.Later
		expected[i], median[i] = counts.Expected(c.Past, weeks), clv.Median(counts, c.Past, weeks)
		if c.Past.AgeWeeks > 0 {
			rate[i] = c.Past.Repeats / c.Past.AgeWeeks * weeks
		}
	}
	model, plain = judge(expected, actual), judge(rate, actual)
	model.MeanMAE, model.MAE = model.MAE, judge(median, actual).MAE
	return model, plain
}

// JudgeSpend compares the mean spend of a purchase day, of the customers who bought before and after: what the model
// expects, and for comparison their own mean so far.
func JudgeSpend(m clv.GammaGamma, customers []Customer) (model, plain Judgement) {
	var expected, own, actual []float64
	for _, c := range customers {
		if c.Later > 0 && c.Past.Repeats > 0 {
			expected, own, actual = append(expected, m.Spend(c.Past)), append(own, c.Past.MeanSpend), append(actual, c.LaterSpend/c.Later)
		}
	}
	return judge(expected, actual), judge(own, actual)
}

func judge(expected, actual []float64) Judgement {
	j := Judgement{Customers: len(actual)}
	n := float64(len(actual))
	if n == 0 {
		return j
	}
	for i := range actual {
		d := expected[i] - actual[i]
		j.MAE += math.Abs(d) / n
		j.RMSE += d * d / n
		j.Expected += expected[i]
		j.Actual += actual[i]
	}
	j.RMSE = math.Sqrt(j.RMSE)
	if j.Actual != 0 {
		j.Bias = j.Expected/j.Actual - 1
	}
	var xx, yy, xy float64
	for i := range actual {
		x, y := expected[i]-j.Expected/n, actual[i]-j.Actual/n
		xx, yy, xy = xx+x*x, yy+y*y, xy+x*y
	}
	if xx > 0 && yy > 0 {
		j.Correlation = xy / math.Sqrt(xx*yy)
	}
	return j
}
