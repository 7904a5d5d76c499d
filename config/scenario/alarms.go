package scenario

import (
	"cmp"
	"container/heap"

	"attune/pipeline/event"
)

// alarms are the customers' armed wake-ups by time. One that is armed anew stays beside its successor and is passed over.
type alarms []alarm

type alarm struct {
	at  event.Instant
	who *customer
}

func (a alarms) Len() int      { return len(a) }
func (a alarms) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a alarms) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(a[i].at, a[j].at), cmp.Compare(a[i].who.order, a[j].who.order)) < 0
}
func (a *alarms) Push(x any) { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// set takes up a customer's wake-up.
func (a *alarms) set(c *customer) { heap.Push(a, alarm{c.wake, c}) }

// next takes out the customer with the earliest wake-up up to an instant; nil: there is none.
func (a *alarms) next(to event.Instant) *customer {
	for len(*a) > 0 && (*a)[0].at <= to {
		if first := heap.Pop(a).(alarm); first.who.wake == first.at {
			return first.who
		}
	}
	return nil
}
