package enrich

import (
	"fmt"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich/clv"
)

// Stage is the enrichment. It never changes and is safe for concurrent use on different profiles.
type Stage struct {
	model   clv.Model
	horizon float64
	asked   map[string]bool
}

var _ pipeline.Stage = (*Stage)(nil)

// New makes the stage. The asked events are those whose all-time count some rule asks for (ever, total): these
// counts are always kept.
func New(cfg Config, asked ...string) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("enrich: %w", err)
	}
	model := clv.CDNOW()
	model.Margin = cfg.Margin
	if err := model.Validate(); err != nil {
		return nil, fmt.Errorf("enrich: %w", err)
	}
	st := &Stage{model: model, horizon: cfg.HorizonWeeks, asked: map[string]bool{event.OrderCompleted: true, event.OrderRefunded: true}}
	for _, name := range asked {
		st.asked[name] = true
	}
	return st, nil
}

// Name is "enrich".
func (*Stage) Name() string { return "enrich" }

// Apply takes the event into the profile and scores the customer.
func (st *Stage) Apply(s *pipeline.Step) {
	p, e := s.Profile, s.Event
	switch {
	case e == nil:
		if next := p.Scores.Next; next != 0 && next <= s.Now {
			st.score(p, s.Now)
		}
	case e.Type == event.Delivery:
		keepConsents(p, e)
	default:
		keepSpan(p, e.Occurred)
		keepCount(p, e, st.asked)
		keepTraits(p, e)
		keepConsents(p, e)
		if e.Type == event.Track {
			keepOrder(&p.Orders, e)
		}
		st.score(p, s.Now)
	}
}

// Due is the next daily computation of the scores.
func (*Stage) Due(p *profile.Profile) event.Instant { return p.Scores.Next }
