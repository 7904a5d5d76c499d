// Package segment decides who is in which segment, at the instant at which it becomes true or stops being so:
// by what happened, or because a window closed. It is a pure stage of the customer chain, after enrich.
package segment

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// Stage keeps the memberships of profiles by one version of the segments. It never changes and is safe for
// concurrent use on different profiles.
//
// It owns the parts Windows (of the segments' leaves), Segments and Definitions of a profile. Whoever else
// changes what rules look at, other than by an event, sets Definitions to zero: then all is asked anew.
type Stage struct {
	segments []segment
	known    map[string]int // index into segments
	leaves   *rule.LeafSet
	// Which segments a step may change, by index, so that the others cost nothing.
	byEvent map[string][]int
	traits  []int
	consent []int
	orders  []int
	scores  []int
}

type segment struct {
	id   string
	rule *rule.Rule
}

var _ pipeline.Stage = (*Stage)(nil)

// New compiles the segments. Its error joins every mistake; those in a rule are *rule.Error inside.
func New(defs []Definition, c *rule.Compiler) (*Stage, error) {
	s := &Stage{known: map[string]int{}, byEvent: map[string][]int{}}
	var errs []error
	var rules []*rule.Rule
	for i, d := range defs {
		if err := d.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("segment %q: %w", d.ID, err))
			continue
		}
		if _, twice := s.known[d.ID]; twice {
			errs = append(errs, fmt.Errorf("segment %q: id: is defined twice; give one of them another id", d.ID))
			continue
		}
		s.known[d.ID] = i
		r, err := c.Compile(d.When)
		if err != nil {
			errs = append(errs, fmt.Errorf("segment %q: when: %w", d.ID, err))
			continue
		}
		rules = append(rules, r)
		s.segments = append(s.segments, segment{id: d.ID, rule: r})
		s.index(len(s.segments)-1, r.Reads())
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.leaves = rule.NewLeafSet(rules...)
	return s, nil
}

func (s *Stage) index(i int, reads rule.Reads) {
	for _, name := range reads.Events {
		s.byEvent[name] = append(s.byEvent[name], i)
	}
	for _, part := range []struct {
		reads bool
		list  *[]int
	}{{reads.Traits, &s.traits}, {reads.Consent, &s.consent}, {reads.Orders, &s.orders}, {reads.Scores, &s.scores}} {
		if part.reads {
			*part.list = append(*part.list, i)
		}
	}
}

// Asks are the names of the events that the segments ask about, sorted.
func (s *Stage) Asks() []string { return slices.Sorted(maps.Keys(s.byEvent)) }

// Name is the stage's word in logs and metrics.
func (*Stage) Name() string { return "segment" }

// Apply records the event's time where a segment counts it, asks the segments that may have changed, and
// states their flips in the order of the definitions. By another version of the definitions it asks them all;
// segments that are no longer defined are left after that, by id.
func (s *Stage) Apply(step *pipeline.Step) {
	p := step.Profile
	// The very first record also asks everything: a rule may hold for someone who has done nothing.
	redefined := p.Definitions != step.Version && p.Applied != 0
	anew := redefined || p.Applied == 0
	if anew {
		s.leaves.Forget(p)
		s.leaves.Expire(p)
		p.Definitions = step.Version
	}
	if step.Event != nil {
		s.leaves.Record(p, step.Event)
	} else {
		s.leaves.Expire(p)
	}
	if anew {
		flip := step.Flip
		if redefined {
			flip = func(id string, entered bool) { step.FlipBecause(id, entered, pipeline.BecauseDefinitions) }
		}
		for i := range s.segments {
			s.ask(step, &s.segments[i], flip)
		}
		s.leaveUndefined(step)
		return
	}
	var buffer [32]int
	affected, undefined := s.affected(buffer[:0], step)
	for _, i := range affected {
		s.ask(step, &s.segments[i], step.Flip)
	}
	if undefined {
		s.leaveUndefined(step)
	}
}

// Due is the earliest instant at which a membership may change by itself.
func (*Stage) Due(p *profile.Profile) event.Instant {
	var earliest event.Instant
	for _, m := range p.Segments {
		if m.Until != 0 && (earliest == 0 || m.Until < earliest) {
			earliest = m.Until
		}
	}
	return earliest
}

// affected appends the indexes of the segments that this step may change, ascending. undefined tells that the
// profile holds one that is due and not defined.
func (s *Stage) affected(list []int, step *pipeline.Step) (affected []int, undefined bool) {
	if e := step.Event; e != nil {
		list = append(list, s.byEvent[e.CountName()]...)
		track := e.Type == event.Track
		if !track || len(e.Traits) > 0 {
			list = append(list, s.traits...)
		}
		if !track || len(e.Consent) > 0 || e.Name == event.Subscribed || e.Name == event.Unsubscribed {
			list = append(list, s.consent...)
		}
		if !track || e.Name == event.OrderCompleted || e.Name == event.OrderRefunded {
			list = append(list, s.orders...)
		}
	}
	list = append(list, s.scores...) // recomputed at each of the customer's events and at their own tick
	for id, m := range step.Profile.Segments {
		if m.Until == 0 || m.Until > step.Now {
			continue
		}
		if i, ok := s.known[id]; ok {
			list = append(list, i)
		} else {
			undefined = true
		}
	}
	slices.Sort(list)
	return slices.Compact(list), undefined
}

// ask evaluates one segment and keeps the answer where there is something to keep.
func (s *Stage) ask(step *pipeline.Step, seg *segment, flip func(id string, entered bool)) {
	p := step.Profile
	before := p.Segments[seg.id]
	in, until := seg.rule.Eval(rule.Input{Profile: p, Now: step.Now})
	after := profile.Membership{In: in, Until: until}
	switch {
	case in && before.In:
		after.Since = before.Since
	case in:
		after.Since = step.Now
	}
	if in != before.In {
		flip(seg.id, in)
	}
	switch {
	case after == before:
	case !after.In && after.Until == 0:
		delete(p.Segments, seg.id)
	default:
		if p.Segments == nil {
			p.Segments = map[string]profile.Membership{}
		}
		p.Segments[seg.id] = after
	}
}

// leaveUndefined ends the memberships in segments that are not defined, by id.
func (s *Stage) leaveUndefined(step *pipeline.Step) {
	var gone []string
	for id := range step.Profile.Segments {
		if _, ok := s.known[id]; !ok {
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
