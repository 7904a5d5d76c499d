package main

import (
	"cmp"
	"hash/fnv"
	"math"
	"slices"

	"attune/pipeline/event"
	"attune/stages/enrich"
	"attune/stages/enrich/drift"
	"attune/stages/enrich/propensity"
)

// foretold is how the customers were distributed when a propensity was learned, by what its model says of them and what it
// reads. It is of those whose first event is not too long ago, for clientele's reason.
type foretold struct {
	At         event.Instant     `json:"at"`
	MostDays   float64           `json:"most_days"` // since the first event
	References []drift.Reference `json:"references"`
}

// Names of features.
const (
	daysKnown  = "days_known"
	daysSilent = "days_silent"
)

func newForetold(m *enrich.PropensityModel, card *enrich.PropensityCard, at event.Instant, recent []enrich.Moment) foretold {
	f := foretold{At: at, MostDays: min(mostWeeks*7, float64(card.Last-card.First)/float64(day.Milliseconds())/2)}
	for _, feature := range f.features(m, recent) {
		f.References = append(f.References, drift.NewReference(feature.name, feature.values))
	}
	return f
}

// features are what the model says of customers and the numbers that it reads, each customer at one moment. What there is
// none of is NaN.
func (f *foretold) features(m *enrich.PropensityModel, recent []enrich.Moment) []feature {
	recent = slices.DeleteFunc(slices.Clone(recent), func(r enrich.Moment) bool { return f.knownLonger(r.Row) })
	score := feature{name: partPropensity + m.Name}
	for _, r := range recent {
		score.values = append(score.values, m.Score(r.Row).Probability)
	}
	all := []feature{score}
	for _, column := range m.Model.Columns {
		if column.Values != nil || column.Name == daysSilent { // of texts; and at an event nobody is silent
			continue
		}
		one := feature{name: m.Name + "." + column.Name}
		at := slices.Index(enrich.Features(), column.Name)
		for _, r := range recent {
			v, ok := r.Row[at].Number()
			if !ok {
				v = math.NaN()
			}
			one.values = append(one.values, v)
		}
		all = append(all, one)
	}
	return all
}

func (f *foretold) knownLonger(row propensity.Row) bool {
	days, _ := row[slices.Index(enrich.Features(), daysKnown)].Number()
	return days > f.MostDays
}

// forecast is what was said of a customer, and whether it happened.
type forecast struct {
	customer    string
	at          event.Instant
	probability float64
	happened    bool
}

// forecasts are those of a model of events from an instant on, in the order in which it became known whether they came
// true. Of each customer there is at most one in so many days as the horizon has, or 28 if that is less: what is said of
// the same customer in the same days is nearly the same, and would count many times.
func (f *foretold) forecasts(m *enrich.PropensityModel, matured []propensity.Matured, from event.Instant) []forecast {
	turns := event.Instant(max(m.Within, forecastDays*day).Milliseconds())
	silent := slices.Index(enrich.Features(), daysSilent)
	type turn struct {
		customer string
		number   event.Instant
	}
	chosen, lowest := map[turn]int{}, map[turn]uint64{}
	for i, x := range matured {
		if days, _ := x.Row[silent].Number(); x.At < from || days > 0 || f.knownLonger(x.Row) {
			continue
		}
		hash := fnv.New64a()
		_, _ = hash.Write([]byte(x.Customer)) // it never fails
		t := turn{x.Customer, (x.At + event.Instant(hash.Sum64()%uint64(turns))) / turns}
		for b := range 8 {
			_, _ = hash.Write([]byte{byte(x.At >> (8 * b))})
		}
		h := hash.Sum64()
		if first, known := lowest[t]; !known || h < first {
			chosen[t], lowest[t] = i, h
		}
	}
	var all []forecast
	for _, i := range chosen {
		x := &matured[i]
		all = append(all, forecast{x.Customer, x.At, m.Score(x.Row).Probability, x.Label})
	}
	slices.SortFunc(all, func(a, b forecast) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.customer, b.customer)) })
	return all
}

// loss is the log loss.
func (f forecast) loss() float64 {
	p := f.probability
	if !f.happened {
		p = 1 - p
	}
	return -math.Log(max(p, 1e-15))
}
