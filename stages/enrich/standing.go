package enrich

import (
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// stand judges the customer's stage of life and loyalty as of now.
func (st *Stage) stand(p *profile.Profile, now event.Instant) {
	if p.Orders.Count == 0 && p.Orders.Refunds == 0 {
		p.Standing = profile.Standing{}
		if tier := st.reached(0, 0); tier >= 0 { // a tier that asks for nothing
			p.Standing.Tier = st.tiers[tier].Name
		}
		return
	}
	stage, until := st.stageOf(&p.Orders, now)
	tier, changes := st.tierOf(&p.Orders, now)
	p.Standing = profile.Standing{Lifecycle: stage, Until: sooner(until, changes)}
	if tier >= 0 {
		p.Standing.Tier = st.tiers[tier].Name
	}
}

// stageOf is the stage of life, and when the next one begins; zero: never.
func (st *Stage) stageOf(o *profile.Orders, now event.Instant) (profile.Lifecycle, event.Instant) {
	if o.Count == 0 {
		return profile.Visitor, 0
	}
	l := st.lifecycle
	if until := o.First.Add(days(l.NewDays)); now < until {
		return profile.Newcomer, until
	}
	if until := o.Last.Add(days(l.AtRiskDays)); now < until {
		return profile.Active, until
	}
	if until := o.Last.Add(days(l.LapsedDays)); now < until {
		return profile.AtRisk, until
	}
	return profile.Lapsed, 0
}

// tierOf is the index of the tier that is reached, -1 for none, and when it changes by itself; zero: never.
func (st *Stage) tierOf(o *profile.Orders, now event.Instant) (tier int, until event.Instant) {
	if len(st.tiers) == 0 {
		return -1, 0
	}
	window := int64(st.window)
	bought, refunded := o.Days, o.RefundDays
	if window > 0 { // the days that end with today
		first := int64(profile.DayOf(now)) - window + 1
		for len(bought) > 0 && int64(bought[0].Day) < first {
			bought = bought[1:]
		}
		for len(refunded) > 0 && int64(refunded[0].Day) < first {
			refunded = refunded[1:]
		}
	}
	var spent, back event.Money
	for _, d := range bought {
		spent = spent.Plus(d.Spent)
	}
	for _, d := range refunded {
		back = back.Plus(d.Spent)
	}
	tier = st.reached(spent-back, len(bought))
	for window > 0 && (len(bought) > 0 || len(refunded) > 0) { // the next day goes out of the window
		next := int64(1) << 40
		if len(bought) > 0 {
			next = int64(bought[0].Day)
		}
		if len(refunded) > 0 {
			next = min(next, int64(refunded[0].Day))
		}
		if len(bought) > 0 && int64(bought[0].Day) == next {
			spent, bought = spent-bought[0].Spent, bought[1:]
		}
		if len(refunded) > 0 && int64(refunded[0].Day) == next {
			back, refunded = back-refunded[0].Spent, refunded[1:]
		}
		if st.reached(spent-back, len(bought)) != tier {
			return tier, event.Instant((next + window) * dayMillis)
		}
	}
	return tier, 0
}

// reached is the index of the last tier whose demands are all met; -1: none.
func (st *Stage) reached(spent event.Money, purchaseDays int) int {
	for i := len(st.tiers) - 1; i >= 0; i-- {
		if t := &st.tiers[i]; spent.Float() >= t.Spent && purchaseDays >= t.PurchaseDays {
			return i
		}
	}
	return -1
}

const dayMillis = 24 * 60 * 60 * 1000

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// sooner is the earlier of two instants of which zero means never.
func sooner(a, b event.Instant) event.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
