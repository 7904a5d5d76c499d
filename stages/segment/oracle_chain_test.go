package segment

import (
	"math"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

const scoreTick = 6 * hour

// scoring does with all else that segments look at what enrich does, by bounds of its own.
type scoring struct{ enrich }

func (s scoring) Apply(step *pipeline.Step) {
	s.enrich.Apply(step)
	p := step.Profile
	defer stand(p, step.Now)
	foretell(p, step)
	if e := step.Event; e != nil {
		if p.First == 0 || e.Occurred < p.First {
			p.First = e.Occurred
		}
		p.Last = max(p.Last, e.Occurred)
		keepBehaviour(p, e)
		p.Scores = profile.Scores{CLV: event.Money(p.Orders.Count) * 40 * event.MoneyUnit, Scored: step.Now}
	} else if p.Scores.Next == 0 || p.Scores.Next > step.Now {
		return
	} else {
		p.Scores.CLV /= 2
	}
	p.Scores.Next = 0
	if p.Scores.CLV > 0 {
		p.Scores.Next = step.Now + scoreTick
	}
}

func (scoring) Due(p *profile.Profile) event.Instant {
	return sooner(sooner(p.Scores.Next, p.Propensities.Next), p.Standing.Until)
}

func sooner(a, b event.Instant) event.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// foretell scores by the number of A, and every six hours a tenth less.
func foretell(p *profile.Profile, step *pipeline.Step) {
	tenths := p.Count("A")
	switch next := p.Propensities.Next; {
	case step.Event != nil:
	case next == 0 || next > step.Now:
		return
	case len(p.Propensities.Scores) > 0:
		tenths = uint64(math.Round(p.Propensities.Scores[0].Value*10)) - 1
		if p.Propensities.Scores[0].Value == 0 {
			tenths = 0
		}
	}
	made := profile.Propensities{At: step.Now, Next: step.Now + scoreTick}
	if p.Count("A") > 0 {
		made.Scores = []profile.Propensity{{Name: "purchase", Value: float64(tenths) / 10, Confidence: float64(tenths%4) / 10}}
	}
	p.Propensities = made
}

// keepBehaviour takes an A for something put into the cart and a B for an order, and the color for the category.
func keepBehaviour(p *profile.Profile, e *event.Event) {
	if zone, ok := e.Context.Get("timezone").Text(); ok {
		p.Zone = profile.Zone{Name: zone, At: e.Occurred}
	}
	if e.Type != event.Track {
		return
	}
	p.Lean(profile.Hour, profile.HourName(e.Occurred), profile.Decay(e))
	color := text(e, "color")
	if color != "" {
		p.Lean(profile.Category, color, profile.Decay(e))
	}
	switch e.Name {
	case "A":
		if color != "" {
			price, _ := amountOf(e)
			p.ChangeCart(profile.CartChange{At: e.Occurred, Product: color, Quantity: 1, Price: max(price, 0)})
		}
	case "B":
		p.Order(e.Occurred, 0, "")
	}
}

const (
	newFor    = 180 * minute
	activeFor = 720 * minute
	lapsesIn  = 1440 * minute
)

// stand judges as enrich does: new after the first order, then active, at risk and lapsed after the last; gold with two
// orders for as long as it is active.
func stand(p *profile.Profile, now event.Instant) {
	p.Standing = profile.Standing{}
	if p.Orders.Count == 0 {
		return
	}
	last := p.Orders.Last
	switch {
	case now < p.Orders.First+newFor:
		p.Standing.Lifecycle, p.Standing.Until = profile.Newcomer, p.Orders.First+newFor
	case now < last+activeFor:
		p.Standing.Lifecycle, p.Standing.Until = profile.Active, last+activeFor
	case now < last+lapsesIn:
		p.Standing.Lifecycle, p.Standing.Until = profile.AtRisk, last+lapsesIn
	default:
		p.Standing.Lifecycle = profile.Lapsed
	}
	if p.Orders.Count >= 2 && now < last+activeFor {
		p.Standing.Tier, p.Standing.Until = "gold", sooner(p.Standing.Until, last+activeFor)
	}
}
