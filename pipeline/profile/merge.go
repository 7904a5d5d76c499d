package profile

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"

	"attune/pipeline/event"
)

// Merge takes all that is known of the loser into the winner, as if the winner had done it: counts, money and times
// exactly, decayed sums to nine digits. The loser stays as it is, and shares no memory with the winner afterwards that
// either changes. Applied a second time it counts twice: TookIn tells.
//
// Merge(a, b) and Merge(b, a) differ in ID, Applied and Armed, which stay the winner's: they belong to its place in the
// log. The result is to be asked anew: Definitions is zero, so that all segments are judged at the next step, and the
// standing is due at once, and so are the propensities where either had some, and the lifetime value where there are
// orders. A membership holds where either was in; what the loser leaves and the winner enters by that, the caller states.
// Of two waits for the same campaign and key the later one stays, as when the winner's own event had begun it anew.
//
// Bounds hold as they do for one profile, except those of event names, waits, sends and what rules look back at: which of
// them may go, and what is to be said of it, only the stages know, in the step that follows. Until then there are at most
// twice as many.
func Merge(winner, loser *Profile) {
	w, l := winner, loser
	w.Now = max(w.Now, l.Now)
	w.First, w.Last = earliest(w.First, l.First), latest(w.Last, l.Last)
	w.Traits = mergeNamed(w.Traits, l.Traits, laterTrait)
	w.Consents = mergeNamed(w.Consents, l.Consents, laterConsent)
	w.Activities = mergeActivities(w.Activities, l.Activities)
	w.Orders.merge(&l.Orders)
	for d := range w.Leanings {
		w.Leanings[d].merge(&l.Leanings[d])
	}
	for _, v := range l.Viewed {
		w.View(v.Product, v.At)
	}
	for _, v := range l.Bought {
		w.Buy(v.Product, v.At)
	}
	w.Cart = slices.Concat(w.Cart, l.Cart)
	slices.SortFunc(w.Cart, byTime)
	w.settleCart()
	w.Zone = laterZone(w.Zone, l.Zone)
	w.Next = mergeNext(w, l)
	w.Windows = mergeWindows(w.Windows, l.Windows)
	w.Kept = mergeKept(w.Kept, l.Kept)
	w.Segments = mergeSegments(w.Segments, l.Segments)
	w.Waits = mergeWaits(w.Waits, l.Waits)
	w.Sends = mergeSends(w.Sends, l.Sends)
	w.mergeJoined(l)
	w.Definitions, w.Members, w.SegmentsDue = 0, nil, w.EarliestUntil()
	if w.Propensities.At != 0 || l.Propensities.At != 0 {
		w.Propensities = Propensities{Next: w.Now}
	}
	w.Scores, w.Standing = Scores{}, Standing{}
	w.Standing.Until = w.Now // also whoever never ordered may have a tier
	if w.Orders.Count > 0 {
		w.Scores.Next = w.Now
	}
}

// mergeNamed keeps the better of each name's values, and the first in byte order of too many names.
func mergeNamed[V any](w, l map[string]V, better func(a, b V) V) map[string]V {
	if len(l) == 0 {
		return w
	}
	sum := make(map[string]V, len(w)+len(l))
	maps.Copy(sum, w)
	for name, v := range l {
		if known, ok := sum[name]; ok {
			v = better(known, v)
		}
		sum[name] = v
	}
	if len(sum) > MaxNames {
		for _, name := range slices.Sorted(maps.Keys(sum))[MaxNames:] {
			delete(sum, name)
		}
	}
	return sum
}

// laterTrait is what was said later; of two at one instant the larger text.
func laterTrait(a, b Trait) Trait {
	if c := cmp.Or(cmp.Compare(a.At, b.At), bytes.Compare(a.Value, b.Value)); c < 0 {
		return b
	}
	return a
}

// laterConsent is what was said later; of two at one instant the withdrawal.
func laterConsent(a, b Consent) Consent {
	if a.At < b.At || a.At == b.At && a.Granted {
		return b
	}
	return a
}

