package fit

import (
	"cmp"
	"maps"
	"slices"

	"attune/pipeline/event"
	"attune/stages/enrich/clv"
)

// Purchase is one line of a purchase log. Purchases of a customer on one day count as one.
type Purchase struct {
	Customer string
	Day      int32 // counted from 1970
	Amount   event.Money
}

// Customer is what the models know of one customer at the end of the calibration, and what came after it.
type Customer struct {
	ID   string
	Past clv.Purchases
	// Later are the days with a purchase after the calibration, within the horizon; LaterSpend is what they came to.
	Later, LaterSpend float64
}

// Customers are those who bought by the last day of the calibration, sorted by ID. What they bought in the days after it,
// within the horizon (in days; 0: none), is told apart. The log may have any order.
func Customers(log []Purchase, last int32, horizon int32) []Customer {
	byCustomer := map[string][]Purchase{}
	for _, p := range log {
		byCustomer[p.Customer] = append(byCustomer[p.Customer], p)
	}
	var out []Customer
	for _, id := range slices.Sorted(maps.Keys(byCustomer)) {
		purchases := byCustomer[id]
		slices.SortFunc(purchases, func(a, b Purchase) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Amount, b.Amount)) })
		var history clv.History
		c := Customer{ID: id}
		before := last
		for _, p := range purchases {
			switch {
			case p.Day <= last:
				history = history.Add(p.Day, int64(p.Amount))
			case int64(p.Day) <= int64(last)+int64(horizon):
				if p.Day != before {
					c.Later++
				}
				before = p.Day
				c.LaterSpend += p.Amount.Float()
			}
		}
		if history.Days > 0 {
			c.Past = history.Purchases(float64(last), int64(event.MoneyUnit))
			out = append(out, c)
		}
	}
	return out
}
