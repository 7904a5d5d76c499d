package pipeline

import (
	"fmt"
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// How two profiles of one customer become one. Normalizing finds it out, and whose the customer's calls are from then
// on: the winner's. The call's event says so in its joins. From there on all of it follows from the logs:
//
//	winner's log   an event that joins      announce: the winner's decisions wait, and a merge record leaves
//	loser's log    the merge record         what the loser was leaves in a transfer; what stays is a tombstone, which
//	                                        forwards whatever still comes
//	winner's log   the transfer             taken in, once; all is judged anew, and what waited is decided
//
// A winner that has become a loser itself forwards the joins and transfers like all else, and its own transfer tells for
// whom it waited. What leaves for another log has a source there as everything has, and is dropped when it comes again.

// BecauseMerge: the customer turned out to be the same as another one. The winner's flips count as what happened; the
// loser leaves all its segments, on which nothing fires.
const BecauseMerge = "merge"

// Merge states that a profile goes on in another one, or why it doesn't.
type Merge struct {
	Loser    string        `cbor:"1,keyasint" json:"loser"`
	Winner   string        `cbor:"2,keyasint" json:"winner"`
	At       event.Instant `cbor:"3,keyasint" json:"at"`
	Refused  string        `cbor:"4,keyasint,omitempty" json:"refused,omitempty"` // why they stay two; empty: they are one
	Position uint64        `cbor:"5,keyasint" json:"position"`
}

// announce takes up what the event says about other profiles of the same customer, whose clock is now.
func (c *Chain) announce(p *profile.Profile, e *event.Event, now event.Instant, position uint64, r *Result) {
	for _, j := range e.Joins {
		switch {
		case j.Refused != "":
			r.Facts.Merges = append(r.Facts.Merges, Merge{Loser: j.Loser, Winner: p.ID, At: now, Refused: j.Refused, Position: position})
		case p.Announce(j.Loser, now):
			r.Leaving = append(r.Leaving, event.Event{
				ID: "merge-" + j.Loser, Type: event.Merge, Profile: j.Loser, Occurred: e.Accepted, Accepted: e.Accepted, Historical: e.Historical,
				Merge: &event.MergeRecord{Loser: j.Loser, Winner: p.ID},
			})
		}
	}
}

// Salvage takes from a record whose step fails what makes profiles one: without it a customer would stay two, and the
// merge record and the transfer come but once. No stage runs; the profile owes what it owed, and has the next step judge
// it. Waits don't outlive a transfer that failed, since nobody can tell which of them the other half has cancelled. What
// is no part of a merge leaves the profile as it is. After an error the profile is half changed.
func (c *Chain) Salvage(p *profile.Profile, e *event.Event, position uint64) (r Result, err error) {
	defer recovered(position, &err)
	now := max(p.Now, e.Accepted)
	switch {
	case e.Type == event.Merge:
		p.Now = now
		c.leave(p, e, position, &r)
		return r, nil
	case e.Type == event.Transfer:
		s, err := c.unite(p, e, position, &r)
		if s == nil {
			return r, err
		}
		p.Waits = nil
		c.stateMerge(s, &r)
		p.Armed, r.Wake = p.Now, p.Now
	case len(e.Joins) > 0:
		c.announce(p, e, now, position, &r) // its clock stands: what it owes by then is still run at its own instants
	default:
		return r, nil
	}
	p.Applied = position
	return r, nil
}

// leave hands over all that the loser is. What it owed by now is run; what it waits for the winner will decide.
func (c *Chain) leave(p *profile.Profile, e *event.Event, position uint64, r *Result) {
	r.Leaving = append(r.Leaving, event.Event{
		ID: "transfer-" + p.ID, Type: event.Transfer, Profile: e.Merge.Winner, Occurred: e.Accepted, Accepted: e.Accepted, Historical: e.Historical,
		Merge: &event.MergeRecord{Loser: p.ID, Winner: e.Merge.Winner, State: profile.Encode(p)},
	})
	for _, segment := range p.Memberships() {
		r.Facts.Changes = append(r.Facts.Changes, SegmentChange{
			Segment: segment, Profile: p.ID, At: p.Now, Reason: BecauseMerge, Position: position, Version: c.Version,
		})
	}
	*p = profile.Profile{ID: p.ID, Now: p.Now, Applied: position, Into: e.Merge.Winner, Left: position}
}

// forward sends what comes for a profile that has gone on in another one after it. Wake-ups are void, and it is merged
// already. Of what prepares it goes on what it did before it was merged: the other one is prepared for all else.
func forward(p *profile.Profile, e *event.Event, position uint64, r *Result) error {
	if e.Type == event.Wake || e.Type == event.Merge {
		return nil
	}
	sent := *e
	if e.Type == event.Prepare {
		its, err := itsOwnPast(p, e)
		if its == nil || err != nil {
			return err
		}
		sent.Properties = its
	}
	sent.Profile, sent.Source = p.Into, event.Source{}
	r.Leaving = append(r.Leaving, sent)
	p.Applied = position
	return nil
}

// takeIn merges what a transfer brings, and judges the whole customer anew: first without an event, and then whatever
// has waited for it.
func (c *Chain) takeIn(p *profile.Profile, e *event.Event, position uint64, r *Result) error {
	s, err := c.unite(p, e, position, r)
	if s == nil {
		return err
	}
	c.run(s)
	c.stateMerge(s, r)
	return c.runOwed(p, p.Now, position, r)
}

// unite merges what a transfer brings, for a step that judges it; nil: it is merged already.
func (c *Chain) unite(p *profile.Profile, e *event.Event, position uint64, r *Result) (*Step, error) {
	loser, err := profile.Decode(e.Merge.State)
	if err != nil {
		return nil, fmt.Errorf("transfer to profile %s at position %d: %w", p.ID, position, err)
	}
	if loser.ID == p.ID || p.TookIn(loser.ID) {
		return nil, nil
	}
	s := c.step(p, nil, position, r)
	s.Loser = loser
	c.level(s)
	s.was = p.Memberships()
	switch {
	case e.Historical:
		s.because = BecauseHistorical
	case c.judgedOtherwise(p) || c.judgedOtherwise(loser):
		s.because = BecauseDefinitions
	default:
		s.because = BecauseMerge
	}
	profile.Merge(p, loser)
	s.Now = p.Now
	return s, nil
}

// stateMerge states what the step has led to, and that its loser, and all who had gone on in it, are this customer.
func (c *Chain) stateMerge(s *Step, r *Result) {
	s.enteredByLoser()
	r.take(s)
	for _, m := range append(s.Loser.Merged, profile.Merged{ID: s.Loser.ID}) {
		r.Facts.Merges = append(r.Facts.Merges, Merge{Loser: m.ID, Winner: s.Profile.ID, At: s.Now, Position: s.Position})
	}
}

// judgedOtherwise tells whether a profile's memberships are by other definitions than those in force.
func (c *Chain) judgedOtherwise(p *profile.Profile) bool {
	return p.First != 0 && p.Definitions != c.Version
}

// enteredByLoser states where the winner is by the loser alone. The stages saw a winner who was there already, so that
// nothing fires on that.
func (s *Step) enteredByLoser() {
	for _, segment := range s.Loser.Memberships() {
		if s.Profile.In(segment) && !slices.Contains(s.was, segment) {
			s.FlipBecause(segment, true, s.because)
		}
	}
}
