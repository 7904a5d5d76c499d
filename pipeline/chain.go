package pipeline

import (
	"fmt"
	"runtime/debug"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// MaxOwed bounds the due instants that one record may run, so that no customer can hold up a partition.
const MaxOwed = 10_000

// Chain is the customer chain for one version of the definitions: stages that run one after another over one
// profile, in one worker, with one commit. It is a value: the worker, a workspace's tests and a replay run
// the same one.
type Chain struct {
	Stages []Stage
	// Version and Definitions name the definitions that the stages were made from.
	Version     uint64
	Definitions string
	// Switch is how they came into force.
	Switch Switch
	// Staged are those that are prepared to follow; nil: none.
	Staged *Staged
}

// Result is what one record led to.
type Result struct {
	Facts      Facts
	Deliveries []Delivery
	// Leaving are records for other profiles, in order. They have no source yet.
	Leaving []event.Event
	// Wake is the wake-up to arm; zero when the one that is armed serves, or none is needed.
	Wake event.Instant
}

// Apply runs one record of the log at the given position over the profile. First it runs what the profile
// owes up to now, each at its own due instant: so the result does not depend on how late a wake-up comes.
func (c *Chain) Apply(p *profile.Profile, e *event.Event, position uint64) (Result, error) {
	var r Result
	if p.Into != "" {
		return r, forward(p, e, position, &r)
	}
	if p.Applied == 0 && (e.Type == event.Wake || e.Type == event.Prepare) {
		return r, nil // of a profile that is gone
	}
	if err := c.takeOver(p, position, &r); err != nil {
		return r, err
	}
	now := max(p.Now, e.Accepted)
	if err := c.runOwed(p, now, position, &r); err != nil {
		return r, err
	}
	p.Now = now
	c.announce(p, e, now, position, &r)
	switch e.Type {
	case event.Wake:
		p.Armed = 0 // a handled wake-up always re-arms, stale or not
	case event.Prepare:
		if err := c.prepare(p, e, position, &r); err != nil {
			return r, err
		}
	case event.Merge:
		c.leave(p, e, position, &r)
		return r, nil
	case event.Transfer:
		if err := c.takeIn(p, e, position, &r); err != nil {
			return r, err
		}
	default:
		s := c.step(p, e, position, &r)
		c.run(s)
		r.take(s)
		r.Facts.Events = append(r.Facts.Events, Enriched{
			Event: *e, Position: position,
			CLV: p.Scores.CLV, CLVConfidence: p.Scores.Confidence, Alive: p.Scores.Alive, Segments: p.Memberships(), Propensities: p.Propensities.Scores,
		})
	}
	p.Applied = position
	if p.Armed <= p.Now {
		p.Armed = 0 // it is on its way, or was lost; another one is harmless
	}
	if due := c.Due(p); due != 0 && (p.Armed == 0 || due < p.Armed) {
		p.Armed, r.Wake = due, due
	}
	return r, nil
}

// Try is Apply with a stage's panic as an error of this one record. After an error the profile is half changed: it must
// not be used any more.
func (c *Chain) Try(p *profile.Profile, e *event.Event, position uint64) (r Result, err error) {
	defer recovered(position, &err)
	return c.Apply(p, e, position)
}

// recovered makes an error of a panic; it is to be deferred.
func recovered(position uint64, err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("panic at position %d: %v\n%s", position, cause, debug.Stack())
	}
}

// Due is the earliest instant at which anything the profile holds becomes due; zero: never.
func (c *Chain) Due(p *profile.Profile) event.Instant {
	var earliest event.Instant
	for _, stage := range c.Stages {
		if due := stage.Due(p); due != 0 && (earliest == 0 || due < earliest) {
			earliest = due
		}
	}
	if c.Staged != nil && p.Next != nil && p.Next.Version == c.Staged.Version {
		if due := p.Next.Due(); due != 0 && (earliest == 0 || due < earliest) {
			earliest = due
		}
	}
	return earliest
}

// run has a step pass the stages.
func (c *Chain) run(s *Step) {
	for _, stage := range c.Stages {
		stage.Apply(s)
	}
	c.beside(s)
}

func (c *Chain) runOwed(p *profile.Profile, now event.Instant, position uint64, r *Result) error {
	for range MaxOwed {
		due := c.Due(p)
		if due == 0 || due > now {
			return nil
		}
		p.Now = max(p.Now, due)
		s := c.step(p, nil, position, r)
		c.run(s)
		r.take(s)
		if next := c.Due(p); next != 0 && next <= due {
			return fmt.Errorf("profile %s at position %d: still owes a step at %s after running it", p.ID, position, due)
		}
	}
	return fmt.Errorf("profile %s at position %d: owes more than %d steps", p.ID, position, MaxOwed)
}

// step is the next one of a record that has led to r so far.
func (c *Chain) step(p *profile.Profile, e *event.Event, position uint64, r *Result) *Step {
	return &Step{
		Now: p.Now, Event: e, Profile: p, Before: profile.Remember(p, e), Position: position, Version: c.Version, Definitions: c.Definitions,
		earlier: r.Deliveries,
	}
}

func (r *Result) take(s *Step) {
	r.Facts.Changes = append(r.Facts.Changes, s.Changes...)
	r.Facts.Decisions = append(r.Facts.Decisions, s.Decisions...)
	r.Deliveries = append(r.Deliveries, s.Deliveries...)
}
