package enrich

import (
	"bytes"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// What an event weighs as a sign of what the customer likes.
const (
	seen   = 1
	wanted = 3
	bought = 5
	// clicked is a mail's link followed, as a sign of the hour at which mail is read.
	clicked = 5
)

// Names from Segment's ecommerce and email specs that mean something for interests.
const (
	productListViewed = "Product List Viewed"
	productViewed     = "Product Viewed"
	productAdded      = "Product Added"
	productRemoved    = "Product Removed"
	addedToWishlist   = "Product Added to Wishlist"
	emailLinkClicked  = "Email Link Clicked"
	emailPrefix       = "Email "
	maxZone           = 64
	zoneProperty      = "timezone"
	quotedZone        = `"` + zoneProperty + `"`
)

// keepTrack takes what a track event is about into the profile.
func keepTrack(p *profile.Profile, e *event.Event, said *properties, weight profile.Decayed) {
	switch e.Name {
	case productViewed:
		p.View(string(said.product()), e.Occurred)
		keepProduct(p, said, weight.Times(seen))
	case productListViewed:
		lean(p, profile.Category, said.category, weight.Times(seen))
	case addedToWishlist:
		keepProduct(p, said, weight.Times(wanted))
	case productAdded:
		keepProduct(p, said, weight.Times(wanted))
		changeCart(p, e, said, 1)
	case productRemoved:
		changeCart(p, e, said, -1)
	case event.OrderCompleted:
		name := profile.FullPrice
		if said.discounted() {
			name = profile.Discounted
		}
		p.Lean(profile.Discount, name, weight)
		lines := 0
		for product := range said.products.Items {
			fields, _ := product.Object()
			line := read(fields)
			keepProduct(p, &line, weight.Times(bought))
			p.Buy(string(line.product()), e.Occurred)
			lines++
		}
		if lines == 0 {
			keepProduct(p, said, weight.Times(bought))
			p.Buy(string(said.product()), e.Occurred)
		}
	}
}

func keepProduct(p *profile.Profile, said *properties, weight profile.Decayed) {
	lean(p, profile.Category, said.category, weight)
	lean(p, profile.Brand, said.brand, weight)
	if each, ok := said.price.Money(); ok {
		if band := profile.PriceBand(each); band != "" {
			p.Lean(profile.Price, band, weight)
		}
	}
}

func lean(p *profile.Profile, d profile.Dimension, v event.Value, weight profile.Decayed) {
	if name := content(v); len(name) > 0 {
		p.Lean(d, string(name), weight)
	}
}

func changeCart(p *profile.Profile, e *event.Event, said *properties, sign int64) {
	id := said.product()
	if len(id) == 0 {
		return
	}
	many := event.MoneyUnit
	if q, ok := said.quantity.Money(); ok {
		many = max(q, 0)
	}
	each, _ := said.price.Money()
	p.ChangeCart(profile.CartChange{At: e.Occurred, Product: string(id), Quantity: sign * int64(many/event.MoneyUnit), Price: max(each, 0)})
}

// keepHour notes the hour at which the customer did something. What mail does by itself is not the customer's doing:
// only a click is, since machines open mails.
func keepHour(p *profile.Profile, e *event.Event, weight profile.Decayed) {
	switch e.Type {
	case event.Page, event.Screen:
	case event.Track:
		switch {
		case e.Name == emailLinkClicked:
			weight = weight.Times(clicked)
		case e.Name == event.OrderRefunded || len(e.Name) > len(emailPrefix) && e.Name[:len(emailPrefix)] == emailPrefix:
			return
		}
	default:
		return
	}
	p.Lean(profile.Hour, profile.HourName(e.Occurred), weight)
}

// keepZone takes over a time zone that the event's context, or else its traits, name.
func keepZone(p *profile.Profile, e *event.Event) {
	for _, o := range [...]event.Object{e.Context, e.Traits} {
		if !bytes.Contains(o, []byte(quotedZone)) { // most don't, and looking closer costs more
			continue
		}
		said := o.Get(zoneProperty)
		name, ok := said.Plain()
		if !ok { // some write "America\/New_York"
			var text string
			text, ok = said.Text()
			name = []byte(text)
		}
		if !ok || !isZone(name) {
			continue
		}
		if z := &p.Zone; z.Name == "" || e.Occurred > z.At || e.Occurred == z.At && string(name) > z.Name {
			z.At = e.Occurred
			if z.Name != string(name) {
				z.Name = string(name)
			}
		}
		return
	}
}

// isZone tells whether a text looks like an IANA zone's name, such as Europe/London; which there are is not asked here,
// since that differs between machines.
func isZone(name []byte) bool {
	if len(name) == 0 || len(name) > maxZone {
		return false
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '/', c == '_', c == '-', c == '+':
		default:
			return false
		}
	}
	return true
}
