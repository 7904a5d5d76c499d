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
		{name: "customer-cold-zipf", against: againstRelay, unit: "events/s", of: ofRatio, floor: 0.25, aim: 0.60, open: coldCustomers(zipf)},
		{name: "customer-cold-uniform", against: againstRelay, unit: "events/s", of: ofRatio, floor: 0.15, aim: 0.40, open: coldCustomers(uniform)},
		{name: "stock-watermill", against: "watermill-nats v2, KV get and put per event", unit: "events/s", of: ofRatio, floor: 5, aim: 10, open: openStock},
		{name: "cost-1m-profiles", against: "10,000 profiles", unit: "µs/event", of: ofRatio, less: true, floor: 1.5, aim: 1.1, open: profileCost},
		{name: "cost-100-campaigns", against: "none of them; they wait for another event", unit: "µs/event", of: ofRatio, less: true, floor: 1.15, aim: 1.05, open: campaignCost},
	}
}

// warmCustomers has all profiles in memory before the clock starts.
func warmCustomers(choose func(*rand.Rand, int) func() int) func(testing.TB, scale) func() (figure, figure) {
	return func(tb testing.TB, s scale) func() (figure, figure) {
		c := openCustomers(tb, s, exampleWorkspace(tb), 100_000)
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

// coldCustomers begins with every profile in the bucket and none in memory.
func coldCustomers(choose func(*rand.Rand, int) func() int) func(testing.TB, scale) func() (figure, figure) {
	return func(tb testing.TB, s scale) func() (figure, figure) {
		c := openCustomers(tb, s, exampleWorkspace(tb), 1_000_000)
		f := newFeed(c.population, choose)
		var turns turns
		return func() (ours, baseline figure) {
			c.gate.close()
			filled := c.fill(f, s.of(200_000))
			run := func() figure {
				c.start(0)
				defer c.stop()
				return c.run(filled)
			}
			return turns.run(run, func() figure { return c.relay(filled) })
		}
	}
}
