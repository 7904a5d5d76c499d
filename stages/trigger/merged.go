package trigger

import (
	"slices"

	"attune/pipeline"
	"attune/pipeline/profile"
)

// settle cancels the waits of each of two merged profiles that an event of the other one has cancelled since. What is
// kept of that event has no key: a campaign with a key is cancelled by whatever key it had, since a mail about a cart that
// was bought is worse than none.
func (st *Stage) settle(s *pipeline.Step) {
	if len(s.Profile.Waits) > 0 {
		s.Profile.Waits = slices.DeleteFunc(s.Profile.Waits, func(w profile.Wait) bool {
			c := st.campaigns[w.Campaign]
			if c == nil || c.Unless == nil {
				return false
			}
			other := s.Loser
			if slices.ContainsFunc(s.Loser.Waits, func(theirs profile.Wait) bool {
				return theirs.Position == w.Position && theirs.Campaign == w.Campaign && theirs.Key == w.Key
			}) {
				other = &s.Before.Profile
			}
			if other.Activity(c.Unless.Event).Last <= w.Occurred {
				return false
			}
			st.suppress(s, w, ReasonCancelled, "by "+c.Unless.Event)
			return true
		})
	}
}

// stillSo tells whether the flip that started a wait holds now. It is asked where half of the customer was not known
// then.
func stillSo(p *profile.Profile, w profile.Wait) bool {
	if !w.Held || !isFlip(&w) {
		return true
	}
	segment, _ := w.Properties.Get("segment").Text()
	return p.In(segment) == (w.Name == SegmentEntered)
}

// isFlip tells whether a flip of a segment began the wait, and no event.
func isFlip(w *profile.Wait) bool { return w.Name == SegmentEntered || w.Name == SegmentExited }
