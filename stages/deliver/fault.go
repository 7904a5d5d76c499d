package deliver

// point is a place between two steps of a delivery at which the process may die: whoever takes over must come to an
// end that is true, and must not send again what was sent.
type point int

const (
	recordRead        point = iota // nothing is known of the delivery but its record
	recordCreated                  // the record says attempting, nothing is sent
	mailSent                       // the destination has answered, the record does not say so
	outcomeStored                  // the record says how it ended, nobody was told
	feedbackSent                   // the end is on its way to RAW, its confirmation not here
	feedbackConfirmed              // it is confirmed, the delivery not acknowledged
	deliveryAcked                  // the delivery is acknowledged
	laterEndSent                   // of one that has waited: the end is on its way to RAW
	laterEndConfirmed              // it is confirmed, the delivery is still in the queue
	laterEndDeleted                // the delivery is gone from it

	points // how many there are
)

func (p point) String() string {
	return [...]string{
		recordRead: "record read", recordCreated: "record created", mailSent: "mail sent", outcomeStored: "outcome stored",
		feedbackSent: "feedback sent", feedbackConfirmed: "feedback confirmed", deliveryAcked: "delivery acked",
	}[p]
}

// faults is how a test stands at every point: the step after it fails with what it returns. It is nil in
// production, which costs a comparison.
type faults func(point) error

func (f faults) at(p point) error {
	if f == nil {
		return nil
	}
	return f(p)
}
