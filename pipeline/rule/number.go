package rule

import (
	"math"
	"strconv"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// numberKind is where a number of the customer comes from.
type numberKind uint8

const (
	fixed numberKind = iota
	totalOf
	scoreCLV
	scoreConfidence
	scoreAlive
	orderCount
	refundCount
	revenue
	netRevenue
	recency
	propensityOf // by name
	confidenceOf // of that
	// What follows changes only with what the customer does, and a profile doesn't tell what it was before a step.
	affinityOf
	sendHour
	cartItems
	cartProducts
	cartValue
)

// customerNumbers are the numbers of the customer, by their names after "customer.". A new one has a line here and a
// case in get.
func customerNumbers() map[string]numberKind {
	return map[string]numberKind{
		"clv": scoreCLV, "clv_confidence": scoreConfidence, "alive": scoreAlive, "orders": orderCount, "refunds": refundCount,
		"revenue": revenue, "net_revenue": netRevenue, "recency_days": recency, "send_hour": sendHour,
		"cart_items": cartItems, "cart_products": cartProducts, "cart_value": cartValue,
	}
}

// behavioural tells that events alone change the number, and that what it was before a step is not known.
func (k numberKind) behavioural() bool { return k >= affinityOf }

// number is a constant, or something known of the customer.
type number struct {
	kind      numberKind
	name      string // as written; the event's name for totalOf, the score's for propensityOf, what is leant to for affinityOf
	dimension profile.Dimension
	fixed     float64
}

// get is the number and until when it holds by itself; NaN, which is unequal to all, where there is none. Money counts
// in ten-thousandths and is compared in main units: the division is correctly rounded, so an amount equals the constant
// that is written like it.
func (n *number) get(v *view) (float64, event.Instant) {
	p := v.p
	switch n.kind {
	case totalOf:
		return float64(p.Count(n.name)), 0
	case scoreCLV:
		return p.Scores.CLV.Float(), later(p.Scores.Next, v.now)
	case scoreConfidence:
		return p.Scores.Confidence, later(p.Scores.Next, v.now)
	case scoreAlive:
		return p.Scores.Alive, later(p.Scores.Next, v.now)
	case orderCount:
		return float64(p.Orders.Count), 0
	case refundCount:
		return float64(p.Orders.Refunds), 0
	case revenue:
		return p.Orders.Revenue.Float(), 0
	case netRevenue:
		return p.Monetary().Float(), 0
	case recency:
		days, until, ok := p.Recency(v.now)
		return orNone(float64(days), ok), until
	case propensityOf, confidenceOf:
		score, _, until, ok := p.Propensity(n.name, v.now)
		if n.kind == confidenceOf {
			return orNone(score.Confidence, ok), until
		}
		return orNone(score.Value, ok), until
	case affinityOf:
		return p.Affinity(n.dimension, n.name), 0
	case sendHour:
		ahead, until := v.zones.ahead(p, v.now)
		hour, _, ok := p.SendHour(ahead)
		return orNone(float64(hour), ok), until
	case cartItems:
		_, items, _ := p.CartTotals()
		return float64(items), 0
	case cartProducts:
		products, _, _ := p.CartTotals()
		return float64(products), 0
	case cartValue:
		_, _, value := p.CartTotals()
		return value.Float(), 0
	default:
		return n.fixed, 0
	}
}

func orNone(n float64, ok bool) float64 {
	if !ok {
		return math.NaN()
	}
	return n
}

func (n *number) String() string {
	switch n.kind {
	case fixed:
		return strconv.FormatFloat(n.fixed, 'g', -1, 64)
	case totalOf:
		return "total(" + strconv.Quote(n.name) + ")"
	case propensityOf:
		return "propensity(" + strconv.Quote(n.name) + ")"
	case confidenceOf:
		return "confidence(" + strconv.Quote(n.name) + ")"
	case affinityOf:
		return "affinity(" + strconv.Quote(n.dimension.String()) + ", " + strconv.Quote(n.name) + ")"
	default:
		return n.name
	}
}

// evalNumbers compares two numbers.
func (a *atom) evalNumbers(v *view) (bool, event.Instant) {
	left, soonest := a.left.get(v)
	right, until := a.right.get(v)
	ok := a.relation.holds(left, right)
	if a.left.kind == recency && a.right.kind == fixed && !math.IsNaN(left) {
		return ok, a.recencyChanges(v.p.Orders.Last, left, ok)
	}
	return ok, sooner(soonest, until)
}

const mostDays = 1e6 // that anybody waits for

// recencyChanges is when days since the latest order that pass one by one compare otherwise with the constant: the
// daily changes before don't matter.
func (a *atom) recencyChanges(last event.Instant, days float64, ok bool) event.Instant {
	c := a.right.fixed
	for _, next := range [...]float64{math.Ceil(c), math.Floor(c) + 1} {
		if next > days && next < mostDays && a.relation.holds(next, c) != ok {
			return last + event.Instant(next)*event.Instant(24*time.Hour/time.Millisecond)
		}
	}
	return 0
}
