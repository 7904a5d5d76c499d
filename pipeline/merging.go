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

// announce takes up what the event says about other profiles of the same customer.
func (c *Chain) announce(p *profile.Profile, e *event.Event, position uint64, r *Result) {
	for _, j := range e.Joins {
		switch {
		case j.Refused != "":
			r.Facts.Merges = append(r.Facts.Merges, Merge{Loser: j.Loser, Winner: p.ID, At: p.Now, Refused: j.Refused, Position: position})
		case p.Announce(j.Loser):
			r.Leaving = append(r.Leaving, event.Event{
				ID: "merge-" + j.Loser, Type: event.Merge, Profile: j.Loser, Occurred: e.Accepted, Accepted: e.Accepted, Historical: e.Historical,
				Merge: &event.MergeRecord{Loser: j.Loser, Winner: p.ID},
			})
		}
	}
}

// Joins takes up what an event says about other profiles where the event itself can't be used: its customer must become
// one all the same. No stage runs, and nothing fails. The profile lives: a tombstone's records are forwarded unused.
func (c *Chain) Joins(p *profile.Profile, e *event.Event, position uint64) Result {
	var r Result
	p.Now = max(p.Now, e.Accepted)
	c.announce(p, e, position, &r)
	p.Applied = position
	return r
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
	*p = profile.Profile{ID: p.ID, Now: p.Now, Applied: position, Into: e.Merge.Winner}
}

// forward sends what comes for a profile that has gone on in another one after it. Wake-ups are void, it is merged
// already, and the other one is prepared for itself.
func forward(p *profile.Profile, e *event.Event, position uint64, r *Result) {
	if e.Type == event.Wake || e.Type == event.Merge || e.Type == event.Prepare {
		return
	}
	sent := *e
	sent.Profile, sent.Source = p.Into, event.Source{}
	r.Leaving = append(r.Leaving, sent)
	p.Applied = position
}

// takeIn merges what a transfer brings, and judges the whole customer anew: first without an event, and then whatever
// has waited for it.
func (c *Chain) takeIn(p *profile.Profile, e *event.Event, position uint64, r *Result) error {
	loser, err := profile.Decode(e.Merge.State)
	if err != nil {
		return fmt.Errorf("transfer to profile %s at position %d: %w", p.ID, position, err)
	}
	if loser.ID == p.ID || p.TookIn(loser.ID) {
		return nil
	}
	s := c.step(p, nil, position)
	s.Loser = loser
	c.level(s)
	was := s.Profile.Memberships()
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
	c.run(s)
	s.Changes = enteredByLoser(s, was)
	r.take(s)
	for _, m := range append(loser.Merged, profile.Merged{ID: loser.ID}) {
		r.Facts.Merges = append(r.Facts.Merges, Merge{Loser: m.ID, Winner: p.ID, At: p.Now, Position: position})
	}
	return c.runOwed(p, p.Now, position, r)
}

// judgedOtherwise tells whether a profile's memberships are by other definitions than those in force.
func (c *Chain) judgedOtherwise(p *profile.Profile) bool {
	return p.First != 0 && p.Definitions != c.Version
}

// enteredByLoser puts a merge's flips right. The stages saw a winner who was wherever the loser was, so that nothing
// fires on that: now the winner enters where this is still so, and does not leave where they had never been.
func enteredByLoser(s *Step, was []string) []SegmentChange {
	left := func(change SegmentChange) bool { return !change.Entered && !slices.Contains(was, change.Segment) }
	changes := slices.DeleteFunc(s.Changes, left)
	for _, segment := range s.Loser.Memberships() {
		if s.Profile.In(segment) && !slices.Contains(was, segment) {
			changes = append(changes, SegmentChange{
				Segment: segment, Profile: s.Profile.ID, At: s.Now, Entered: true, Reason: s.because, Position: s.Position, Version: s.Version,
			})
		}
	}
	return changes
}
