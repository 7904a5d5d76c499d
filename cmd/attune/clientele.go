package main

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"

	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
	"attune/stages/enrich/drift"
)

// clientele is how the customers were distributed when a model was made, by what it reads of them and what it says. It is
// of those who first bought not too long ago: among all, the old ones become more every day, and nothing would be wrong.
type clientele struct {
	MostWeeks  float64           `json:"most_weeks"` // since the first purchase
	References []drift.Reference `json:"references"`
}

// mostWeeks is the longest that it looks back; a young shop's looks back over half of its life.
const mostWeeks = 26

func newClientele(m clv.Model, log []fit.Purchase, card fit.Card) clientele {
	c := clientele{MostWeeks: min(mostWeeks, float64(card.Last-card.First)/14)}
	for _, f := range c.features(m, log, card.Last) {
		c.References = append(c.References, drift.NewReference(f.name, f.values))
	}
	return c
}

// feature is a value of each customer.
type feature struct {
	name   string
	values []float64
}

// features are what the model reads and says of the customers as of a day; what there is none of is NaN.
func (c clientele) features(m clv.Model, log []fit.Purchase, day int32) []feature {
	all := []feature{{name: "repeats"}, {name: "last_week"}, {name: "age_weeks"}, {name: "mean_spend"}, {name: "clv"}, {name: "alive"}}
	horizon := enrich.DefaultConfig().HorizonWeeks
	for _, customer := range fit.Customers(log, day, 0) {
		past := customer.Past
		if past.AgeWeeks > c.MostWeeks {
			continue
		}
		spend := past.MeanSpend
		if past.Repeats == 0 {
			spend = math.NaN()
		}
		for i, v := range []float64{past.Repeats, past.LastWeek, past.AgeWeeks, spend, m.Value(past, horizon), m.Alive(past)} {
			all[i].values = append(all[i].values, v)
		}
	}
	return all
}

// forecastDays is how far the forecasts go whose log loss is watched: each customer is foretold once in so many days.
const forecastDays = 28

// losses are the log losses of whether a customer buys within the coming weeks, foretold on days from the first on, in the
// order in which their ends came, until today. Customers take turns, so that on every day as many are foretold.
func (c clientele) losses(counts clv.Counts, log []fit.Purchase, first, today int32) []float64 {
	type matured struct {
		day      int32
		customer string
		loss     float64
	}
	var all []matured
	sorted := slices.Clone(log)
	slices.SortFunc(sorted, func(a, b fit.Purchase) int {
		return cmp.Or(cmp.Compare(a.Customer, b.Customer), cmp.Compare(a.Day, b.Day))
	})
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Customer == sorted[0].Customer {
			n++
		}
		bought := sorted[:n]
		sorted = sorted[n:]
		turn := fnv.New32a()
		_, _ = turn.Write([]byte(bought[0].Customer)) // it never fails
		day := first + (int32(turn.Sum32()%forecastDays)-first%forecastDays+forecastDays)%forecastDays
		var past clv.History
		for next := 0; day+forecastDays <= today; day += forecastDays {
			for ; next < n && bought[next].Day <= day; next++ {
				past = past.Add(bought[next].Day, int64(bought[next].Amount))
			}
			if past.Days == 0 || float64(day-past.First)/7 > c.MostWeeks {
				continue
			}
			buys := counts.Active(past.Purchases(float64(day), 1), forecastDays/7)
			if next == n || bought[next].Day > day+forecastDays {
				buys = 1 - buys
			}
			all = append(all, matured{day, bought[0].Customer, -math.Log(max(buys, 1e-15))})
		}
	}
	slices.SortFunc(all, func(a, b matured) int { return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.customer, b.customer)) })
	losses := make([]float64, len(all))
	for i, m := range all {
		losses[i] = m.loss
	}
	return losses
}
