package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Definitions change in three steps, each a record of the log, so that the log stays the only input:
//
//   - A control record stages them. From there on each customer's memberships by them are kept beside those in force
//     (profile.Next), by the same stage. Nothing is stated.
//   - A prepare record for each customer brings what happened before and what its rules look back at, as far as the
//     profile doesn't hold it already, and judges all segments. From then on windows close, and wake-ups are armed, for
//     both. A profile that went on in another one sends what happened before that on to it.
//   - A control record puts them in force: at the instant that it names, everywhere. Each customer's step after it runs
//     what was owed before the instant by the definitions before, then takes the memberships over, as of the instant
//     (or the customer's own clock, where that is later), and states the difference, because of the definitions. So the
//     flips and their times don't depend on when that step comes. Who wasn't prepared is judged there by what the
//     profile holds.
//
// Campaigns don't take these flips for a trigger unless the record says so.

// Switch is how definitions came into force.
type Switch struct {
	// At is the instant; zero: each customer's next step, whenever it comes.
	At event.Instant
	// Before is what was in force before; it must be given where At is.
	Before *Chain
	// Staged is the version under which they were prepared; 0: they were not.
	Staged uint64
	// Fire has campaigns take the flips for a trigger.
	Fire bool
}

// Staged are definitions that are prepared beside those in force.
type Staged struct {
	Version uint64
	// Segments is their stage, which records the segments' leaves.
	Segments Stage
	// SegmentLeaves and CampaignLeaves are what their rules look back at.
	SegmentLeaves, CampaignLeaves Leaves
	// Foretells tells that a rule asks for a propensity and none in force does: time makes them due from the switch on.
	Foretells bool
}

// Leaves are what staged rules look back at, as rule.Succession has it: some the definitions in force keep too, for the
// others the past is lacking.
type Leaves interface {
	Record(p *profile.Profile, e *event.Event)
	RecordLacked(p *profile.Profile, e *event.Event)
	Inherit(to, from *profile.Profile)
	Expire(p *profile.Profile)
}

// Preparation is the properties of a prepare record.
type Preparation struct {
	// Staged is the version that is prepared.
	Staged uint64 `json:"staged"`
	// Past is what happened, in the order of the log.
	Past []PastEvent `json:"past,omitempty"`
	// Of is the profile in whose part of the log it lies, where that one has gone on in the profile that is prepared.
	Of string `json:"of,omitempty"`
	// Read is the position of the log up to which Past has all; Filled tells that nothing follows it.
	Read   uint64 `json:"read,omitempty"`
	Filled bool   `json:"filled,omitempty"`
}

// PastEvent is an event that was in the log before the definitions were staged, with the properties that rules ask for.
type PastEvent struct {
	Position   uint64        `json:"position"`
	Type       event.Type    `json:"type"`
	Name       string        `json:"name"`
	Occurred   event.Instant `json:"occurred"`
	Properties event.Object  `json:"properties,omitempty"`
}

// prepare takes what a prepare record brings, and judges the customer by the staged definitions when all is there.
func (c *Chain) prepare(p *profile.Profile, e *event.Event, position uint64, r *Result) error {
	if c.Staged == nil {
		return nil
	}
	var b Preparation
	if err := json.Unmarshal(e.Properties, &b); err != nil {
		return fmt.Errorf("profile %s at position %d: prepare: %w", p.ID, position, err)
	}
	if b.Staged != c.Staged.Version {
		return nil // of others, which are not staged any more
	}
	s := c.step(p, nil, position, r)
	n := c.next(p, position)
	part := profile.Part{Since: n.Since, Read: n.Read}
	if b.Of != "" {
		part = n.Part(b.Of)
	} else if n.Filled {
		return nil
	}
	q := n.Lay(p)
	for i := range b.Past {
		past := &b.Past[i]
		if past.Position <= part.Read || part.Since != 0 && past.Position >= part.Since {
			continue
		}
		happened := event.Event{Type: past.Type, Name: past.Name, Occurred: past.Occurred, Properties: past.Properties}
		c.Staged.SegmentLeaves.RecordLacked(q, &happened)
		c.Staged.CampaignLeaves.RecordLacked(q, &happened)
	}
	n.Take(q)
	part.Read = max(part.Read, b.Read)
	if b.Of != "" {
		n.SetPart(part)
		n.Definitions = 0 // to be judged again
	} else {
		n.Read, n.Filled = part.Read, b.Filled
	}
	if n.Filled {
		c.judgeNext(s, n)
	}
	return nil
}

// itsOwnPast is what a prepare record has of what a profile did before it went on in another one; nil: nothing. What came
// after that has been sent on, and is in the other one's part of the log.
func itsOwnPast(p *profile.Profile, e *event.Event) (event.Object, error) {
	var b Preparation
	if err := json.Unmarshal(e.Properties, &b); err != nil {
		return nil, fmt.Errorf("profile %s: prepare: %w", p.ID, err)
	}
	if b.Of == "" {
		b.Of, b.Filled = p.ID, false
		b.Past = slices.DeleteFunc(b.Past, func(past PastEvent) bool { return past.Position >= p.Left })
	}
	if len(b.Past) == 0 {
		return nil, nil
	}
	return json.Marshal(b)
}

