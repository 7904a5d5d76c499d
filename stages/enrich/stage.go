package enrich

import (
	"fmt"
	"slices"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich/clv"
)

// Stage is the enrichment. It never changes and is safe for concurrent use on different profiles.
type Stage struct {
	model     clv.Model
	horizon   float64
	lifecycle Lifecycle
	window    int // of loyalty, in days; 0: all time
	tiers     []Tier
	asked     map[string]bool
	foretold  []foretold
	ticks     bool // whether time alone makes propensities due
}

// Asked is what rules ask for: it decides what is kept, and when scores are computed without an event.
type Asked struct {
	// Totals are the events whose all-time count some rule asks for (ever, total): these counts are always kept.
	Totals []string
	// Propensity tells that some rule asks for a propensity: then time alone makes them due too.
	Propensity bool
}

var _ pipeline.Stage = (*Stage)(nil)

// New makes the stage, which scores by the given models, with the margin of the configuration. A model of a propensity
// scores where the configuration has one of the same name, event and horizon.
func New(cfg Config, models Models, asked Asked) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("enrich: %w", err)
	}
	model := models.CLV
	model.Margin = cfg.Margin
	if err := model.Validate(); err != nil {
		return nil, fmt.Errorf("enrich: %w", err)
	}
	st := &Stage{
		model: model, horizon: cfg.HorizonWeeks, lifecycle: cfg.Lifecycle, window: cfg.Loyalty.WindowDays, tiers: slices.Clone(cfg.Loyalty.Tiers),
		asked: map[string]bool{event.OrderCompleted: true, event.OrderRefunded: true}, ticks: asked.Propensity,
	}
	for _, name := range asked.Totals {
		st.asked[name] = true
	}
	for _, p := range cfg.Propensities {
		st.asked[p.Event] = true
	}
	return st, st.foretell(cfg.Propensities, models.Propensities)
}

// Name is "enrich".
func (*Stage) Name() string { return "enrich" }

// Apply takes the event into the profile and scores the customer.
func (st *Stage) Apply(s *pipeline.Step) {
	p, e := s.Profile, s.Event
	st.boundActivities(s)
	switch {
	case e == nil:
		if next := p.Scores.Next; next != 0 && next <= s.Now {
			st.score(p, s.Now)
		}
		st.beginTicks(s)
		if next := p.Propensities.Next; next != 0 && next <= s.Now {
			st.scorePropensities(p, s.Now)
		}
		st.stand(p, s.Now)
	case e.Type == event.Delivery:
		keepConsents(p, e)
	default:
		st.take(p, e)
		st.score(p, s.Now)
		st.scorePropensities(p, s.Now)
		st.stand(p, s.Now)
	}
}

// take takes what the customer did into the profile.
func (st *Stage) take(p *profile.Profile, e *event.Event) {
	keepSpan(p, e.Occurred)
	keepTraits(p, e)
	keepConsents(p, e)
	keepZone(p, e)
	var worth event.Money
	if e.Type == event.Track || e.Type == event.Page || e.Type == event.Screen {
		weight := profile.Decay(e)
		if e.Type == event.Track {
			said := read(e.Properties)
			worth = keepWorth(p, e, &said)
			keepTrack(p, e, &said, weight)
		}
		keepHour(p, e, weight)
	}
	st.keepActivity(p, e, worth)
}

// keepWorth takes an order or a refund into the profile, and says what the event is worth.
func keepWorth(p *profile.Profile, e *event.Event, said *properties) event.Money {
	switch e.Name {
	case event.OrderCompleted:
		amount := max(said.amount(), 0)
		p.Order(e.Occurred, amount, string(content(said.currency)))
		return amount
	case event.OrderRefunded:
		amount := said.amount()
		amount = max(amount, -amount)
		p.Orders.Returned(e.Occurred, amount, string(content(said.currency)))
		return amount
	}
	return said.worth()
}

// Due is the next daily computation of the scores, or the next change of the standing.
func (*Stage) Due(p *profile.Profile) event.Instant {
	return sooner(sooner(p.Scores.Next, p.Propensities.Next), p.Standing.Until)
}
