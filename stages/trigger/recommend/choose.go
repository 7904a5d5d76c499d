package recommend

import (
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Wish is what a mail asks for.
type Wish struct {
	Count int  // how many products at most
	Again bool // also those that the customer bought
}

// Why a product was chosen.
const (
	BoughtTogether = "bought_together" // with what the customer bought, put into the cart or looked at
	BoughtBefore   = "bought_before"   // by the customer
	Popular        = "popular"         // with everyone
)

// Choice is a product that was chosen, as it stands in the mail's data.
type Choice struct {
	Item
	Why string `json:"why"`
}

// What a customer's products weigh at first; each weight halves in 30 days. The weights were chosen once, on the orders
// that TestBeatsPopularity looks at.
const (
	weightBought = 1.0
	weightCart   = 0.7
	weightViewed = 0.4
	// weightOwn is what a product's own purchases weigh for it, where it may be recommended again.
	weightOwn = 1.0
	// weightPopular is what an item's share of everybody's baskets weighs, and weightPopularBeside how much more for each
	// of the customer's products.
	weightPopular       = 1.0
	weightPopularBeside = 0.3
)

// fade is 2^(-1/30), what is left of a weight after a day.
const fade = 0.9771599684342459

// oldest is the age in days from which on nothing weighs less.
const oldest = 365

// Products is what there is to choose from. The zero value has nothing. It never changes and is safe for concurrent use.
type Products struct {
	model *Model
	out   []bool // of stock, by the item's place; nil: none is
}

// NewProducts offers a model's products (nil: none) that are not out of stock.
func NewProducts(m *Model, out OutOfStock) Products {
	s := Products{model: m}
	if m == nil || len(out) == 0 {
		return s
	}
	s.out = make([]bool, len(m.Items))
	for _, id := range out {
		if place, ok := m.places[id]; ok {
			s.out[place] = true
		}
	}
	return s
}

// Choose picks products for a customer as of now: the best first, none twice, nothing that is out of stock or lies in the
// cart. What is popular counts beside likeness, and alone for whoever did nothing yet.
func (s Products) Choose(p *profile.Profile, now event.Instant, w Wish) []Choice {
	m := s.model
	if m == nil || w.Count <= 0 || len(m.Items) == 0 {
		return nil
	}
	c := chooser{m: m, now: now, again: w.Again, scores: make([]float64, len(m.Items)), had: make([]had, len(m.Items))}
	for _, b := range p.Bought {
		c.take(b.Product, b.At, weightBought, bought)
	}
	for _, l := range p.CartLines() {
		c.take(l.Product, l.Since, weightCart, inCart)
	}
	for _, v := range p.Viewed {
		c.take(v.Product, v.At, weightViewed, 0)
	}
	best := make([]int32, 0, min(w.Count, len(m.Items))+1)
	scores := make([]float64, 0, cap(best))
	popular := (weightPopular + float64(weightPopularBeside*c.all)) / unit
	for i := range m.Items {
		score := c.scores[i] + float64(popular*float64(m.Popular[i]))
		if len(best) == w.Count && score <= scores[len(best)-1] || c.had[i]&inCart != 0 || c.had[i]&bought != 0 && !w.Again || s.out != nil && s.out[i] {
			continue
		}
		at := len(best)
		for at > 0 && score > scores[at-1] { // of two alike the more popular one, which came first
			at--
		}
		best, scores = slices.Insert(best, at, int32(i)), slices.Insert(scores, at, score)
		best, scores = best[:min(len(best), w.Count)], scores[:min(len(scores), w.Count)]
	}
	choices := make([]Choice, len(best))
	for at, i := range best {
		why := Popular
		if c.had[i]&bought != 0 {
			why = BoughtBefore
		} else if c.scores[i] > 0 {
			why = BoughtTogether
		}
		choices[at] = Choice{m.Items[i], why}
	}
	return choices
}

// had tells what a customer has to do with an item.
type had uint8

const (
	bought had = 1 << iota
	inCart
)

type chooser struct {
	m      *Model
	now    event.Instant
	again  bool
	scores []float64
	had    []had
	all    float64 // what the customer's products weigh together
}

// take lets one of the customer's products speak for those that are like it, and for itself where it was bought.
func (c *chooser) take(product string, at event.Instant, weight float64, h had) {
	place, ok := c.m.places[product]
	if !ok {
		return
	}
	weight = float64(weight * faded(c.now-at))
	c.all += weight
	c.had[place] |= h
	if h == bought && c.again {
		c.scores[place] += float64(weight * weightOwn)
	}
	alike := c.m.Alike[place]
	for i, other := range c.m.Near[place] {
		c.scores[other] += float64(weight*float64(alike[i])) / unit
	}
}

// faded is 2^(-age/30d) by whole days, with the same bits everywhere: products alone.
func faded(age event.Instant) float64 {
	const day = 24 * 60 * 60 * 1000
	weight, factor := 1.0, fade
	for days := min(max(age/day, 0), oldest); days > 0; days >>= 1 {
		if days&1 == 1 {
			weight *= factor
		}
		factor *= factor
	}
	return weight
}