// beside keeps the customer's state by the staged definitions, after the stages have had the step.
func (c *Chain) beside(s *Step) {
	p := s.Profile
	if c.Staged == nil {
		p.Next = nil
		return
	}
	known := p.Next != nil && p.Next.Version == c.Staged.Version
	n := c.next(p, s.Position)
	if n.Filled {
		c.judgeNext(s, n)
		return
	}
	if s.Event == nil && s.Loser == nil {
		return
	}
	q := n.Lay(p)
	for _, leaves := range [...]Leaves{c.Staged.SegmentLeaves, c.Staged.CampaignLeaves} {
		switch {
		case s.Loser != nil:
			leaves.Expire(q) // two profiles' are together
		case known:
			leaves.Record(q, s.Event)
		default:
			leaves.RecordLacked(q, s.Event) // what the two have in common holds it already
		}
	}
	n.Take(q)
}

// next is the customer's state by the staged definitions; it is begun where there is none.
func (c *Chain) next(p *profile.Profile, position uint64) *profile.Next {
	if p.Next != nil && p.Next.Version == c.Staged.Version {
		return p.Next
	}
	p.Next = &profile.Next{Version: c.Staged.Version, Since: position}
	if p.Applied == 0 { // nothing happened before
		p.Next.Filled = true
		return p.Next
	}
	q := p.Next.Lay(p)
	c.Staged.SegmentLeaves.Inherit(q, p)
	c.Staged.CampaignLeaves.Inherit(q, p)
	p.Next.Take(q)
	return p.Next
}

// level has both profiles of a merge hold what they can for the definitions in force, and for those staged: the loser may
// have left before those came into force that it was prepared for, and neither may have begun to be prepared.
func (c *Chain) level(s *Step) {
	l := s.Loser
	if n := l.Next; n != nil && n.Version == c.Switch.Staged && l.Definitions != c.Version {
		l.Windows, l.Kept, l.Next = n.Windows, n.Kept, nil
		if n.Definitions == n.Version {
			l.Segments, l.SegmentsDue, l.Definitions = n.Segments, n.SegmentsDue, c.Version
		}
	}
	if c.Staged != nil { // only now: what comes next inherits from what is in force
		c.next(s.Profile, s.Position)
		c.next(l, s.Position)
	}
}

// judgeNext runs the staged segments' stage. What it states is not so yet.
func (c *Chain) judgeNext(s *Step, n *profile.Next) {
	staged := *s
	staged.Profile, staged.Version, staged.Changes = n.Lay(s.Profile), n.Version, nil
	c.Staged.Segments.Apply(&staged)
	if s.Event != nil {
		c.Staged.CampaignLeaves.Record(staged.Profile, s.Event)
	} else {
		c.Staged.CampaignLeaves.Expire(staged.Profile)
	}
	n.Take(staged.Profile)
	if c.Staged.Foretells && s.Profile.Propensities.At != 0 {
		// Nothing else may be due for a silent customer, and only a step takes the definitions over.
		if tick := s.Now.Add(24 * time.Hour); n.SegmentsDue == 0 || n.SegmentsDue > tick {
			n.SegmentsDue = tick
		}
	}
}

// takeOver brings the definitions into force for a customer whose last step was by those before, as of the switch.
func (c *Chain) takeOver(p *profile.Profile, position uint64, r *Result) error {
	if p.Applied == 0 || p.Definitions == c.Version || c.Switch.At == 0 {
		return nil
	}
	n := p.Next
	prepared := n != nil && n.Filled && n.Version == c.Switch.Staged
	before := c.Switch.Before
	if p.Definitions == 0 && !prepared && before.Version > 0 { // to be judged anew, at the next step: a merge asks for that
		return nil
	}
	if n == nil && p.Definitions != 0 {
		// It slept through others: who had to be judged for them would have been prepared, so their rules were the same.
		p.Definitions = before.Version
	}
	if before.Version == p.Definitions {
		if err := before.runOwed(p, c.Switch.At-1, position, r); err != nil {
			return err
		}
	}
	p.Now = max(p.Now, c.Switch.At)
	s := c.step(p, nil, position, r)
	s.Fire, s.because = c.Switch.Fire, BecauseDefinitions
	if prepared {
		if due := n.Due(); due != 0 && due <= p.Now && before.Staged != nil {
			before.judgeNext(s, n) // what ends at this very instant has ended
		}
		c.adopt(s, n)
	}
	for _, stage := range c.Stages {
		stage.Apply(s)
	}
	p.Next = nil
	r.take(s)
	return nil
}

// adopt puts the memberships that were prepared in the place of those before, and states the difference by id.
func (c *Chain) adopt(s *Step, n *profile.Next) {
	p := s.Profile
	before := p.Segments
	p.Windows, p.Kept, p.Segments, p.SegmentsDue, p.Members, p.Definitions = n.Windows, n.Kept, n.Segments, n.SegmentsDue, nil, c.Version
	ids := slices.AppendSeq(slices.Collect(maps.Keys(before)), maps.Keys(n.Segments))
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		was, is := before[id], n.Segments[id]
		switch {
		case is.In && was.In:
			is.Since = was.Since
		case is.In:
			is.Since = s.Now
		}
		if is.In {
			p.Segments[id] = is
		}
		if is.In != was.In {
			s.FlipBecause(id, is.In, BecauseDefinitions)
		}
	}
}
