package fit

import (
	"cmp"
	"math"
	"slices"

	"attune/stages/enrich/clv"
)

// row is a past that so many customers share.
type row struct {
	lastWeek, ageWeeks float64
	mean               float64 // of spend; for counts 0
	weight             float64
}

// group are the rows of one number of repeats: what depends on that alone is computed once.
type group struct {
	repeats float64
	rows    []row
}

// rows groups pasts; equal ones become one row.
func rows(pasts []clv.Purchases) []group {
	sorted := slices.Clone(pasts)
	slices.SortFunc(sorted, func(a, b clv.Purchases) int {
		return cmp.Or(cmp.Compare(a.Repeats, b.Repeats), cmp.Compare(a.AgeWeeks, b.AgeWeeks), cmp.Compare(a.LastWeek, b.LastWeek), cmp.Compare(a.MeanSpend, b.MeanSpend))
	})
	var out []group
	for i, p := range sorted {
		if len(out) == 0 || out[len(out)-1].repeats != p.Repeats {
			out = append(out, group{repeats: p.Repeats})
		}
		g := &out[len(out)-1]
		if n := len(g.rows); n > 0 && i > 0 && p == sorted[i-1] {
			g.rows[n-1].weight++
			continue
		}
		g.rows = append(g.rows, row{p.LastWeek, p.AgeWeeks, p.MeanSpend, 1})
	}
	return out
}

// thinned keeps every k-th row: since rows are sorted, a spread over all of them.
func thinned(groups []group, k int) []group {
	var out []group
	i := 0
	for _, g := range groups {
		kept := group{repeats: g.repeats}
		for _, r := range g.rows {
			if i%k == 0 {
				kept.rows = append(kept.rows, r)
			}
			i++
		}
		if len(kept.rows) > 0 {
			out = append(out, kept)
		}
	}
	return out
}

func count(groups []group) (rows int, weight float64) {
	for _, g := range groups {
		rows += len(g.rows)
		for _, r := range g.rows {
			weight += r.weight
		}
	}
	return rows, weight
}

func lgamma(x float64) float64 {
	v, _ := math.Lgamma(x)
	return v
}

func lbeta(a, b float64) float64 { return lgamma(a) + lgamma(b) - lgamma(a+b) }

// logAdd is ln(e^a + e^b).
func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}
