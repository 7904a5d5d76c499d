package profile

import "attune/pipeline/event"

// Propensities tell how likely the customer does what the workspace names, each within its horizon. Like the other
// scores they are steps: computed at At, by the models that were in force then, and valid until Next.
type Propensities struct {
	// Scores are by name; of those alone whose model is in force.
	Scores []Propensity
	At     event.Instant // the customer's clock when they were computed; zero: never
	// Next is when time alone may change one of them next; zero: not before the customer's next event. Where no rule
	// asks for a propensity it is zero too: scores then stay as of the customer's latest event, and At tells their age.
	Next event.Instant
}

// Propensity is one score.
type Propensity struct {
	Name string
	// Value is the calibrated probability, 0 to 1, four decimals.
	Value float64
	// Confidence is how far Value is known: 1 less the width of its 90 % interval, 0 to 1, four decimals.
	Confidence float64
}

// Propensity is the score of a name, when it was computed (its age is the distance from now), and the instant after now
// at which it may change by itself next; zero: not before the customer's next event. false: there is no score, since no
// model of that name is in force or the customer did nothing since it came into force; until then is zero.
func (p *Profile) Propensity(name string, now event.Instant) (score Propensity, at, until event.Instant, ok bool) {
	for _, s := range p.Propensities.Scores { // few
		if s.Name != name {
			continue
		}
		if p.Propensities.Next > now {
			until = p.Propensities.Next
		}
		return s, p.Propensities.At, until, true
	}
	return Propensity{}, 0, 0, false
}
