package profile

import (
	"slices"

	"attune/pipeline/event"
)

// Activity is what is kept of one event's name: how often it happened, what it was worth and when.
type Activity struct {
	Name  string
	Count uint64
	// Sum is of the amounts that the events carried, in the currencies' main units; never negative. It mixes
	// currencies where the events do.
	Sum event.Money
	// First and Last are the earliest and the latest `occurred`.
	First event.Instant
	Last  event.Instant
}

// Activity is what is kept of an event; all zero where it never happened.
func (p *Profile) Activity(name string) Activity {
	if i, found := p.findActivity(name); found {
		return p.Activities[i]
	}
	return Activity{Name: name}
}

// Count is how often the event happened, of all time.
func (p *Profile) Count(name string) uint64 { return p.Activity(name).Count }

// Happens is the event's activity, to be changed: a new one where it never happened. The pointer is valid until the
// next call.
func (p *Profile) Happens(name string) *Activity {
	i, found := p.findActivity(name)
	if !found {
		p.Activities = slices.Insert(p.Activities, i, Activity{Name: name})
	}
	return &p.Activities[i]
}

// At takes one more occurrence into the activity.
func (a *Activity) At(occurred event.Instant, amount event.Money) {
	if a.Count == 0 {
		a.Last = occurred
	}
	if a.Count == 0 || a.First == 0 || occurred < a.First {
		a.First = occurred
	}
	a.Count++
	a.Sum = a.Sum.Plus(amount)
	a.Last = max(a.Last, occurred)
}

func (p *Profile) findActivity(name string) (int, bool) {
	from, to := 0, len(p.Activities)
	for from < to {
		if middle := (from + to) / 2; p.Activities[middle].Name < name {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from, from < len(p.Activities) && p.Activities[from].Name == name
}

// merge takes another profile's activity of the same name into this one.
func (a *Activity) merge(b *Activity) {
	a.Count += b.Count
	a.Sum = a.Sum.Plus(b.Sum)
	a.First, a.Last = earliest(a.First, b.First), max(a.Last, b.Last)
}

// earliest is the earlier of two instants of which zero means none.
func earliest(a, b event.Instant) event.Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// latest is the later of two instants of which zero means none.
func latest(a, b event.Instant) event.Instant {
	if a == 0 || b != 0 && b > a {
		return b
	}
	return a
}
