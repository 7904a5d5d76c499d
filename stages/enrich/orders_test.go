package enrich_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func TestAmount(t *testing.T) {
	tests := []struct{ name, properties, revenue, refunded string }{
		{"revenue", `{"revenue":12.5,"total":14,"products":[{"price":9}]}`, "12.50", "12.50"},
		{"revenue as text", `{"revenue":" 12.50 "}`, "12.50", "12.50"},
		{"total without revenue", `{"total":14,"products":[{"price":9}]}`, "14", "14"},
		{"total where revenue is unreadable", `{"revenue":"€ 12","total":"14.00"}`, "14", "14"},
		{"total where revenue is null", `{"revenue":null,"total":14}`, "14", "14"},
		{"products", `{"products":[{"price":2.55,"quantity":6},{"price":"3.39","quantity":2}]}`, "22.08", "22.08"},
		{"products, one each where no quantity is given", `{"products":[{"price":1.10},{"price":2.20,"quantity":null}]}`, "3.30", "3.30"},
		{"products sold by weight", `{"products":[{"price":0.3333,"quantity":1.5}]}`, "0.5", "0.5"},
		{"a line without price adds nothing", `{"products":[{"quantity":3},{"price":2},{"price":"?","quantity":2},7]}`, "2", "2"},
		{"a line with an unreadable quantity adds nothing", `{"products":[{"price":5,"quantity":"many"},{"price":2}]}`, "2", "2"},
		{"a discount line", `{"products":[{"price":10,"quantity":2},{"price":-2.5,"quantity":1}]}`, "17.50", "17.50"},
		{"free", `{"revenue":0,"total":5}`, "0", "0"},
		{"nothing", `{}`, "0", "0"},
		{"no properties", ``, "0", "0"},
		{"no amount readable", `{"revenue":"a","total":true,"products":"none"}`, "0", "0"},
		{"negative, as refunds are often written", `{"revenue":-12.5}`, "0", "12.50"},
		{"returned products", `{"products":[{"price":2.5,"quantity":-2}]}`, "0", "5"},
		{"beyond four decimals", `{"revenue":0.00005}`, "0.0001", "0.0001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := apply(t, stage(t), track(event.OrderCompleted, start, tt.properties), track(event.OrderRefunded, start+1, tt.properties))
			want := profile.Orders{
				Count: 1, Revenue: money(t, tt.revenue), Refunds: 1, Refunded: money(t, tt.refunded), First: start, Last: start,
				Days:       []profile.Day{{Day: int32(start / 86_400_000), Spent: money(t, tt.revenue)}},
				RefundDays: []profile.Day{{Day: int32(start / 86_400_000), Spent: money(t, tt.refunded)}},
				Currencies: []profile.Currency{{Orders: 1, Refunds: 1, Revenue: money(t, tt.revenue), Refunded: money(t, tt.refunded)}},
			}
			if diff := cmp.Diff(want, p.Orders); diff != "" {
				t.Errorf("orders (-want +got):\n%s", diff)
			}
			completed, refunded := track(event.OrderCompleted, start, tt.properties), track(event.OrderRefunded, start, tt.properties)
			if c, r := completed.Revenue(), refunded.Revenue(); max(c, 0) != want.Revenue || max(r, -r) != want.Refunded {
				t.Errorf("the events say %s and %s, the profile %s and %s", c, r, want.Revenue, want.Refunded)
			}
		})
	}
}

func TestAmountsNeverWrapAround(t *testing.T) {
	huge := `{"products":[{"price":900000000000000,"quantity":900000000000000},{"price":900000000000000,"quantity":2}]}`
	p := apply(t, stage(t), track(event.OrderCompleted, start, huge), track(event.OrderCompleted, start+1, huge), track(event.OrderRefunded, start+2, huge))
	if p.Orders.Revenue != math.MaxInt64 || p.Orders.Days[0].Spent != math.MaxInt64 || p.Orders.Refunded != math.MaxInt64 {
		t.Errorf("orders %+v, want the largest amounts there are", p.Orders)
	}
	if p.Scores.CLV < 0 {
		t.Errorf("CLV %s", p.Scores.CLV)
	}
}

func TestPurchaseDays(t *testing.T) {
	midnight := start.Add(3 * day)
	p := apply(t, stage(t),
		order(midnight, "4"), order(midnight-1, "2"), order(start, "1"), order(midnight.Add(day), "8"), order(midnight.Add(12*time.Hour), "0.50"))
	first := int32(start / 86_400_000)
	want := []profile.Day{{Day: first, Spent: 10_000}, {Day: first + 2, Spent: 20_000}, {Day: first + 3, Spent: 45_000}, {Day: first + 4, Spent: 80_000}}
	if diff := cmp.Diff(want, p.Orders.Days); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
	if p.Orders.First != start || p.Orders.Last != midnight.Add(day) || p.Orders.Count != 5 {
		t.Errorf("orders %+v", p.Orders)
	}
}

func TestDaysBefore1970(t *testing.T) {
	p := apply(t, stage(t), order(-1, "1"), order(-86_400_000, "2"), order(-86_400_001, "4"), order(1, "8"))
	want := []profile.Day{{Day: -2, Spent: 40_000}, {Day: -1, Spent: 30_000}, {Day: 0, Spent: 80_000}}
	if diff := cmp.Diff(want, p.Orders.Days); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
}

func TestPurchaseDaysAreBounded(t *testing.T) {
	var events []event.Event
	for i := range profile.MaxDays + 5 {
		events = append(events, order(start.Add(time.Duration(i)*day), "1"))
	}
	forward := apply(t, stage(t), events...)
	slices.Reverse(events)
	backward := apply(t, stage(t), events...)
	if diff := cmp.Diff(forward.Orders, backward.Orders); diff != "" {
		t.Errorf("orders, forward and backward:\n%s", diff)
	}
	days := forward.Orders.Days
	if len(days) != profile.MaxDays || days[0].Day != int32(start/86_400_000)+5 || forward.Orders.Count != profile.MaxDays+5 {
		t.Errorf("%d days from %d, %d orders", len(days), days[0].Day, forward.Orders.Count)
	}
}

// What is no currency's code takes no room in the profile.
func TestLongCurrencies(t *testing.T) {
	order := func(at event.Instant, currency string) event.Event {
		return track(event.OrderCompleted, at, `{"revenue":10,"currency":"`+currency+`"}`)
	}
	p := apply(t, stage(t), order(start, "EUR"), order(start+1, strings.Repeat("x", profile.MaxCurrency)), order(start+2, strings.Repeat("y", 30_000)), order(start+3, ""))
	want := []profile.Currency{
		{Orders: 2, Revenue: money(t, "20")}, {Code: "EUR", Orders: 1, Revenue: money(t, "10")},
		{Code: strings.Repeat("x", profile.MaxCurrency), Orders: 1, Revenue: money(t, "10")},
	}
	if diff := cmp.Diff(want, p.Orders.Currencies); diff != "" {
		t.Errorf("currencies (-want +got):\n%s", diff)
	}
}
