package enrich

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// MaxDays bounds the purchase days that a profile keeps: ten years of buying every day.
const MaxDays = 3660

const dayMillis = 24 * 60 * 60 * 1000

func keepOrder(o *profile.Orders, e *event.Event) {
	amount, readable := amountOf(e.Properties)
	switch e.Name {
	case event.OrderCompleted:
		if !readable || amount < 0 {
			amount = 0
		}
		o.Count++
		o.Revenue = add(o.Revenue, amount)
		if o.First == 0 || e.Occurred < o.First {
			o.First = e.Occurred
		}
		o.Last = max(o.Last, e.Occurred)
		keepDay(o, dayOf(e.Occurred), amount)
	case event.OrderRefunded:
		o.Refunds++
		if amount < 0 {
			amount = -amount
		}
		o.Refunded = add(o.Refunded, amount)
	}
}

func keepDay(o *profile.Orders, day int32, spent event.Money) {
	i, found := slices.BinarySearchFunc(o.Days, day, func(d profile.Day, day int32) int { return cmp.Compare(d.Day, day) })
	if found {
		o.Days[i].Spent = add(o.Days[i].Spent, spent)
		return
	}
	if len(o.Days) == MaxDays { // the earliest goes
		if i == 0 {
			return
		}
		o.Days = slices.Delete(o.Days, 0, 1)
		i--
	}
	o.Days = slices.Insert(o.Days, i, profile.Day{Day: day, Spent: spent})
}

// dayOf is the UTC day, counted from 1970.
func dayOf(i event.Instant) int32 {
	day := i / dayMillis
	if i%dayMillis < 0 {
		day--
	}
	return int32(min(max(day, math.MinInt32), math.MaxInt32))
}

// amountOf is the exact amount of an order or refund, and whether there is a readable one.
func amountOf(properties event.Object) (event.Money, bool) {
	for _, name := range []string{"revenue", "total"} {
		if amount, ok := properties.Get(name).Money(); ok {
			return amount, true
		}
	}
	var sum event.Money
	readable := false
	for product := range properties.Get("products").Items {
		fields, _ := product.Object()
		price, ok := fields.Get("price").Money()
		if !ok {
			continue
		}
		quantity := event.MoneyUnit // "how many", with the same four decimals
		if q := fields.Get("quantity"); !q.Null() {
			if quantity, ok = q.Money(); !ok {
				continue
			}
		}
		sum, readable = add(sum, times(price, quantity)), true
	}
	return sum, readable
}

// add sums up without ever wrapping around: what is out of range stays at the bound.
func add(a, b event.Money) event.Money {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return -math.MaxInt64
	}
	return sum
}

// times is price times quantity, both in ten-thousandths, rounded half away from zero.
func times(price, quantity event.Money) event.Money {
	negative := (price < 0) != (quantity < 0)
	hi, lo := bits.Mul64(magnitude(price), magnitude(quantity))
	lo, carry := bits.Add64(lo, uint64(event.MoneyUnit)/2, 0)
	hi += carry
	product := event.Money(math.MaxInt64)
	if hi < uint64(event.MoneyUnit) {
		if q, _ := bits.Div64(hi, lo, uint64(event.MoneyUnit)); q <= math.MaxInt64 {
			product = event.Money(q)
		}
	}
	if negative {
		return -product
	}
	return product
}

func magnitude(m event.Money) uint64 {
	if m < 0 {
		return uint64(-m)
	}
	return uint64(m)
}
