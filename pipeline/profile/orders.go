package profile

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"attune/pipeline/event"
)

// Order takes one more order into account, which empties the cart; what it brought is not negative.
func (p *Profile) Order(at event.Instant, brought event.Money, currency string) {
	p.Orders.completed(at, brought, currency)
	p.settleCart()
}

// completed takes one more order into the sums.
func (o *Orders) completed(at event.Instant, brought event.Money, currency string) {
	if o.Count == 0 {
		o.First, o.Last = at, at
	}
	o.Count++
	o.Revenue = o.Revenue.Plus(brought)
	o.First, o.Last = min(o.First, at), max(o.Last, at)
	o.Days = addDay(o.Days, Day{DayOf(at), brought})
	o.addCurrency(Currency{Code: currency, Orders: 1, Revenue: brought})
}

// Returned takes one more refund into account; the amount is not negative.
func (o *Orders) Returned(at event.Instant, amount event.Money, currency string) {
	o.Refunds++
	o.Refunded = o.Refunded.Plus(amount)
	o.RefundDays = addDay(o.RefundDays, Day{DayOf(at), amount})
	o.addCurrency(Currency{Code: currency, Refunds: 1, Refunded: amount})
}

// merge adds another profile's orders.
func (o *Orders) merge(other *Orders) {
	switch {
	case other.Count == 0:
	case o.Count == 0:
		o.First, o.Last = other.First, other.Last
	default:
		o.First, o.Last = min(o.First, other.First), max(o.Last, other.Last)
	}
	o.Count += other.Count
	o.Refunds += other.Refunds
	o.Revenue = o.Revenue.Plus(other.Revenue)
	o.Refunded = o.Refunded.Plus(other.Refunded)
	o.Days = mergeDays(o.Days, other.Days)
	o.RefundDays = mergeDays(o.RefundDays, other.RefundDays)
	for _, c := range other.Currencies {
		o.addCurrency(c)
	}
}

// addCurrency adds to the sums of one currency.
func (o *Orders) addCurrency(c Currency) {
	if len(c.Code) > MaxCurrency {
		c.Code = ""
	}
	i, found := slices.BinarySearchFunc(o.Currencies, c, func(a, b Currency) int { return strings.Compare(a.Code, b.Code) })
	if found {
		known := &o.Currencies[i]
		known.Orders += c.Orders
		known.Refunds += c.Refunds
		known.Revenue = known.Revenue.Plus(c.Revenue)
		known.Refunded = known.Refunded.Plus(c.Refunded)
		return
	}
	if i == MaxCurrencies {
		return
	}
	o.Currencies = slices.Insert(o.Currencies, i, c)
	o.Currencies = o.Currencies[:min(len(o.Currencies), MaxCurrencies)]
}

// addDay adds to one day; of too many the earliest goes.
func addDay(days []Day, d Day) []Day {
	i, found := slices.BinarySearchFunc(days, d, byDay)
	if found {
		days[i].Spent = days[i].Spent.Plus(d.Spent)
		return days
	}
	if len(days) == MaxDays {
		if i == 0 {
			return days
		}
		days = slices.Delete(days, 0, 1)
		i--
	}
	return slices.Insert(days, i, d)
}

// mergeDays adds up the days of both, each ascending.
func mergeDays(a, b []Day) []Day {
	if len(b) == 0 {
		return a
	}
	sum := make([]Day, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := byDay(a[0], b[0]); {
		case c < 0:
			sum, a = append(sum, a[0]), a[1:]
		case c > 0:
			sum, b = append(sum, b[0]), b[1:]
		default:
			sum, a, b = append(sum, Day{a[0].Day, a[0].Spent.Plus(b[0].Spent)}), a[1:], b[1:]
		}
	}
	sum = append(append(sum, a...), b...)
	return sum[max(0, len(sum)-MaxDays):]
}

func byDay(a, b Day) int { return cmp.Compare(a.Day, b.Day) }

// DayOf is the UTC day, counted from 1970.
func DayOf(i event.Instant) int32 {
	const millis = event.Instant(24 * 60 * 60 * 1000)
	d := i / millis
	if i%millis < 0 {
		d--
	}
	return int32(min(max(d, math.MinInt32), math.MaxInt32))
}
