package recommend

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Card tells what a model was made from and how good it is.
type Card struct {
	First        event.Instant `json:"first"`
	HoldoutSince event.Instant `json:"holdout_since"`
	Last         event.Instant `json:"last"`
	Orders       int           `json:"orders"`
	Products     int           `json:"products"`
	// Holdout judges a model that has seen nothing of the hold-out; Popular what is popular before it.
	Holdout Judgement `json:"holdout"`
	Popular Judgement `json:"popular"`
}

// Judgement compares 20 recommended products with the first basket of each customer after a moment, of those who bought
// before it.
type Judgement struct {
	Customers int     `json:"customers"`
	HitRate   float64 `json:"hit_rate"` // the share of customers who bought at least one of them
	// NewHitRate is that of products that the customer had not bought before, among those who bought one such.
	NewHitRate float64 `json:"new_hit_rate"`
}

// Worse tells whether a judgement is worse than another of the same hold-out.
func (j Judgement) Worse(than Judgement) bool { return j.HitRate < than.HitRate }

// Trained is a model of all orders, and what it is worth.
type Trained struct {
	Model *Model
	// Calibrated has seen nothing of the hold-out: later ones are compared with it.
	Calibrated *Model
	Card       Card
}

// longestHoldout bounds the hold-out, which is a quarter of the orders' time.
const longestHoldout = 30 * 24 * time.Hour

const judged = 20 // products

var (
	errNoOrder = errors.New("recommendations: no order names its products")
	errShort   = errors.New("recommendations: nobody who bought before the last quarter of the time bought again in it: nothing can be held out")
)

// Train makes a model of orders, which it sorts, and describes their products by views too.
func Train(orders []Order, views []Order) (t Trained, err error) {
	orders = slices.DeleteFunc(orders, func(o Order) bool { return len(o.Products) == 0 })
	if len(orders) == 0 {
		return t, errNoOrder
	}
	slices.SortStableFunc(orders, func(a, b Order) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Customer, b.Customer))
	})
	c := Card{First: orders[0].At, Last: orders[len(orders)-1].At, Orders: len(orders)}
	c.HoldoutSince = max(c.Last-(c.Last-c.First)/4, c.Last.Add(-longestHoldout))
	build := func(end event.Instant, orders []Order) *Model {
		b := NewBuilder(end)
		for _, o := range orders {
			b.Basket(o.Products, o.At)
		}
		for _, v := range views {
			for _, item := range v.Products {
				b.Describe(item, v.At)
			}
		}
		return b.Build()
	}
	cut, _ := slices.BinarySearchFunc(orders, c.HoldoutSince, func(o Order, at event.Instant) int { return cmp.Compare(o.At, at) })
	t.Model, t.Calibrated = build(c.Last, orders), build(c.HoldoutSince, orders[:cut])
	c.Products = len(t.Model.Items)
	c.Holdout = c.Judge(t.Calibrated, orders)
	c.Popular = c.judge(t.Calibrated.popular(), orders, func(p *profile.Profile) *profile.Profile { return profile.New(p.ID) })
	if c.Holdout.Customers == 0 {
		return t, errShort
	}
	t.Card = c
	return t, nil
}

// Judge judges a model on the card's hold-out, of the same orders, sorted by time.
func (c Card) Judge(m *Model, orders []Order) (j Judgement) {
	return c.judge(m, orders, func(p *profile.Profile) *profile.Profile { return p })
}

func (c Card) judge(m *Model, orders []Order, known func(*profile.Profile) *profile.Profile) (j Judgement) {
	past, next := map[string]*profile.Profile{}, map[string]bool{}
	news, hits, newHits := 0, 0, 0
	for _, o := range orders {
		if o.At < c.HoldoutSince {
			p := past[o.Customer]
			if p == nil {
				p = profile.New(o.Customer)
				past[o.Customer] = p
			}
			for _, item := range o.Products {
				p.Buy(item.ID, o.At)
			}
			continue
		}
		p := past[o.Customer]
		if p == nil || next[o.Customer] {
			continue
		}
		next[o.Customer] = true
		j.Customers++
		if m.hits(known(p), o, true, func(string) bool { return true }) {
			hits++
		}
		unknown := func(id string) bool {
			return !slices.ContainsFunc(p.Bought, func(v profile.View) bool { return v.Product == id })
		}
		if slices.ContainsFunc(o.Products, func(i Item) bool { return unknown(i.ID) }) {
			news++
			if m.hits(p, o, false, unknown) {
				newHits++
			}
		}
	}
	j.HitRate = float64(hits) / max(float64(j.Customers), 1)
	j.NewHitRate = float64(newHits) / max(float64(news), 1)
	return j
}

// hits tells whether what is recommended for the moment before an order meets one of its products that count.
func (m *Model) hits(p *profile.Profile, o Order, again bool, counts func(id string) bool) bool {
	for _, choice := range (Products{model: m}).Choose(p, o.At, Wish{Count: judged, Again: again}) {
		if slices.ContainsFunc(o.Products, func(i Item) bool { return i.ID == choice.ID && counts(i.ID) }) {
			return true
		}
	}
	return false
}
