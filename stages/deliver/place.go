package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

const (
	// maxWaiting is how many deliveries of a queue may wait for another attempt before nothing else is begun.
	maxWaiting = 10_000
	// roomPace is how often it is looked whether fewer wait.
	roomPace = 100 * time.Millisecond
	// pauseInHand is how long an attempt waits that came to no end, or whose decision is being tried at the moment.
	pauseInHand = time.Second
)

// place is where a delivery waits for another attempt: it stays in the queue, which may have no room to put it back. Whoever
// opens the queue reads it from its beginning, so this is known again after a crash.
type place struct {
	sequence  uint64
	decision  string
	notBefore time.Time
	hand      *assignment // that is tried again, or is to be; nil: it has to be read first
}

// rests tells whether nothing is done on it at the moment.
func (p *place) rests() bool { return p.hand == nil || p.hand.done == nil }

// over tells whether what was begun on an assignment is over.
func (a *assignment) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// Start is the queue's beginning: there may be what waits.
func (o *session) Start() uint64 { return 1 }

// Kept is the first of those that wait, which must stay in the queue though it is acknowledged; 0: none does.
func (o *session) Kept() uint64 {
	if len(o.places) == 0 {
		return 0
	}
	return o.places[0].sequence
}

// wait leaves a delivery where it is, to come back to it.
func (o *session) wait(sequence uint64, a *assignment) {
	o.places = append(o.places, &place{sequence: sequence, decision: a.delivery.Decision, notBefore: a.notBefore})
	o.stage.config.Log.Debug("delivery waits", "decision", a.delivery.Decision, "destination", a.delivery.Destination, "not_before", a.notBefore)
}

// inHand tells whether a decision is being tried again at the moment.
func (o *session) inHand(decision string) bool {
	return slices.ContainsFunc(o.places, func(p *place) bool { return !p.rests() && p.decision == decision })
}

// Idle tends what waits while nothing new comes.
func (o *session) Idle(ctx context.Context) error { return o.tend(ctx) }

// makeRoom tends what waits until not too many do: a destination that takes hardly anything gets nothing new.
func (o *session) makeRoom(ctx context.Context) error {
	for {
		if err := o.tend(ctx); err != nil || len(o.places) < maxWaiting {
			return err
		}
		select {
		case <-time.After(roomPace):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tend states the ends that were come to meanwhile, and tries again what is due. It waits for no attempt.
func (o *session) tend(ctx context.Context) error {
	if err := o.settle(ctx); err != nil {
		return err
	}
	now, inHand := o.stage.config.Now(), 0
	for _, p := range o.places {
		if !p.rests() {
			inHand++
		}
	}
	for _, p := range slices.Clone(o.places) {
		if inHand == batchSize {
			break
		}
		if !p.rests() || p.notBefore.After(now) || o.inHand(p.decision) {
			continue
		}
		if err := o.tryAgain(ctx, p); err != nil {
			return err
		}
		inHand++
	}
	o.erase(ctx)
	return nil
}

// tryAgain begins another attempt. The leader is asked for the delivery: one that a replica does not have yet would pass for
// one that another worker is done with.
func (o *session) tryAgain(ctx context.Context, p *place) error {
	if p.hand == nil {
		data, found, err := bus.MessageAtLeader(ctx, o.stage.config.JetStream.Conn(), topology.Outbox, p.sequence)
		if err != nil {
			return fmt.Errorf("deliver: read delivery %s again: %w", p.decision, err)
		}
		a := &assignment{}
		if !found || a.read(data) != nil {
			o.forget(p)
			return nil
		}
		p.hand = a
	}
	o.begin(p.hand)
	return nil
}

// settle looks at the attempts that are over, and tells RAW of the ends.
func (o *session) settle(ctx context.Context) error {
	var ended []*place
	for _, p := range o.places {
		if p.rests() || !p.hand.over() {
			continue
		}
		a := p.hand
		a.done = nil
		switch {
		case a.err != nil:
			o.stage.config.Log.Warn("delivery failed, trying again", "decision", p.decision, "destination", a.delivery.Destination, "error", a.err)
			p.notBefore = o.stage.config.Now().Add(pauseInHand)
		case a.waits:
			p.notBefore, p.hand = a.notBefore, nil
		default:
			ended = append(ended, p)
			if err := o.tell(a); err != nil {
				return err
			}
		}
	}
	if len(ended) == 0 {
		return nil
	}
	faults := o.stage.config.faults
	if err := faults.at(laterEndSent); err != nil {
		return err
	}
	if _, err := o.Wave().Wait(ctx); err != nil {
		return err
	}
	if err := faults.at(laterEndConfirmed); err != nil {
		return err
	}
	for _, p := range ended {
		o.deletable = append(o.deletable, p.sequence)
		o.forget(p)
	}
	o.erase(ctx)
	return faults.at(laterEndDeleted)
}

// tell sends the end to RAW with the session's wave.
func (o *session) tell(a *assignment) error {
	payload, err := a.feedback()
	if err != nil || payload == nil {
		return err
	}
	m := nats.NewMsg(a.feedbackSubject())
	m.Data = payload
	if a.delivery.Trace != "" {
		m.Header.Set(event.HeaderTrace, a.delivery.Trace)
	}
	_, err = o.Wave().Publish(m)
	return err
}

func (o *session) forget(p *place) {
	o.places = slices.DeleteFunc(o.places, func(q *place) bool { return q == p })
}

// done notes what was acknowledged and does not wait. What lies before all that waits is purged; the rest is deleted here.
func (o *session) done(ctx context.Context, sequences []uint64) {
	kept := o.Kept()
	if kept == 0 {
		return
	}
	for _, sequence := range sequences {
		_, waits := slices.BinarySearchFunc(o.places, sequence, func(p *place, s uint64) int { return cmp.Compare(p.sequence, s) })
		if sequence > kept && !waits {
			o.deletable = append(o.deletable, sequence)
		}
	}
	o.erase(ctx)
}

// erase deletes what is done. What can't be deleted now is tried again; should nobody come to that, its record tells its end.
func (o *session) erase(ctx context.Context) {
	left := make([]bool, len(o.deletable))
	var work sync.WaitGroup
	for i, sequence := range o.deletable {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, bus.Patience)
			defer cancel()
			if err := o.queue.DeleteMsg(ctx, sequence); err != nil && !isGone(err) {
				left[i] = true
				o.stage.config.Log.Debug("delete what is done", "sequence", sequence, "error", err)
			}
		})
	}
	work.Wait()
	n := 0
	for i, sequence := range o.deletable {
		if left[i] {
			o.deletable[n] = sequence
			n++
		}
	}
	o.deletable = o.deletable[:n]
}

// isGone tells whether the broker did not find the message that it was to delete.
func isGone(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == codeNotFound || api.ErrorCode == codeNotDeleted)
}

// What the broker says of a message that is not there.
const (
	codeNotFound   jetstream.ErrorCode = 10043
	codeNotDeleted jetstream.ErrorCode = 10057
)
