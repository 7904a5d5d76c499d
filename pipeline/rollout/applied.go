package rollout

import "attune/pipeline/event"

// appliedRecords tells, of the log's records in their order, which ones the chain has applied: by partition's subject and
// source, the highest ordinal. A repeat, which a crash leads to, was not.
type appliedRecords map[[2]string]uint64

// has passes a record. What came for a profile that had gone on in another one is told by the chain.
func (a appliedRecords) has(subject string, e *event.Event) bool {
	source := [2]string{subject, e.Source.Name}
	if highest, known := a[source]; known && !e.Source.News(highest) {
		return false
	}
	a[source] = e.Source.Ordinal
	return e.Profile != ""
}
