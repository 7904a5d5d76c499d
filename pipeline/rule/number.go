package rule

import (
	"strconv"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// relation is how two numbers are compared.
type relation uint8

const (
	equal relation = iota
	unequal
	less
	lessOrEqual
	greater
	greaterOrEqual
)

func (r relation) String() string {
	return [...]string{"==", "!=", "<", "<=", ">", ">="}[r]
}

// mirrored is the relation with its sides swapped.
func (r relation) mirrored() relation {
	return [...]relation{equal, unequal, greater, greaterOrEqual, less, lessOrEqual}[r]
}

func (r relation) holds(a, b float64) bool {
	switch r {
	case equal:
		return a == b
	case unequal:
		return a != b
	case less:
		return a < b
	case lessOrEqual:
		return a <= b
	case greater:
		return a > b
	default:
		return a >= b
	}
}

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

// number is a constant, or something known of the customer.
type number struct {
	kind  numberKind
	name  string // as written, or the event's name for totalOf
	fixed float64
}

// money counts in ten-thousandths and is compared in main units: the division is correctly rounded, so an
// amount equals the constant that is written like it.
func (n number) get(p *profile.Profile, now event.Instant) (float64, event.Instant) {
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

func (n number) String() string {
	switch n.kind {
	case fixed:
		return strconv.FormatFloat(n.fixed, 'g', -1, 64)
	case totalOf:
		return "total(" + strconv.Quote(n.name) + ")"
	default:
		return n.name
	}
}

// compared: two numbers of which at least one is the customer's.
type compared struct {
	relation    relation
	left, right number
}

func (c *compared) eval(in Input) (bool, event.Instant) {
	a, soonest := c.left.get(in.Profile, in.Now)
	b, until := c.right.get(in.Profile, in.Now)
	if soonest == 0 || until != 0 && until < soonest {
		soonest = until
	}
	return c.relation.holds(a, b), soonest
}

func (c *compared) write(b *strings.Builder) {
	b.WriteString("compare(" + c.left.String() + " " + c.relation.String() + " " + c.right.String() + ")")
}

// measured: a trait or property that is a number, in an order with a constant.
type measured struct {
	relation relation
	value    value
	limit    float64
}

func (m *measured) eval(in Input) (bool, event.Instant) {
	n, ok := m.value.get(in).Number()
	return ok && m.relation.holds(n, m.limit), 0
}

func (m *measured) write(b *strings.Builder) {
	b.WriteString("compare(" + m.value.String() + " " + m.relation.String() + " ")
	b.WriteString(strconv.FormatFloat(m.limit, 'g', -1, 64) + ")")
}