// laterZone is what was said later; of two at one instant the larger text.
func laterZone(a, b Zone) Zone {
	if c := cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Name, b.Name)); c < 0 && b.Name != "" || a.Name == "" {
		return b
	}
	return a
}

func mergeActivities(w, l []Activity) []Activity {
	if len(l) == 0 {
		return w
	}
	sum := make([]Activity, 0, len(w)+len(l))
	for len(w) > 0 && len(l) > 0 {
		switch c := strings.Compare(w[0].Name, l[0].Name); {
		case c < 0:
			sum, w = append(sum, w[0]), w[1:]
		case c > 0:
			sum, l = append(sum, l[0]), l[1:]
		default:
			both := w[0]
			both.merge(&l[0])
			sum, w, l = append(sum, both), w[1:], l[1:]
		}
	}
	return append(append(sum, w...), l...)
}

func (l *Leaning) merge(other *Leaning) {
	l.Rest += other.Rest
	if len(other.Weights) == 0 {
		return
	}
	sum, a, b := make([]Weight, 0, len(l.Weights)+len(other.Weights)), l.Weights, other.Weights
	for len(a) > 0 && len(b) > 0 {
		switch c := strings.Compare(a[0].Name, b[0].Name); {
		case c < 0:
			sum, a = append(sum, a[0]), a[1:]
		case c > 0:
			sum, b = append(sum, b[0]), b[1:]
		default:
			sum, a, b = append(sum, Weight{a[0].Name, a[0].Sum + b[0].Sum}), a[1:], b[1:]
		}
	}
	l.Weights = append(append(sum, a...), b...)
	l.trim()
}

// mergeWindows has the times of both, newest first; the rules' stage drops what no threshold can ask for.
func mergeWindows(w, l map[uint64][]event.Instant) map[uint64][]event.Instant {
	if len(l) == 0 {
		return w
	}
	sum := make(map[uint64][]event.Instant, len(w)+len(l))
	maps.Copy(sum, w)
	for id, times := range l {
		sum[id] = mergeTimes(sum[id], times)
	}
	return sum
}

// mergeTimes has the times of both, newest first as they are.
func mergeTimes(a, b []event.Instant) []event.Instant {
	both := make([]event.Instant, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0] >= b[0] {
			both, a = append(both, a[0]), a[1:]
		} else {
			both, b = append(both, b[0]), b[1:]
		}
	}
	return append(append(both, a...), b...)
}

func mergeSegments(w, l map[string]Membership) map[string]Membership {
	if len(l) == 0 {
		return w
	}
	sum := make(map[string]Membership, len(w)+len(l))
	maps.Copy(sum, w)
	for id, m := range l {
		known := sum[id]
		switch {
		case known.In && m.In:
			m.Since = min(known.Since, m.Since)
		case known.In:
			m.In, m.Since = true, known.Since
		}
		m.Until = earliest(known.Until, m.Until)
		sum[id] = m
	}
	return sum
}

func mergeWaits(w, l []Wait) []Wait {
	if len(l) == 0 {
		return w
	}
	all := slices.Concat(w, l)
	slices.SortFunc(all, func(a, b Wait) int { // as they began
		return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Due, b.Due), cmp.Compare(a.Occurred, b.Occurred),
			strings.Compare(a.Cause, b.Cause), cmp.Compare(a.Position, b.Position))
	})
	var left []Wait
	for i := range all {
		left = slices.DeleteFunc(left, func(earlier Wait) bool { return all[i].Replaces(&earlier) })
		left = append(left, all[i])
	}
	slices.SortFunc(left, ByDue)
	return left
}

func mergeSends(w, l []Send) []Send {
	if len(l) == 0 {
		return w
	}
	all := slices.Concat(w, l)
	slices.SortFunc(all, func(a, b Send) int { return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Decision, b.Decision)) })
	return slices.CompactFunc(all, func(a, b Send) bool { return a.Decision == b.Decision && a.At == b.At })
}
