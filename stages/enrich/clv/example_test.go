package clv_test

import (
	"fmt"

	"attune/stages/enrich/clv"
)

// The first customer of the CDNOW sample: two repeats, the last after 30.43 of 38.86 weeks, 22.35 dollars each.
func ExampleModel() {
	model := clv.CDNOW()
	p := clv.Purchases{Repeats: 2, LastWeek: 30.43, AgeWeeks: 38.86, MeanSpend: 22.35}
	fmt.Printf("alive: %.3f\n", model.Alive(p))
	fmt.Printf("purchases in the next 39 weeks: %.3f\n", model.Counts.Expected(p, 39))
	fmt.Printf("worth in the next 52 weeks: $%.2f\n", model.Value(p, 52))
	// Output:
	// alive: 0.706
	// purchases in the next 39 weeks: 1.263
	// worth in the next 52 weeks: $39.39
}
