package enrich_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// affinities are all shares of a dimension.
func affinities(p *profile.Profile, d profile.Dimension) map[string]float64 {
	all := map[string]float64{}
	for _, w := range p.Leanings[d].Weights {
		all[w.Name] = p.Affinity(d, w.Name)
	}
	return all
}

func TestAffinities(t *testing.T) {
	p := apply(t, stage(t),
		track("Product Viewed", start, `{"product_id":"a","category":"boots","brand":"Acme","price":30}`),              // 1
		track("Product List Viewed", start, `{"category":"hats","brand":"Other","price":5}`),                           // 1, its category only
		track("Product Added", start, `{"product_id":"b","category":"boots","price":"25.00"}`),                         // 3
		track("Product Added to Wishlist", start, `{"product_id":"b","category":"scarves","brand":7}`),                 // 3
		track("Product Removed", start, `{"product_id":"b","category":"gloves","price":1}`),                            // nothing
		track("Search", start, `{"category":"gloves","price":1}`),                                                      // nothing
		track(event.OrderCompleted, start, `{"products":[{"category":"boots","price":99.99},{"brand":"Acme"},"odd"]}`), // 5, 5, nothing
		track(event.OrderCompleted, start, `{"category":"hats","coupon":"TEN","revenue":10}`),                          // 5: it names no products
		track("Product Viewed", start, `{"category":null,"brand":{"name":"x"},"price":"?"}`))                           // nothing
	for d, want := range map[profile.Dimension]map[string]float64{
		profile.Category: {"boots": 0.5, "hats": 0.3333, "scarves": 0.1667},
		profile.Brand:    {"Acme": 0.6667, "7": 0.3333},
		profile.Price:    {"20-50": 0.4444, "50-100": 0.5556},
		profile.Discount: {profile.FullPrice: 0.5, profile.Discounted: 0.5},
		profile.Hour:     {"00": 1},
	} {
		if diff := cmp.Diff(want, affinities(p, d)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", d, diff)
		}
	}
	if p.StyleGroup() != "boots" {
		t.Errorf("style group %q", p.StyleGroup())
	}
}

func TestOldInterestsFade(t *testing.T) {
	viewed := func(category string, at event.Instant) event.Event {
		return track("Product Viewed", at, fmt.Sprintf(`{"category":%q}`, category))
	}
	p := apply(t, stage(t), viewed("boots", start), viewed("boots", start), viewed("hats", start.Add(profile.HalfLife)), viewed("hats", start.Add(2*profile.HalfLife)))
	// Two that weigh a quarter, and a half and a whole.
	if diff := cmp.Diff(map[string]float64{"boots": 0.25, "hats": 0.75}, affinities(p, profile.Category)); diff != "" {
		t.Errorf("affinities (-want +got):\n%s", diff)
	}
}

func TestDiscountsOfOrders(t *testing.T) {
	for properties, want := range map[string]string{
		`{}`: profile.FullPrice, `{"coupon":"","discount":0}`: profile.FullPrice, `{"coupon":null,"discount":-5}`: profile.FullPrice,
		`{"coupon":"SPRING"}`: profile.Discounted, `{"discount":"2.50"}`: profile.Discounted, `{"discount":0.01}`: profile.Discounted,
		`{"products":[{"price":1},{"price":2,"coupon":"X"}]}`: profile.Discounted,
	} {
		p := apply(t, stage(t), track(event.OrderCompleted, start, properties))
		if name, share := p.Favourite(profile.Discount); name != want || share != 1 {
			t.Errorf("%s: %q with %v, want %q", properties, name, share, want)
		}
	}
}

func TestHours(t *testing.T) {
	at := func(hours int) event.Instant { return start.Add(time.Duration(hours) * time.Hour) }
	page, opened, clicked := track("Home", at(7), ""), track("Email Opened", at(8), ""), track("Email Link Clicked", at(9), "")
	page.Type = event.Page
	identify := event.Event{Type: event.Identify, Occurred: at(10), Accepted: at(10)}
	refund := track(event.OrderRefunded, at(11), "")
	p := apply(t, stage(t), page, opened, clicked, identify, refund, track("Anything", at(9+24*30), ""))
	if diff := cmp.Diff(map[string]float64{"07": 0.125, "09": 0.875}, affinities(p, profile.Hour), cmpopts.EquateApprox(0, 0.001)); diff != "" {
		t.Errorf("hours (-want +got):\n%s", diff)
	}
}

