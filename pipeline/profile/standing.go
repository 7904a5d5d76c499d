package profile

import (
	"time"

	"attune/pipeline/event"
)

// Lifecycle is where a customer stands with the shop. Numbers are stored: none is ever given to another.
type Lifecycle uint8

// The stages, in the order in which customers pass them.
const (
	Visitor  Lifecycle = iota // never ordered
	Newcomer                  // the first order is a short while ago
	Active                    // has ordered within reach
	AtRisk                    // has not ordered for long
	Lapsed                    // has not ordered for so long that it is to be won anew
	lifecycles
)

// Lifecycles are all stages, in their order.
func Lifecycles() []Lifecycle { return []Lifecycle{Visitor, Newcomer, Active, AtRisk, Lapsed} }

// String is the stage's word in rules, answers and SQL.
func (l Lifecycle) String() string {
	if l >= lifecycles { // of a newer program
		return "unknown"
	}
	return [lifecycles]string{"visitor", "new", "active", "at_risk", "lapsed"}[l]
}

// Standing is the stage of life and the loyalty tier, by the workspace's settings, as of the customer's clock.
type Standing struct {
	Lifecycle Lifecycle
	Tier      string // of the workspace's table; empty: none
	// Until is when either changes by itself next, without an event; zero: never.
	Until event.Instant
}

// Lifecycle is the stage of life at the customer's clock, and the earliest instant at which it may change by itself;
// zero: never.
func (p *Profile) Lifecycle() (Lifecycle, event.Instant) {
	return p.Standing.Lifecycle, p.Standing.Until
}

// Tier is the loyalty tier at the customer's clock, empty where no tier is reached or the workspace has none, and the
// earliest instant at which it may change by itself; zero: never.
func (p *Profile) Tier() (string, event.Instant) { return p.Standing.Tier, p.Standing.Until }

const day = 24 * time.Hour

// Recency is how many whole days (of 24 hours) have passed at now since the latest order occurred, and the instant at
// which it is one more. An order from ahead of now was just made. false: there is no order, and until is zero.
func (p *Profile) Recency(now event.Instant) (days int64, until event.Instant, ok bool) {
	if p.Orders.Count == 0 {
		return 0, 0, false
	}
	last := p.Orders.Last
	days = max(0, int64(now-last)/day.Milliseconds())
	return days, last.Add(time.Duration(days+1) * day), true
}

// Monetary is what the orders brought, without what was refunded. It mixes currencies where the orders do; see
// Orders.Currencies.
func (p *Profile) Monetary() event.Money { return p.Orders.Revenue - p.Orders.Refunded }
