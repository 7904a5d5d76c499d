package enrich

import (
	"math"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich/propensity"
)

// feature numbers what a propensity is foretold from.
type feature uint8

// The features, all from what the profile keeps: training and scoring read them by the same code. Those in days are
// of 24 hours and have fractions.
const (
	daysKnown     feature = iota // since the first event
	daysSilent                   // since the latest event
	events                       // how many there were
	orderCount                   // how many orders
	orderValue                   // what an order brought on the average
	daysNoOrder                  // since the latest order
	daysApart                    // between two purchase days, on the average
	overdue                      // daysNoOrder as a multiple of daysApart
	refundCount                  // how many refunds
	cartItems                    // put into the cart, less those taken out
	cartWorth                    // what they cost
	daysCart                     // since the cart changed
	productsSeen                 // different products viewed, at most profile.MaxViewed
	daysView                     // since the latest of these
	viewCount                    // Product Viewed
	addCount                     // Product Added
	checkoutCount                // Checkout Started
	daysCheckout                 // since the latest of these
	clickCount                   // Email Link Clicked
	daysClick                    // since the latest of these
	styleGroup                   // the category that the customer leans to most
	styleShare                   // and how much
	priceBand                    // the band of prices that the customer leans to most
	discountShare                // orders at a discount, as a share
	doneCount                    // the event that is foretold
	daysDone                     // since the latest of these
	doneOverdue                  // daysDone as a multiple of the mean time between them
	features
)

// Features are the names of the features, in their order: a model's columns.
func Features() []string {
	return []string{
		"days_known", "days_silent", "events", "orders", "order_value", "days_since_order", "days_between_orders", "order_overdue", "refunds",
		"cart_items", "cart_worth", "days_since_cart", "products_viewed", "days_since_view", "views", "adds", "checkouts", "days_since_checkout",
		"clicks", "days_since_click", "style_group", "style_share", "price_band", "discount_share", "done", "days_since_done", "done_overdue",
	}
}

const checkoutStarted = "Checkout Started"

// sketch is a customer at one moment, as models see them.
type sketch struct {
	now    event.Instant
	values [features]propensity.Value
	// since is what a feature counts from, in so many days for one; zero days: time alone doesn't change it.
	since [features]event.Instant
	days  [features]float64
}

// draw reads everything but what belongs to one foretold event.
func (s *sketch) draw(p *profile.Profile, now event.Instant) {
	*s = sketch{now: now}
	s.time(daysKnown, p.First, 1)
	s.time(daysSilent, p.Last, 1)
	s.number(events, float64(total(p)))
	s.orders(&p.Orders)
	s.number(refundCount, float64(p.Orders.Refunds))
	s.cart(p.Cart)
	s.number(productsSeen, float64(len(p.Viewed)))
	s.missing(daysView)
	if len(p.Viewed) > 0 {
		s.time(daysView, p.Viewed[0].At, 1)
	}
	s.number(viewCount, float64(p.Count(productViewed)))
	s.number(addCount, float64(p.Count(productAdded)))
	s.activity(checkoutCount, daysCheckout, p, checkoutStarted)
	s.activity(clickCount, daysClick, p, emailLinkClicked)
	style, share := p.Favourite(profile.Category)
	s.text(styleGroup, style)
	s.number(styleShare, share)
	band, _ := p.Favourite(profile.Price)
	s.text(priceBand, band)
	s.missing(discountShare)
	if p.Orders.Count > 0 {
		s.number(discountShare, p.Affinity(profile.Discount, profile.Discounted))
	}
}

func total(p *profile.Profile) (n uint64) {
	for i := range p.Activities {
		n += p.Activities[i].Count
	}
	return n
}

func (s *sketch) orders(o *profile.Orders) {
	s.number(orderCount, float64(o.Count))
	s.missing(orderValue, daysNoOrder, daysApart, overdue)
	if o.Count == 0 {
		return
	}
	s.number(orderValue, o.Revenue.Float()/float64(o.Count))
	s.time(daysNoOrder, o.Last, 1)
	if n := len(o.Days); n > 1 {
		apart := float64(o.Days[n-1].Day-o.Days[0].Day) / float64(n-1)
		s.number(daysApart, apart)
		s.time(overdue, o.Last, apart)
	}
}

func (s *sketch) cart(changes []profile.CartChange) {
	items, worth := int64(0), event.Money(0)
	for i := range changes {
		items += changes[i].Quantity
		worth = worth.Plus(changes[i].Price.Times(event.Money(changes[i].Quantity) * event.MoneyUnit))
	}
	s.number(cartItems, float64(max(items, 0)))
	s.number(cartWorth, max(worth, 0).Float())
	s.missing(daysCart)
	if n := len(changes); n > 0 {
		s.time(daysCart, changes[n-1].At, 1)
	}
}

func (s *sketch) activity(count, days feature, p *profile.Profile, name string) {
	a := p.Activity(name)
	s.number(count, float64(a.Count))
	s.missing(days)
	if a.Count > 0 {
		s.time(days, a.Last, 1)
	}
}

// aim adds what belongs to one foretold event.
func (s *sketch) aim(p *profile.Profile, name string) {
	s.activity(doneCount, daysDone, p, name)
	s.missing(doneOverdue)
	if a := p.Activity(name); a.Count > 1 && a.Last > a.First {
		s.time(doneOverdue, a.Last, float64(a.Last-a.First)/dayMillis/float64(a.Count-1))
	}
}

func (s *sketch) number(f feature, v float64) { s.values[f], s.days[f] = propensity.Number(v), 0 }

func (s *sketch) text(f feature, v string) { s.values[f], s.days[f] = propensity.Text(v), 0 }

func (s *sketch) missing(some ...feature) {
	for _, f := range some {
		s.text(f, "")
	}
}

// time is how long ago something was, in units of so many days; what lies ahead was just now.
func (s *sketch) time(f feature, since event.Instant, days float64) {
	if days <= 0 {
		s.missing(f)
		return
	}
	s.values[f] = propensity.Number(max(0, float64(s.now-since)) / (dayMillis * days))
	s.since[f], s.days[f] = since, days
}

// row are the values that a model's columns ask for.
func (s *sketch) row(into propensity.Row, columns []feature) propensity.Row {
	for _, f := range columns {
		into = append(into, s.values[f])
	}
	return into
}

// changes is the first daily tick after now at which time alone has moved a value into another bin of the model; zero:
// none ever does.
func (s *sketch) changes(m *propensity.Model, columns []feature) event.Instant {
	var earliest event.Instant
	for i, f := range columns {
		if s.days[f] == 0 {
			continue
		}
		cut, ok := m.Columns[i].Next(s.values[f])
		if !ok {
			continue
		}
		left := float64(float64(cut*s.days[f])*dayMillis) - float64(s.now-s.since[f]) // milliseconds
		if ticks := max(1, math.Ceil(left/dayMillis)); ticks <= mostDays {
			earliest = sooner(earliest, s.now.Add(time.Duration(ticks)*tick))
		}
	}
	return earliest
}
