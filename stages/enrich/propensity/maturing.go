package propensity

import (
	"cmp"
	"slices"

	"attune/pipeline/event"
)

// Maturing holds rows until their label is known: positive at the event, if that comes within the horizon after the row's
// moment, else negative when the horizon is over. So nobody is learned to be a no because the yes is still to come. It is
// not safe for concurrent use.
type Maturing struct {
	horizon int64 // milliseconds
	waiting map[string][]pending
}

type pending struct {
	at  event.Instant
	row Row
}

// Matured is an example and the moment whose row it has.
type Matured struct {
	Customer string
	At       event.Instant
	Example
}

// NewMaturing waits for events within a horizon, given in milliseconds, above 0: in (moment, moment+horizon].
func NewMaturing(horizon int64) *Maturing {
	return &Maturing{horizon: horizon, waiting: map[string][]pending{}}
}

// Observe keeps what was known of a customer at a moment.
func (m *Maturing) Observe(customer string, at event.Instant, row Row) {
	m.waiting[customer] = append(m.waiting[customer], pending{at, slices.Clone(row)})
}

// Happened tells that the customer did it, and returns the rows that are positive by that, oldest first. What was observed
// at or after the event goes on waiting.
func (m *Maturing) Happened(customer string, at event.Instant) []Matured {
	var out []Matured
	m.waiting[customer] = slices.DeleteFunc(m.waiting[customer], func(p pending) bool {
		if p.at >= at || int64(at-p.at) > m.horizon {
			return false
		}
		out = append(out, Matured{customer, p.at, Example{p.row, true}})
		return true
	})
	if len(m.waiting[customer]) == 0 {
		delete(m.waiting, customer)
	}
	return sorted(out)
}

// Until returns the rows whose horizon is over by now without an event, oldest first. Events up to now must have been told.
func (m *Maturing) Until(now event.Instant) []Matured {
	var out []Matured
	for customer, rows := range m.waiting {
		left := slices.DeleteFunc(rows, func(p pending) bool {
			if int64(now-p.at) < m.horizon {
				return false
			}
			out = append(out, Matured{customer, p.at, Example{p.row, false}})
			return true
		})
		if len(left) == 0 {
			delete(m.waiting, customer)
		} else {
			m.waiting[customer] = left
		}
	}
	return sorted(out)
}

// Waiting is how many rows have not matured.
func (m *Maturing) Waiting() int {
	n := 0
	for _, rows := range m.waiting {
		n += len(rows)
	}
	return n
}

func sorted(matured []Matured) []Matured {
	Sort(matured)
	return matured
}

// Sort brings examples into the order of their moments, and those of one moment into that of the customers.
func Sort(matured []Matured) {
	slices.SortStableFunc(matured, func(a, b Matured) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Customer, b.Customer))
	})
}