func TestZone(t *testing.T) {
	said := func(at event.Instant, context, traits string) event.Event {
		return event.Event{Type: event.Track, Name: "x", Occurred: at, Accepted: start + 100, Context: event.Object(context), Traits: event.Object(traits)}
	}
	for name, tt := range map[string]struct {
		events []event.Event
		want   profile.Zone
	}{
		"unknown":         {[]event.Event{said(start, `{"locale":"en"}`, `{"zone":1}`)}, profile.Zone{}},
		"escaped":         {[]event.Event{said(start, `{"timezone":"America\/New_York"}`, "")}, profile.Zone{Name: "America/New_York", At: start}},
		"the latest":      {[]event.Event{said(start+2, `{"timezone":"Europe/Rome"}`, ""), said(start+1, `{"timezone":"UTC"}`, "")}, profile.Zone{Name: "Europe/Rome", At: start + 2}},
		"at one instant":  {[]event.Event{said(start, `{"timezone":"Europe/Rome"}`, ""), said(start, `{"timezone":"Europe/Oslo"}`, "")}, profile.Zone{Name: "Europe/Rome", At: start}},
		"a trait":         {[]event.Event{said(start, "", `{"timezone":"Etc/GMT+5"}`)}, profile.Zone{Name: "Etc/GMT+5", At: start}},
		"before a trait":  {[]event.Event{said(start, `{"timezone":"Asia/Tokyo"}`, `{"timezone":"UTC"}`)}, profile.Zone{Name: "Asia/Tokyo", At: start}},
		"said again":      {[]event.Event{said(start, `{"timezone":"UTC"}`, ""), said(start+5, `{"timezone":"UTC"}`, "")}, profile.Zone{Name: "UTC", At: start + 5}},
		"no zone":         {[]event.Event{said(start, `{"timezone":"here & there"}`, ""), said(start, `{"timezone":""}`, ""), said(start, `{"timezone":60}`, "")}, profile.Zone{}},
		"somewhere below": {[]event.Event{said(start, `{"campaign":{"timezone":"UTC"}}`, "")}, profile.Zone{}},
	} {
		if p := apply(t, stage(t), tt.events...); p.Zone != tt.want {
			t.Errorf("%s: zone %+v, want %+v", name, p.Zone, tt.want)
		}
	}
}

func TestCartAndViews(t *testing.T) {
	p := apply(t, stage(t),
		track("Product Viewed", start, `{"product_id":"a"}`), track("Product Viewed", start+9, `{"sku":"b"}`), track("Product Viewed", start+5, `{"product_id":12}`),
		track("Product Viewed", start+20, `{}`),
		track("Product Added", start+1, `{"product_id":"a","price":2.5,"quantity":"3"}`), track("Product Added", start+2, `{"product_id":"b"}`),
		track("Product Removed", start+3, `{"product_id":"a"}`), track("Product Added", start+4, `{"price":1}`), track("Product Added", start+4, `{"product_id":"a","quantity":-2}`))
	if diff := cmp.Diff([]profile.View{{Product: "b", At: start + 9}, {Product: "12", At: start + 5}, {Product: "a", At: start}}, p.Viewed); diff != "" {
		t.Errorf("viewed (-want +got):\n%s", diff)
	}
	want := []profile.CartLine{{Product: "b", Quantity: 1, Since: start + 2}, {Product: "a", Quantity: 2, Price: 25_000, Since: start + 1}}
	if diff := cmp.Diff(want, p.CartLines()); diff != "" {
		t.Errorf("cart (-want +got):\n%s", diff)
	}
	e := order(start+2, "5")
	if _, err := (&pipeline.Chain{Stages: []pipeline.Stage{stage(t)}}).Apply(p, &e, 99); err != nil {
		t.Fatal(err)
	}
	if lines := p.CartLines(); len(lines) > 0 {
		t.Errorf("after an order the cart holds %v", lines)
	}
}

