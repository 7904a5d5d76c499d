package enrich

import (
	"math"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich/clv"
)

const (
	tick       = 24 * time.Hour
	gone       = 0.01 // a probability of being a customer below which it no longer matters by how much
	mostValued = 9e14 // the range of event.Money
)

// score values the customer as of now.
func (st *Stage) score(p *profile.Profile, now event.Instant) {
	past, ok := purchases(&p.Orders, now)
	if !ok {
		p.Scores = profile.Scores{}
		return
	}
	value, alive := min(st.model.Value(past, st.horizon), mostValued), st.model.Alive(past)
	s := profile.Scores{
		CLV:        event.Money(math.Round(value*100)) * (event.MoneyUnit / 100),
		Confidence: math.Round(st.model.Confidence(past, alive)*1e4) / 1e4,
		Alive:      math.Round(alive*1e4) / 1e4,
		Scored:     now,
	}
	if still := past.Repeats > 0 && s.Alive >= gone; still || s.CLV >= event.MoneyUnit {
		s.Next = now.Add(tick)
	}
	p.Scores = s
}

// purchases is the model's view of the customer's orders as of now; false when there are none. An order that
// occurred after now (a clock that is ahead) counts as if it were now.
func purchases(o *profile.Orders, now event.Instant) (clv.Purchases, bool) {
	if len(o.Days) == 0 {
		return clv.Purchases{}, false
	}
	first, last := o.Days[0].Day, o.Days[len(o.Days)-1].Day
	past := clv.Purchases{
		Repeats:  float64(len(o.Days) - 1),
		LastWeek: weeks(first, last),
		AgeWeeks: weeks(first, max(last, profile.DayOf(now))),
	}
	if past.Repeats > 0 {
		var spent event.Money
		for _, day := range o.Days[1:] {
			spent = spent.Plus(day.Spent)
		}
		past.MeanSpend = spent.Float() / past.Repeats
	}
	return past, true
}

func weeks(from, to int32) float64 { return float64(int64(to)-int64(from)) / 7 }
