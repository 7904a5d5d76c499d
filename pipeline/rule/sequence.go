package rule

import "attune/pipeline/event"

// MaxSteps bounds the steps of one sequence.
const MaxSteps = 5

// evalSteps answers for sequence, followed and not_followed. What comes after is later by a millisecond at least.
func (a *atom) evalSteps(v *view) (bool, event.Instant) {
	var next event.Instant // when the next event ahead occurs
	for _, l := range a.steps {
		list := v.p.Windows[l.ID]
		if ahead := aheadOf(list, v.now); ahead > 0 {
			next = sooner(next, list[ahead-1])
		}
	}
	if a.kind == unanswered {
		return a.evalUnanswered(v, next)
	}
	at, ok := a.completed(v)
	if !ok || at+a.outer <= v.now {
		return false, next
	}
	return true, sooner(at+a.outer, next)
}

// past are the newest times at or before now.
func past(list []event.Instant, now event.Instant) []event.Instant {
	list = list[aheadOf(list, now):]
	return list[:min(len(list), MaxKept)]
}

// completed is when the last step of the newest complete sequence occurred. Of the steps of each kind it keeps those
// with a step before them, within the span; the nearest one before is enough to look at.
func (a *atom) completed(v *view) (event.Instant, bool) {
	var reached [MaxKept]event.Instant // newest first
	n := copy(reached[:], past(v.p.Windows[a.steps[0].ID], v.now))
	for _, l := range a.steps[1:] {
		before, m := 0, 0
		var good [MaxKept]event.Instant
		for _, at := range past(v.p.Windows[l.ID], v.now) {
			for before < n && reached[before] >= at {
				before++
			}
			if before < n && at < reached[before]+a.span {
				good[m] = at
				m++
			}
		}
		reached, n = good, m
	}
	return reached[0], n > 0
}

// evalUnanswered is true from the span after the last first step, if the second did not come in between, until that
// leaves the window.
func (a *atom) evalUnanswered(v *view, next event.Instant) (bool, event.Instant) {
	asked := past(v.p.Windows[a.steps[0].ID], v.now)
	if len(asked) == 0 || asked[0]+a.outer <= v.now {
		return false, next
	}
	for _, at := range past(v.p.Windows[a.steps[1].ID], v.now) {
		if at > asked[0] && at < asked[0]+a.span {
			return false, next
		}
	}
	if v.now < asked[0]+a.span {
		return false, sooner(asked[0]+a.span, next)
	}
	return true, sooner(asked[0]+a.outer, next)
}
