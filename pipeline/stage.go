package pipeline

import (
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Stage is one decision about one record: a pure step. The record and the profile are its only input, the
// clock is Step.Now, and chance is a hash of what it is given; it does no I/O and never asks the time. A stage
// is made for one version of the definitions and never changes: it is safe for concurrent use on different
// profiles.
type Stage interface {
	// Name is the stage's word in logs and metrics.
	Name() string
	// Apply changes the profile and states facts. Step.Event is nil when the step runs what was owed at Now.
	Apply(s *Step)
	// Due is the earliest instant at which the profile owes this stage a step without an event; zero: never.
	// After an Apply at that instant it must be later than Now.
	Due(p *profile.Profile) event.Instant
}

// Step is one record, or one due instant, on its way through the stages of the customer chain.
type Step struct {
	// Now is the customer's clock: the record's `accepted`, never earlier than before, or the due instant.
	Now event.Instant
	// Event is what happened; nil when the step runs what the profile owed at Now. Wake-ups and control
	// records never get here.
	Event   *event.Event
	Profile *profile.Profile
	// Before is what the profile was before the step.
	Before profile.Before
	// Loser is what was merged into the profile before this step, which has no event; nil in all others. All is to be
	// judged anew, and memberships are those of both.
	Loser *profile.Profile
	// Position is the log sequence of the record that is being worked on.
	Position uint64
	// Version and Definitions are the number and the hash of the definitions in force.
	Version     uint64
	Definitions string
	// Fire has campaigns take flips because of the definitions for a trigger.
	Fire bool

	// What the stages stated so far; later stages read what earlier ones said.
	Changes    []SegmentChange
	Decisions  []Decision
	Deliveries []Delivery

	earlier []Delivery // that the record has led to in steps before this one
	because string     // of the flips of a merge, or of a change of the definitions
	was     []string   // the winner's memberships before the merge
}

// Historical tells that this step may change state but fires nothing.
func (s *Step) Historical() bool { return s.Event != nil && s.Event.Historical }

// Flip states that the profile entered or left a segment at Now, because of this step.
func (s *Step) Flip(segment string, entered bool) {
	reason := BecauseEvent
	switch {
	case s.because != "":
		reason = s.because
	case s.Event == nil:
		reason = BecauseTime
	case s.Event.Historical:
		reason = BecauseHistorical
	}
	s.FlipBecause(segment, entered, reason)
}

// FlipBecause states a flip for one of the Because reasons. Who was in a segment by the merge alone doesn't leave it: that
// the loser left it is stated already, and campaigns, which are asked after this, must not fire on it.
func (s *Step) FlipBecause(segment string, entered bool, reason string) {
	if s.Loser != nil && !entered && !slices.Contains(s.was, segment) {
		return
	}
	if s.because == BecauseDefinitions { // what was prepared was judged by an older score: in the end nothing has changed
		if i := slices.IndexFunc(s.Changes, func(c SegmentChange) bool { return c.Segment == segment && c.Entered != entered }); i >= 0 {
			s.Changes = slices.Delete(s.Changes, i, i+1)
			return
		}
	}
	s.Changes = append(s.Changes, SegmentChange{
		Segment: segment, Profile: s.Profile.ID, At: s.Now, Entered: entered,
		Reason: reason, Position: s.Position, Version: s.Version,
	})
}

// Decide states a decision at Now.
func (s *Step) Decide(d Decision) {
	d.At, d.Profile, d.Position, d.Version, d.CLV = s.Now, s.Profile.ID, s.Position, s.Version, s.Profile.Scores.CLV
	s.Decisions = append(s.Decisions, d)
}

// MaxCarried bounds what the mails that one record leads to carry together, in bytes; the first goes in any case. They lie
// in one commit, and the partition of a commit that the broker doesn't take stands still for good: they get half of the
// smallest max_payload that is allowed, 1 MB; the other half is for the profile and the facts.
const MaxCarried = 512 << 10

// Room tells whether one more mail may be ordered: the first of a record always, others within MaxCarried.
func (s *Step) Room(d *Delivery) bool {
	if len(s.earlier)+len(s.Deliveries) == 0 {
		return true
	}
	size := d.Size()
	for _, ordered := range [...][]Delivery{s.earlier, s.Deliveries} {
		for i := range ordered {
			size += ordered[i].Size()
		}
	}
	return size <= MaxCarried
}

// Deliver orders a mail; it leaves the partition with the commit.
func (s *Step) Deliver(d Delivery) {
	d.Profile, d.Decided, d.Definitions = s.Profile.ID, s.Now, s.Definitions
	s.Deliveries = append(s.Deliveries, d)
}
