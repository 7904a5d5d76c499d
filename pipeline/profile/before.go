package profile

import "attune/pipeline/event"

// Before is what a customer's profile was before a step, as far as a stage must know to tell what the step changed.
type Before struct {
	// Profile is a shallow copy: its numbers and instants are those of before; its maps and slices are shared with
	// the profile that the step changes, and say nothing.
	Profile Profile
	// Traits are those that the event names, in its order.
	Traits []TraitBefore
	// Count is how often the event had happened.
	Count uint64
}

// TraitBefore is a trait's value before the step; nil when there was none.
type TraitBefore struct {
	Name  string
	Value event.Object
}

// Remember notes what the profile is before the event; nil for a step without one.
func Remember(p *Profile, e *event.Event) Before {
	b := Before{Profile: *p}
	if e == nil {
		return b
	}
	b.Count = p.Count(e.CountName())
	e.Traits.Fields(func(name string, _ event.Value) bool {
		b.Traits = append(b.Traits, TraitBefore{Name: name, Value: p.Traits[name].Value})
		return true
	})
	return b
}
