package rule

import (
	"strconv"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// momentKind is where an instant of the customer comes from.
type momentKind uint8

const (
	traitMoment momentKind = iota // a trait that is a date or a time
	lastOf                        // the newest event of the leaf
	firstOf                       // the earliest
	firstSeen
	lastSeen
	firstOrder
	lastOrder
	scoredAt
	foretoldAt
	cartChanged // which a profile doesn't tell of before a step
)

// customerMoments are the instants of the customer, by their names after "customer.".
func customerMoments() map[string]momentKind {
	return map[string]momentKind{
		"first_seen": firstSeen, "last_seen": lastSeen, "first_order": firstOrder, "last_order": lastOrder, "scored": scoredAt,
		"propensity_scored": foretoldAt, "cart_changed": cartChanged,
	}
}

// moment is an instant that something is known to have happened, or to come.
type moment struct {
	kind momentKind
	name string // of the trait, or as written
	leaf *Leaf
}

// get is the instant, and when it will be another by itself; ok is false where there is none.
func (m *moment) get(p *profile.Profile, now event.Instant) (at event.Instant, ok bool, until event.Instant) {
	switch m.kind {
	case traitMoment:
		text, isText := textOf(traitAt(p, m.name))
		if !isText {
			return 0, false, 0
		}
		at, ok = parseMoment(text)
		return at, ok, 0
	case lastOf:
		list := p.Windows[m.leaf.ID]
		ahead := aheadOf(list, now)
		if ahead > 0 {
			until = list[ahead-1]
		}
		if ahead == len(list) {
			return 0, false, until
		}
		return list[ahead], true, until
	case firstOf:
		k := p.Kept[m.leaf.ID]
		if k == nil || len(k.Entries) == 0 {
			return 0, false, 0
		}
		if at = k.Entries[0].At; at > now {
			return 0, false, at
		}
		return at, true, 0
	case firstSeen:
		at = p.First
	case lastSeen:
		at = p.Last
	case firstOrder:
		at = p.Orders.First
	case lastOrder:
		at = p.Orders.Last
	case scoredAt:
		at = p.Scores.Scored
	case foretoldAt:
		at = p.Propensities.At
	case cartChanged:
		if n := len(p.Cart); n > 0 {
			at = p.Cart[n-1].At
		}
	}
	return at, at != 0, 0
}

func (m *moment) String() string {
	switch m.kind {
	case traitMoment:
		return "trait(" + strconv.Quote(m.name) + ")"
	case lastOf, firstOf:
		s := map[momentKind]string{lastOf: "last(", firstOf: "first("}[m.kind] + strconv.Quote(m.leaf.Event)
		for i := range m.leaf.filter {
			s += ", " + m.leaf.filter[i].String()
		}
		return s + ")"
	}
	return m.name
}

// evalMoment compares the time since or until a moment, or the moment itself. Each of these is true in one stretch of
// time [from, to), as long as the moment is the same.
func (a *atom) evalMoment(v *view) (bool, event.Instant) {
	at, ok, changes := a.moment.get(v.p, v.now)
	if !ok {
		return a.relation == unequal, changes
	}
	if a.kind == dated {
		return a.relation.holds(float64(at), float64(a.span)), changes
	}
	var from event.Instant
	to := never
	if a.kind == elapsed {
		switch a.relation {
		case less:
			from, to = at, at+a.span
		case lessOrEqual:
			from, to = at, at+a.span+1
		case greater:
			from = at + a.span + 1
		default:
			from = at + a.span
		}
	} else {
		switch a.relation {
		case less:
			from, to = at-a.span+1, at+1
		case lessOrEqual:
			from, to = at-a.span, at+1
		case greater:
			from, to = -never, at-a.span
		default:
			from, to = -never, at-a.span+1
		}
	}
	switch {
	case v.now < from:
		return false, sooner(ending(from), changes)
	case v.now < to:
		return true, sooner(ending(to), changes)
	}
	return false, changes
}
