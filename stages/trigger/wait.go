package trigger

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// maxKey bounds the text of a key, in bytes; a longer one is replaced by its hash.
const maxKey = 128

func (c *campaign) wait() time.Duration { return time.Duration(c.Wait) }

// keyOf is the event's key for the campaign, and whether it carries a readable one.
func (c *campaign) keyOf(e *event.Event) (string, bool) {
	if c.Key == "" {
		return "", false
	}
	v := e.Properties.Get(c.Key)
	if v.Null() {
		return "", false
	}
	switch v.Raw()[0] {
	case '{', '[':
		return "", false
	}
	key := v.String()
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + hex.EncodeToString(sum[:])
	}
	return key, key != ""
}

// start begins the campaign's wait, in place of one for the same key that isn't due yet, or judges the campaign at once. One
// that is due was held: it would be decided already, had the customer been whole. Of flips one is enough, since the whole
// customer may not have made the others.
func (st *Stage) start(s *pipeline.Step, c *campaign, w profile.Wait) {
	p := s.Profile
	w.Campaign, w.Due = c.ID, s.Now.Add(c.wait())
	stamp(s, &w)
	if !isFlip(&w) {
		w.Since = s.Now
	}
	p.Waits = slices.DeleteFunc(p.Waits, func(old profile.Wait) bool { return w.Replaces(&old) })
	w.Held = s.Now < p.Whole()
	if c.Wait == 0 && !w.Held {
		st.judge(s, c, w)
		return
	}
	i, _ := slices.BinarySearchFunc(p.Waits, w, profile.ByDue)
	p.Waits = slices.Insert(p.Waits, i, w)
	st.boundWaits(s)
}

// boundWaits suppresses the oldest waits while there are too many: those of two profiles are together, when these merge, at
// most twice as many as there may be.
func (st *Stage) boundWaits(s *pipeline.Step) {
	p := s.Profile
	for tooMany(p.Waits) {
		i := oldest(p.Waits)
		w := p.Waits[i]
		p.Waits = slices.Delete(p.Waits, i, i+1)
		st.suppress(s, w, ReasonTooManyWaits, "")
	}
}

// stamp writes down what in the log led to the wait.
func stamp(s *pipeline.Step, w *profile.Wait) {
	w.Position = s.Position
	if s.Event != nil {
		w.Cause, w.Trace = s.Event.ID, s.Event.Trace
	}
}

func tooMany(waits []profile.Wait) bool {
	size := 0
	for _, w := range waits {
		size += len(w.Properties)
	}
	return len(waits) > MaxWaits || len(waits) > 1 && size > MaxWaitBytes
}

func oldest(waits []profile.Wait) int {
	first := 0
	for i, w := range waits {
		if w.Position < waits[first].Position {
			first = i
		}
	}
	return first
}

// cancel ends the waits that the event says are no longer wanted.
func (st *Stage) cancel(s *pipeline.Step) {
	p, e := s.Profile, s.Event
	if len(p.Waits) == 0 {
		return
	}
	for _, c := range st.unless[e.CountName()] {
		key, keyed := c.keyOf(e)
		p.Waits = slices.DeleteFunc(p.Waits, func(w profile.Wait) bool {
			if w.Campaign != c.ID || keyed && w.Key != "" && w.Key != key || e.Historical && e.Occurred <= w.Occurred {
				return false
			}
			st.suppress(s, w, ReasonCancelled, "by "+e.CountName())
			return true
		})
	}
}

// decideDue judges the waits whose time has come.
func (st *Stage) decideDue(s *pipeline.Step) {
	p := s.Profile
	if s.Now < p.Whole() {
		return
	}
	for len(p.Waits) > 0 && p.Waits[0].Due <= s.Now {
		w := p.Waits[0]
		p.Waits = slices.Delete(p.Waits, 0, 1)
		switch c := st.campaigns[w.Campaign]; {
		case c == nil:
			st.suppress(s, w, ReasonCampaignRemoved, "")
		case !stillSo(p, w):
			st.suppress(s, w, ReasonMerged, w.Name)
		default:
			st.judge(s, c, w)
		}
	}
}
