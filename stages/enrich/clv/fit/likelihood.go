package fit

import (
	"fmt"
	"math"

	"attune/stages/enrich/clv"
)

// LogLikelihood is that of the customers' purchase days; amounts are not looked at.
func LogLikelihood(counts clv.Counts, pasts ...clv.Purchases) float64 {
	return countLikelihood(counts.Name())(counts.Parameters(), rows(withoutSpend(pasts)))
}

// SpendLogLikelihood is that of the mean spends of the customers with a repeat and a mean above zero.
func SpendLogLikelihood(m clv.GammaGamma, pasts ...clv.Purchases) float64 {
	return gammaGamma(m, rows(withSpend(pasts)))
}

func withoutSpend(pasts []clv.Purchases) []clv.Purchases {
	out := make([]clv.Purchases, len(pasts))
	for i, p := range pasts {
		p.MeanSpend = 0
		out[i] = p
	}
	return out
}

func withSpend(pasts []clv.Purchases) []clv.Purchases {
	var out []clv.Purchases
	for _, p := range pasts {
		if p.Repeats > 0 && p.MeanSpend > 0 {
			out = append(out, clv.Purchases{Repeats: p.Repeats, MeanSpend: p.MeanSpend})
		}
	}
	return out
}

// likelihood is a sum of logarithms over rows.
type likelihood func(parameters [4]float64, groups []group) float64

// countLikelihood is the one of a model; it panics for a name that clv.NewCounts does not know.
func countLikelihood(name string) likelihood {
	switch name {
	case clv.NameBGNBD:
		return bgnbd
	case clv.NameMBGNBD:
		return mbgnbd
	case clv.NameParetoNBD:
		return paretonbd
	}
	panic(fmt.Sprintf("fit: no likelihood of %q", name))
}

// bgnbd: Fader, Hardie, Lee 2005, with both ways to see the past: still a customer, or gone at the last purchase.
func bgnbd(v [4]float64, groups []group) float64 {
	r, alpha, a, b := v[0], v[1], v[2], v[3]
	return leaving(r, alpha, lbeta(a, b), groups, func(x float64) (stays, leaves float64) {
		if x == 0 {
			return lbeta(a, b), math.Inf(-1)
		}
		return lbeta(a, b+x), lbeta(a+1, b+x-1)
	})
}

// mbgnbd: Batislam et al. 2007: they may have left at the first purchase too.
func mbgnbd(v [4]float64, groups []group) float64 {
	r, alpha, a, b := v[0], v[1], v[2], v[3]
	return leaving(r, alpha, lbeta(a, b), groups, func(x float64) (stays, leaves float64) {
		return lbeta(a, b+x+1), lbeta(a+1, b+x)
	})
}

func leaving(r, alpha, prior float64, groups []group, chance func(x float64) (stays, leaves float64)) float64 {
	start := float64(r*math.Log(alpha)) - lgamma(r) - prior
	sum := 0.0
	for _, g := range groups {
		k := r + g.repeats
		stays, leaves := chance(g.repeats)
		same := start + lgamma(k)
		for _, row := range g.rows {
			l := stays - k*math.Log(alpha+row.ageWeeks)
			if !math.IsInf(leaves, -1) {
				l = logAdd(l, leaves-k*math.Log(alpha+row.lastWeek))
			}
			sum += row.weight * (same + l)
		}
	}
	return sum
}

// paretonbd: Fader, Hardie 2005.
func paretonbd(v [4]float64, groups []group) float64 {
	m := clv.ParetoNBD{R: v[0], Alpha: v[1], S: v[2], Beta: v[3]}
	start := m.R*math.Log(m.Alpha) + m.S*math.Log(m.Beta) - lgamma(m.R)
	sum := 0.0
	for _, g := range groups {
		k := m.R + g.repeats
		same := start + lgamma(k)
		for _, row := range g.rows {
			odds := m.LogOddsGone(clv.Purchases{Repeats: g.repeats, LastWeek: row.lastWeek, AgeWeeks: row.ageWeeks})
			stays := -k*math.Log(m.Alpha+row.ageWeeks) - m.S*math.Log(m.Beta+row.ageWeeks)
			sum += row.weight * (same + stays + logAdd(0, odds))
		}
	}
	return sum
}

// gammaGamma: Fader, Hardie, Lee 2005; note 025, equation 1a.
func gammaGamma(m clv.GammaGamma, groups []group) float64 {
	sum := 0.0
	for _, g := range groups {
		x := g.repeats
		px := m.P * x
		same := lgamma(px+m.Q) - lgamma(px) - lgamma(m.Q) + m.Q*math.Log(m.V) + px*math.Log(x)
		for _, row := range g.rows {
			sum += row.weight * (same + (px-1)*math.Log(row.mean) - (px+m.Q)*math.Log(x*row.mean+m.V))
		}
	}
	return sum
}
