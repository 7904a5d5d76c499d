package pipeline

import (
	"errors"
	"fmt"
	"time"
)

// Errors are instructions: a stage or a sink says what to do about its failure, and only the runner does it.
// An error that carries no instruction is retried with growing pauses, in place, so that order is kept.

// Parked is the instruction to put a record into the dead-letter stream with its reason and go on.
type Parked struct {
	Reason string // one of a small fixed set per stage, snake_case: it labels a metric
	Err    error
}

func (p *Parked) Error() string { return fmt.Sprintf("parked (%s): %v", p.Reason, p.Err) }
func (p *Parked) Unwrap() error { return p.Err }

// Park asks the runner to move the record to the dead-letter stream, where `attune deadletter` shows it.
func Park(reason string, err error) error { return &Parked{Reason: reason, Err: err} }

// Refused is the final no of a destination: trying again can't help.
type Refused struct{ Err error }

func (r *Refused) Error() string { return fmt.Sprintf("refused: %v", r.Err) }
func (r *Refused) Unwrap() error { return r.Err }

// Refuse marks a destination's permanent rejection, such as an SMTP 5xx: a bounce, never tried again.
func Refuse(err error) error { return &Refused{Err: err} }

// Unknown says that a destination may or may not have acted: the connection broke after the message was
// handed over and before its reply. The destination's policy decides between resend and hold.
type Unknown struct{ Err error }

func (u *Unknown) Error() string { return fmt.Sprintf("outcome unknown: %v", u.Err) }
func (u *Unknown) Unwrap() error { return u.Err }

// OutcomeUnknown marks a send whose end nobody saw.
func OutcomeUnknown(err error) error { return &Unknown{Err: err} }

// Delayed is the instruction to try again no earlier than after a pause.
type Delayed struct {
	After time.Duration
	Err   error
}

func (d *Delayed) Error() string { return fmt.Sprintf("retry after %s: %v", d.After, d.Err) }
func (d *Delayed) Unwrap() error { return d.Err }

// RetryAfter asks for another attempt after d, such as a provider's Retry-After.
func RetryAfter(d time.Duration, err error) error { return &Delayed{After: d, Err: err} }

// IsParked reports the dead-letter reason of err, if it carries one.
func IsParked(err error) (reason string, ok bool) {
	var p *Parked
	if errors.As(err, &p) {
		return p.Reason, true
	}
	return "", false
}
