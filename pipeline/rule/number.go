package rule

import (
	"strconv"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// numberKind is where a number of the customer comes from.
type numberKind uint8

const (
	fixed numberKind = iota
	totalOf
	scoreCLV
	scoreAlive
	orderCount
	refundCount
	revenue
	netRevenue
)

// customerNumbers are the numbers of the customer, by their names after "customer.". A new one has a line here and a
// case in get.
func customerNumbers() map[string]numberKind {
	return map[string]numberKind{
		"clv": scoreCLV, "alive": scoreAlive, "orders": orderCount, "refunds": refundCount,
		"revenue": revenue, "net_revenue": netRevenue,
	}
}

// number is a constant, or something known of the customer.
type number struct {
	kind  numberKind
	name  string // as written, or the event's name for totalOf
	fixed float64
}

// get is the number and until when it holds by itself. Money counts in ten-thousandths and is compared in main units:
// the division is correctly rounded, so an amount equals the constant that is written like it.
func (n *number) get(p *profile.Profile, now event.Instant) (float64, event.Instant) {
	switch n.kind {
	case totalOf:
		return float64(p.Count(n.name)), 0
	case scoreCLV:
		return p.Scores.CLV.Float(), later(p.Scores.Next, now)
	case scoreAlive:
		return p.Scores.Alive, later(p.Scores.Next, now)
	case orderCount:
		return float64(p.Orders.Count), 0
	case refundCount:
		return float64(p.Orders.Refunds), 0
	case revenue:
		return p.Orders.Revenue.Float(), 0
	case netRevenue:
		return (p.Orders.Revenue - p.Orders.Refunded).Float(), 0
	default:
		return n.fixed, 0
	}
}

func (n *number) String() string {
	switch n.kind {
	case fixed:
		return strconv.FormatFloat(n.fixed, 'g', -1, 64)
	case totalOf:
		return "total(" + strconv.Quote(n.name) + ")"
	default:
		return n.name
	}
}
