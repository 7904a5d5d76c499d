// Package segment decides who is in which segment, at the instant at which it becomes true or stops being so:
// by what happened, or because a window closed. It is a pure stage of the customer chain, after enrich.
package segment

import (
	"errors"
	"fmt"
	"slices"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// Stage keeps the memberships of profiles by one version of the segments. It never changes and is safe for
// concurrent use on different profiles.
//
// It owns the parts Windows and Kept (of the segments' leaves), Segments, SegmentsDue and Definitions of a profile.
// Whoever else changes what rules look at, other than by an event, sets Definitions to zero: then all is asked anew.
type Stage struct {
	set   *rule.Set
	rules []*rule.Rule
	asks  []string
}

var _ pipeline.Stage = (*Stage)(nil)

// New compiles the segments. Its error joins every mistake; those in a rule are *rule.Error inside.
func New(defs []Definition, c *rule.Compiler) (*Stage, error) {
	s := &Stage{}
	known, taken := make(map[string]bool, len(defs)), make(map[string]bool, len(defs))
	for _, d := range defs {
		known[d.ID] = true
	}
	var errs []error
	var ids []string
	for _, d := range defs {
		if err := d.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("segment %q: %w", d.ID, err))
			continue
		}
		if taken[d.ID] {
			errs = append(errs, fmt.Errorf("segment %q: id: is defined twice; give one of them another id", d.ID))
			continue
		}
		taken[d.ID] = true
		r, err := c.Compile(d.When, rule.WithOtherSegments(known))
		if err != nil {
			errs = append(errs, fmt.Errorf("segment %q: when: %w", d.ID, err))
			continue
		}
		ids, s.rules = append(ids, d.ID), append(s.rules, r)
		s.asks = append(s.asks, r.Reads().Totals...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.Sort(s.asks)
	s.asks = slices.Compact(s.asks)
	var err error
	if s.set, err = rule.NewSet(ids, s.rules); err != nil {
		return nil, fmt.Errorf("segments: when: %w", err)
	}
	return s, nil
}

// Asks are the names of the events whose all-time count the segments ask for, sorted.
func (s *Stage) Asks() []string { return slices.Clone(s.asks) }

// AsksPropensity tells whether some segment asks for a propensity.
func (s *Stage) AsksPropensity() bool {
	return slices.ContainsFunc(s.rules, func(r *rule.Rule) bool { return r.Reads().Propensity() })
}

// MaxBytes is what the segments' rules take at most in a stored profile, beside the memberships.
func (s *Stage) MaxBytes() int { return s.set.Leaves().MaxBytes() }

// Set are the compiled rules, by the segments' ids.
func (s *Stage) Set() *rule.Set { return s.set }

// Name is the stage's word in logs and metrics.
func (*Stage) Name() string { return "segment" }

// Apply keeps what the segments look back at, asks those that the step may have changed, and states their flips in
// the order of the definitions, a segment after those that it asks for. By another version of the definitions, and when
// another profile was merged into this one, it asks them all; segments that are no longer defined are left after that, by
// id.
func (s *Stage) Apply(step *pipeline.Step) {
	p := step.Profile
	merged := step.Loser != nil
	// What came before its first event, if anything, said only that it will take in another profile. Without an event it is
	// by staged definitions that nothing is known yet.
	first := !merged && (p.Applied == 0 || step.Event != nil && p.Definitions == 0 && step.Before.Profile.First == 0)
	redefined := merged || !first && p.Definitions != step.Version
	if first || redefined {
		s.set.Leaves().Forget(p)
		p.Definitions = step.Version
	}
	if step.Event == nil || redefined {
		s.set.Leaves().Expire(p)
	}
	w := s.set.Begin(p, step.Now)
	defer w.End()
	w.Note(step.Event, &step.Before)
	undefined, due := false, p.SegmentsDue != 0 && p.SegmentsDue <= step.Now
	switch {
	case redefined || first && len(p.Segments) > 0:
		w.All()
		undefined = true
	case first:
		w.Fresh()
	case due:
		undefined = s.markDue(w, p, step.Now)
	}
	flip := step.Flip
	if redefined && !merged {
		flip = func(id string, entered bool) { step.FlipBecause(id, entered, pipeline.BecauseDefinitions) }
	}
	for rank, in := w.Next(); rank >= 0; rank, in = w.Next() {
		s.ask(w, step, rank, in, due || redefined, flip)
	}
	if undefined {
		s.leaveUndefined(step)
	}
	if due || redefined {
		p.SegmentsDue = p.EarliestUntil()
	}
}

// Due is no later than the earliest instant at which a membership may change by itself.
func (*Stage) Due(p *profile.Profile) event.Instant { return p.SegmentsDue }

// markDue marks the segments whose answer may have changed by itself, and tells whether one that is due isn't defined.
func (s *Stage) markDue(w *rule.Work, p *profile.Profile, now event.Instant) (undefined bool) {
	for id, m := range p.Segments {
		if m.Until == 0 || m.Until > now {
			continue
		}
		if rank, ok := s.set.Rank(id); ok {
			w.Mark(rank)
		} else {
			undefined = true
		}
	}
	return undefined
}

// ask evaluates one segment and keeps the answer where there is something to keep. An answer that is the same for longer
// than was known is not written down before the time that was known has come, if that is still to come.
func (s *Stage) ask(w *rule.Work, step *pipeline.Step, rank int, was, due bool, flip func(id string, entered bool)) {
	in, until := w.Ask(rank)
	if in == was && until == 0 && !due {
		return
	}
	p, id := step.Profile, s.set.ID(rank)
	var before profile.Membership
	if in == was || s.set.Asked(rank) {
		before = p.Segments[id]
	}
	if in == was && !due && before.Until != 0 && before.Until <= until {
		return
	}
	after := profile.Membership{In: in, Until: until}
	switch {
	case in && was:
		after.Since = before.Since
	case in:
		after.Since = step.Now
	}
	if in == was && after == before {
		return
	}
	if in != was {
		flip(id, in)
	}
	if until != 0 && (p.SegmentsDue == 0 || until < p.SegmentsDue) {
		p.SegmentsDue = until
	}
	if !in && until == 0 {
		delete(p.Segments, id)
	} else {
		if p.Segments == nil {
			p.Segments = map[string]profile.Membership{}
		}
		p.Segments[id] = after
	}
	w.Answered(rank, before, in)
}

// leaveUndefined ends the memberships in segments that are not defined, by id.
func (s *Stage) leaveUndefined(step *pipeline.Step) {
	var gone []string
	for id := range step.Profile.Segments {
		if _, ok := s.set.Rank(id); !ok {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		if step.Profile.Segments[id].In {
			step.FlipBecause(id, false, pipeline.BecauseDefinitions)
		}
		delete(step.Profile.Segments, id)
	}
}
