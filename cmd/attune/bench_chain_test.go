package main

import (
	"math/rand/v2"
	"testing"
)

// customerRows measure the customer chain with the example workspace, everything real: records are decoded, rules
// and scores computed, commits encoded and stored, profiles folded, commits purged.
func customerRows() []row {
	return []row{
		{name: "customer-warm-zipf", against: againstRelay, unit: "events/s", of: ofRatio, floor: 0.40, aim: 0.80, open: warmCustomers(zipf)},
		{name: "customer-warm-uniform", against: againstRelay, unit: "events/s", of: ofRatio, floor: 0.30, aim: 0.60, open: warmCustomers(uniform)},
	}
}

// warmCustomers has all profiles in memory before the clock starts.
func warmCustomers(choose func(*rand.Rand, int) func() int) func(testing.TB, scale) func() (figure, figure) {
	return func(tb testing.TB, s scale) func() (figure, figure) {
		c := openCustomers(tb, exampleWorkspace(tb), s.of(100_000))
		f := newFeed(c.population, choose)
		c.start(len(c.population.ids))
		c.warm(f)
		var turns turns
		return func() (ours, baseline figure) {
			c.gate.close()
			filled := c.fill(f, s.of(300_000))
			return turns.run(func() figure { return c.run(filled) }, func() figure { return c.relay(filled) })
		}
	}
}
