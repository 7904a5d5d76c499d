package fit

import (
	"errors"
	"math"

	"attune/stages/enrich/clv"
)

// Fit is how the parameters were found.
type Fit struct {
	// Method is MLE or MAP; Reason tells why it is MAP.
	Method string `json:"method"`
	Reason string `json:"reason,omitempty"`
	// LogLikelihood is that of all customers, without the prior.
	LogLikelihood float64 `json:"log_likelihood"`
	// Customers are those who were fitted: for spend the ones with a repeat and a mean above zero.
	Customers   int `json:"customers"`
	Evaluations int `json:"evaluations"` // of the likelihood
	// OwnRateShare is how much of a forecast is each customer's own rate so far, 0 to 1: see Tested. Only of counts.
	OwnRateShare float64 `json:"own_rate_share,omitempty"`
}

// CountsFit is a fitted model of how often customers buy.
type CountsFit struct {
	Fit
	Counts clv.Counts
	// Covariance is that of the parameters' logarithms, in the order of Counts.Parameters; zero where it is not known.
	Covariance [4][4]float64
}

// Forecast is what customers are scored by: Counts, with a share of their own rate where the fit found one.
func (f CountsFit) Forecast() clv.Counts {
	if f.OwnRateShare == 0 {
		return f.Counts
	}
	return clv.WithOwnRate{Counts: f.Counts, Share: f.OwnRateShare}
}

// SpendFit is a fitted model of spend.
type SpendFit struct {
	Fit
	Spend clv.GammaGamma
	// Covariance is that of the logarithms of p, q-1 and v; zero where it is not known.
	Covariance [3][3]float64
}

// ErrNoCustomer is returned where there is nothing to fit.
var ErrNoCustomer = errors.New("nobody bought anything by the end of the calibration")

// ErrNoRepeat is returned where nobody's spend is known.
var ErrNoRepeat = errors.New("nobody bought a second time, on another day and for more than nothing, by the end of the calibration: spend is that of repeats")

// effort bounds a search, so that it ends within seconds whatever the log: how many rows it looks at (a larger sample
// changes no parameter by anything that matters), and rows times evaluations.
type effort struct {
	rows, budget int
	coarse       int       // how many rows show where a search over more should begin
	start        []float64 // where it begins, if that is known
}

func effortOf(name string) effort {
	if name == clv.NameParetoNBD { // its likelihood sums a series or integrates for each row
		return effort{rows: 4000, budget: 1_200_000, coarse: 1000}
	}
	return effort{rows: 60_000, budget: 15_000_000, coarse: 2000}
}

// Counts fits the model of a name (clv.NameBGNBD and so on) to the pasts of all customers.
func Counts(name string, pasts []clv.Purchases) (CountsFit, error) {
	return counts(name, pasts, effortOf(name))
}

func counts(name string, pasts []clv.Purchases, effort effort) (CountsFit, error) {
	if len(pasts) == 0 {
		return CountsFit{}, ErrNoCustomer
	}
	if _, err := clv.NewCounts(name, [4]float64{}); err != nil {
		return CountsFit{}, err
	}
	likelihood := countLikelihood(name)
	all := rows(withoutSpend(pasts))
	solved := effort.solve(all, typical(name), func(logs []float64, rows []group) float64 { return likelihood(exponents(logs), rows) })
	out := CountsFit{Fit: Fit{Method: solved.method, Reason: solved.reason, Customers: len(pasts), Evaluations: solved.evaluations}}
	var err error
	if out.Counts, err = clv.NewCounts(name, exponents(solved.logs)); err != nil {
		return CountsFit{}, err
	}
	out.LogLikelihood = likelihood(out.Counts.Parameters(), all)
	for i := range out.Covariance {
		for j := range out.Covariance {
			out.Covariance[i][j] = solved.covariance.At(i, j)
		}
	}
	return out, nil
}

// typical are the logarithms of parameters as shops have them: those of CDNOW, one digit each.
func typical(name string) []float64 {
	v := map[string][]float64{
		clv.NameBGNBD: {0.2, 4, 0.8, 2}, clv.NameMBGNBD: {0.5, 6, 0.9, 2}, clv.NameParetoNBD: {0.6, 10, 0.6, 10},
	}[name]
	for i := range v {
		v[i] = math.Log(v[i])
	}
	return v
}

// Spend fits the Gamma-Gamma model to the mean spends of the customers with a repeat.
func Spend(pasts []clv.Purchases) (SpendFit, error) {
	bought := withSpend(pasts)
	if len(bought) == 0 {
		return SpendFit{}, ErrNoRepeat
	}
	// In units of the mean, so that the prior and the range mean the same in any currency.
	all := rows(bought) // sorted: so the sum, to the last digit, is the same whoever is called what
	unit := 0.0
	for _, g := range all {
		for _, r := range g.rows {
			unit += float64(r.weight * math.Log(r.mean))
		}
	}
	unit = math.Exp(unit / float64(len(bought)))
	scaled := rows(bought)
	for _, g := range scaled {
		for i := range g.rows {
			g.rows[i].mean /= unit
		}
	}
	model := func(logs []float64) clv.GammaGamma {
		return clv.GammaGamma{P: math.Exp(logs[0]), Q: 1 + math.Exp(logs[1]), V: math.Exp(logs[2])}
	}
	solved := effortOf("").solve(scaled, []float64{math.Log(6), math.Log(3), math.Log(0.5)}, func(logs []float64, rows []group) float64 { return gammaGamma(model(logs), rows) })
	m := model(solved.logs)
	m.V *= unit
	out := SpendFit{
		Fit:   Fit{Method: solved.method, Reason: solved.reason, Customers: len(bought), Evaluations: solved.evaluations, LogLikelihood: gammaGamma(m, all)},
		Spend: m,
	}
	for i := range out.Covariance {
		for j := range out.Covariance {
			out.Covariance[i][j] = solved.covariance.At(i, j)
		}
	}
	return out, nil
}

// solve searches a few rows first where there are many; where these want the prior, it stays.
func (e effort) solve(all []group, prior []float64, likelihood func(logs []float64, rows []group) float64) solution {
	n, _ := count(all)
	round := func(most int, doubt string, starts [][]float64) solution {
		rows := all
		if n > most {
			rows = thinned(all, (n+most-1)/most)
		}
		kept, weight := count(rows)
		return solve(problem{
			dim: len(prior), prior: prior, starts: starts, doubt: doubt, weight: weight, evaluations: e.budget / kept,
			likelihood: func(logs []float64) float64 { return likelihood(logs, rows) },
		})
	}
	switch {
	case e.start != nil:
		return round(e.rows, "", [][]float64{e.start})
	case n <= 4*e.coarse:
		return round(e.rows, "", nil)
	}
	first := round(e.coarse, "", [][]float64{prior})
	solved := round(e.rows, first.reason, [][]float64{first.logs})
	solved.evaluations += first.evaluations
	return solved
}

func exponents(logs []float64) (out [4]float64) {
	for i, v := range logs {
		out[i] = math.Exp(v)
	}
	return out
}
