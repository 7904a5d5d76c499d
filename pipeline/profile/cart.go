package profile

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"

	"attune/pipeline/event"
)

// Bounds of what is kept of products.
const (
	MaxViewed    = 20  // products last viewed: the latest
	MaxBought    = 64  // products last bought: the latest
	MaxCart      = 50  // changes of the cart: the latest
	MaxProductID = 128 // bytes; what has a longer id is not kept
	maxQuantity  = 1_000_000
)

// View is a product and when it was last looked at, or bought (occurred).
type View struct {
	Product string
	At      event.Instant
}

// View notes that the customer looked at a product.
func (p *Profile) View(product string, at event.Instant) {
	p.Viewed = noted(p.Viewed, product, at, MaxViewed)
}

// Buy notes that the customer bought a product; the cart and what the order brought are Order's.
func (p *Profile) Buy(product string, at event.Instant) {
	p.Bought = noted(p.Bought, product, at, MaxBought)
}

// noted is a list of products, the latest first, with one more; of too many the earliest goes, which no order of arrival
// changes.
func noted(list []View, product string, at event.Instant, most int) []View {
	if product == "" || len(product) > MaxProductID {
		return list
	}
	v := View{At: at}
	for i := range list {
		if known := list[i]; known.Product == product {
			if known.At >= at {
				return list
			}
			v.Product = known.Product
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	i := 0
	for i < len(list) && (list[i].At > at || list[i].At == at && list[i].Product < product) {
		i++
	}
	if i == most {
		return list
	}
	if v.Product == "" {
		v.Product = strings.Clone(product) // the text may lie in the whole event's
	}
	list = slices.Insert(list, i, v)
	return list[:min(len(list), most)]
}

// CartChange is something put into the cart or taken out of it.
type CartChange struct {
	At       event.Instant // occurred
	Product  string
	Quantity int64       // negative: taken out
	Price    event.Money // of one; zero: not said
}

// ChangeCart notes a change, unless an order that occurred then or later has emptied the cart.
func (p *Profile) ChangeCart(c CartChange) {
	if p.Orders.Count > 0 && c.At <= p.Orders.Last || len(c.Product) > MaxProductID {
		return
	}
	c.Quantity = min(max(c.Quantity, -maxQuantity), maxQuantity)
	i, _ := slices.BinarySearchFunc(p.Cart, c, byTime)
	p.Cart = slices.Insert(p.Cart, i, c)
	p.settleCart()
}

// settleCart drops what the latest order has emptied, and the oldest of too many changes.
func (p *Profile) settleCart() {
	n := max(0, len(p.Cart)-MaxCart)
	for p.Orders.Count > 0 && n < len(p.Cart) && p.Cart[n].At <= p.Orders.Last {
		n++
	}
	if n > 0 {
		p.Cart = slices.Delete(p.Cart, 0, n)
	}
}

func byTime(a, b CartChange) int {
	return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Product, b.Product), cmp.Compare(a.Quantity, b.Quantity), cmp.Compare(a.Price, b.Price))
}

// CartLine is one product in the cart.
type CartLine struct {
	Product  string
	Quantity int64         // above zero
	Price    event.Money   // of one, as last said; zero: never said
	Since    event.Instant // when the latest of it was put in
}

// CartLines are the products in the cart, by the time of their latest change, with nothing where it is empty. It never
// changes by itself.
func (p *Profile) CartLines() []CartLine {
	var lines []CartLine
	for _, c := range p.Cart {
		line := CartLine{Product: c.Product}
		if i := slices.IndexFunc(lines, func(l CartLine) bool { return l.Product == c.Product }); i >= 0 {
			line = lines[i]
			lines = slices.Delete(lines, i, i+1)
		}
		line.Quantity = max(0, line.Quantity+c.Quantity) // who takes out what isn't there owes nothing
		if c.Quantity > 0 {
			line.Since = c.At
		}
		if c.Price != 0 {
			line.Price = c.Price
		}
		lines = append(lines, line)
	}
	return slices.DeleteFunc(lines, func(l CartLine) bool { return l.Quantity == 0 })
}

// CartTotals are how many products are in the cart, how many pieces of them, and what they cost at the prices last said;
// what has no price counts nothing. They never change by themselves.
func (p *Profile) CartTotals() (products int, items int64, value event.Money) {
	for i, c := range p.Cart {
		if slices.ContainsFunc(p.Cart[:i], func(before CartChange) bool { return before.Product == c.Product }) {
			continue
		}
		quantity, price := p.inCart(p.Cart[i:], c.Product)
		if quantity == 0 {
			continue
		}
		products++
		items += quantity
		cost := event.Money(math.MaxInt64)
		if high, low := bits.Mul64(uint64(price), uint64(quantity)); high == 0 && low < math.MaxInt64 { // neither is negative
			cost = event.Money(low)
		}
		value = value.Plus(cost)
	}
	return products, items, value
}

// InCart is how many pieces of a product are in the cart. It never changes by itself.
func (p *Profile) InCart(product string) int64 {
	quantity, _ := p.inCart(p.Cart, product)
	return quantity
}

func (p *Profile) inCart(changes []CartChange, product string) (quantity int64, price event.Money) {
	for i := range changes {
		if c := &changes[i]; c.Product == product {
			quantity = max(0, quantity+c.Quantity) // who takes out what isn't there owes nothing
			if c.Price != 0 {
				price = c.Price
			}
		}
	}
	return quantity, price
}
