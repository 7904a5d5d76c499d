package profile_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func put(at event.Instant, product string, quantity int64, price event.Money) profile.CartChange {
	return profile.CartChange{At: at, Product: product, Quantity: quantity, Price: price}
}

func TestCart(t *testing.T) {
	p := profile.New("p")
	if lines := p.CartLines(); lines != nil {
		t.Errorf("an empty cart has the lines %v", lines)
	}
	for _, c := range []profile.CartChange{put(9, "b", 1, 50), put(1, "a", 2, 70), put(5, "a", -1, 0), put(6, "gone", 1, 5), put(7, "gone", -3, 5), put(8, "gone", 0, 5), put(3, "a", 1, 60)} {
		p.ChangeCart(c)
	}
	want := []profile.CartLine{{Product: "a", Quantity: 2, Price: 60, Since: 3}, {Product: "b", Quantity: 1, Price: 50, Since: 9}}
	if diff := cmp.Diff(want, p.CartLines()); diff != "" {
		t.Errorf("cart (-want +got):\n%s", diff)
	}
	p.Order(5, 10, "")
	if diff := cmp.Diff(want[1:], p.CartLines()); diff != "" {
		t.Errorf("after an order, what was put in later (-want +got):\n%s", diff)
	}
	p.ChangeCart(put(5, "late", 1, 1)) // came in after the order, was put in before
	p.ChangeCart(put(10, "a", 1, 0))
	if lines := p.CartLines(); len(lines) != 2 || lines[1].Product != "a" {
		t.Errorf("cart %v", lines)
	}
}

// An order, changes and views give the same cart and the same products in any order of arrival, over the bounds too.
func TestCartAndViewsInAnyOrder(t *testing.T) {
	type act struct {
		at      event.Instant
		product string
		kind    int // 0: order, 1: view, else: change
	}
	rapid.Check(t, func(t *rapid.T) {
		acts := make([]act, rapid.IntRange(1, 130).Draw(t, "acts"))
		for i := range acts {
			acts[i] = act{event.Instant(1000 - 7*i), fmt.Sprintf("p%d", rapid.IntRange(0, 40).Draw(t, "product")), rapid.IntRange(1, 4).Draw(t, "kind")}
		}
		if rapid.Bool().Draw(t, "ordered") {
			acts[rapid.IntRange(0, len(acts)-1).Draw(t, "order")].kind = 0
		}
		run := func(acts []act) *profile.Profile {
			p := profile.New("p")
			for _, a := range acts {
				switch a.kind {
				case 0:
					p.Order(a.at, 1, "")
				case 1:
					p.View(a.product, a.at)
				default:
					p.ChangeCart(put(a.at, a.product, int64(a.kind)-3, 5))
				}
			}
			return p
		}
		want, got := run(acts), run(rapid.Permutation(acts).Draw(t, "shuffled"))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("in another order (-want +got):\n%s", diff)
		}
		if len(want.Cart) > profile.MaxCart || len(want.Viewed) > profile.MaxViewed {
			t.Fatalf("%d changes and %d views are kept", len(want.Cart), len(want.Viewed))
		}
	})
}

func TestRecency(t *testing.T) {
	p := profile.New("p")
	if _, _, ok := p.Recency(start); ok {
		t.Error("who never ordered has a recency")
	}
	p.Order(start, 30_000, "GBP")
	p.Orders.Returned(start+1, 10_000, "GBP")
	const day = 86_400_000
	for now, want := range map[event.Instant]int64{start: 0, start + day - 1: 0, start + day: 1, start + 10*day + 5: 10, start - 3*day: 0} {
		days, until, ok := p.Recency(now)
		if !ok || days != want || until != start+event.Instant(want+1)*day {
			t.Errorf("%d ms later: %d days until %s, want %d", now-start, days, until, want)
		}
	}
	if p.Monetary() != 20_000 {
		t.Errorf("monetary value %s", p.Monetary())
	}
}

// The totals and the quantity of one product are those of the lines.
func TestCartTotals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := profile.New("p")
		for range rapid.IntRange(0, 70).Draw(t, "changes") {
			p.ChangeCart(profile.CartChange{
				At: event.Instant(rapid.IntRange(1, 30).Draw(t, "at")), Product: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "product"),
				Quantity: rapid.Int64Range(-3, 3).Draw(t, "quantity"), Price: event.Money(rapid.IntRange(0, 5).Draw(t, "price")),
			})
		}
		var items int64
		var value event.Money
		lines := p.CartLines()
		for _, l := range lines {
			items, value = items+l.Quantity, value+l.Price*event.Money(l.Quantity)
			if n := p.InCart(l.Product); n != l.Quantity {
				t.Fatalf("%s: %d in the cart, %d in its line", l.Product, n, l.Quantity)
			}
		}
		if n, i, v := p.CartTotals(); n != len(lines) || i != items || v != value {
			t.Fatalf("%d products, %d items, %s; the lines have %d, %d, %s", n, i, v, len(lines), items, value)
		}
	})
}