func TestSums(t *testing.T) {
	p := apply(t, stage(t),
		track("Signed Up", start+5, `{"value":"12.50"}`), track("Signed Up", start+1, `{"value":1,"total":2}`), track("Signed Up", start+3, `{"value":-4}`), track("Signed Up", start+2, ``),
		track("Product Added", start, `{"price":2,"quantity":3}`), track("Product Added", start, `{"price":"0.10"}`),
		order(start, "7"), track(event.OrderRefunded, start, `{"total":-3}`))
	want := []profile.Activity{
		{Name: event.OrderCompleted, Count: 1, Sum: 70_000, First: start, Last: start}, {Name: event.OrderRefunded, Count: 1, Sum: 30_000, First: start, Last: start},
		{Name: "Product Added", Count: 2, Sum: 61_000, First: start, Last: start}, {Name: "Signed Up", Count: 4, Sum: 145_000, First: start + 1, Last: start + 5},
	}
	if diff := cmp.Diff(want, p.Activities); diff != "" {
		t.Errorf("activities (-want +got):\n%s", diff)
	}
}

func TestMoneyByCurrency(t *testing.T) {
	p := apply(t, stage(t),
		track(event.OrderCompleted, start, `{"revenue":10,"currency":"GBP"}`), track(event.OrderCompleted, start+1, `{"revenue":4,"currency":"EUR"}`),
		track(event.OrderCompleted, start+2, `{"revenue":1}`), track(event.OrderRefunded, start+3, `{"total":2,"currency":"GBP"}`))
	want := []profile.Currency{
		{Orders: 1, Revenue: 10_000}, {Code: "EUR", Orders: 1, Revenue: 40_000}, {Code: "GBP", Orders: 1, Refunds: 1, Revenue: 100_000, Refunded: 20_000},
	}
	if diff := cmp.Diff(want, p.Orders.Currencies); diff != "" {
		t.Errorf("currencies (-want +got):\n%s", diff)
	}
	if p.Monetary() != 130_000 {
		t.Errorf("monetary value %s", p.Monetary())
	}
}

// Whatever a customer does at distinct instants: in any order of arrival it gives the same counts, money, times, cart
// and products exactly, and decayed sums to nine digits.
func TestFeaturesInAnyOrder(t *testing.T) {
	st := stage(t)
	rapid.Check(t, func(t *rapid.T) {
		events := make([]event.Event, rapid.IntRange(2, 80).Draw(t, "events"))
		for i := range events {
			name := rapid.SampledFrom([]string{
				"Product Viewed", "Product Viewed", "Product Added", "Product Removed", event.OrderCompleted, event.OrderRefunded, "Email Link Clicked", "Search",
			}).Draw(t, "name")
			n := rapid.IntRange(0, 99).Draw(t, "product")
			events[i] = track(name, start.Add(-time.Duration(i*37)*time.Hour-time.Duration(n)*time.Millisecond), fmt.Sprintf(
				`{"product_id":"p%d","category":"c%d","brand":"b%d","price":%d.99,"quantity":%d,"currency":%q,"coupon":%q,"value":1.0001}`,
				n, n, n%7, n*n, n%3, []string{"GBP", "EUR"}[n%2], []string{"", "TEN"}[n%2]))
			events[i].Context = event.Object([]string{`{}`, `{"timezone":"Europe/Rome"}`, `{"timezone":"UTC"}`}[n%3])
			events[i].Accepted = start
		}
		run := func(events []event.Event) *profile.Profile {
			c, p := &pipeline.Chain{Stages: []pipeline.Stage{st}}, profile.New("p1")
			for i := range events {
				if _, err := c.Apply(p, &events[i], uint64(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			return p
		}
		want, got := run(events), run(rapid.Permutation(events).Draw(t, "shuffled"))
		if diff := cmp.Diff(want, got, cmp.Comparer(near), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(profile.Profile{}, "Armed")); diff != "" {
			t.Fatalf("in another order (-want +got):\n%s", diff)
		}
	})
}
