package deliver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

const (
	// stopGrace is how long a mail that is being sent when the session ends may take to get its answer.
	stopGrace = 10 * time.Second
	// noteWithin is how long storing a record may take, also when the process is being stopped.
	noteWithin = 10 * time.Second
	// batchSize is how many deliveries are begun at a time, and how many of those that wait are tried again at a time.
	batchSize = 16
)

// session holds the destination's queue. It begins all deliveries of a batch at once, of which as many are sent
// at the same time as the stage allows; the handler waits for each in turn.
type session struct {
	*bus.WaveSession
	stage   *Stage
	sending chan struct{} // one token for each mail being sent

	ended context.Context // nothing new begins after it
	end   context.CancelFunc
	mu    sync.Mutex // between a beginning and the end
	work  sync.WaitGroup

	queue     jetstream.Stream
	batch     []uint64 // where in the queue is what was begun last
	places    []*place // of what waits, in the queue's order
	deletable []uint64 // what is done, but lies behind what waits
}

// assignment is one message of the queue on its way to an end.
type assignment struct {
	delivery  pipeline.Delivery
	unusable  error     // why it is no delivery
	waits     bool      // it is to be tried again,
	notBefore time.Time // no earlier than this

	done     chan struct{} // closed when the work that was begun on it is over; nil: none was
	err      error         // why that came to no end
	record   Record
	unstored bool   // the record has an end that could not be stored yet
	sent     bool   // which is what a destination said
	unsent   string // the token of the attempt that may be stored although nothing was sent; empty: none
}

func (s *Stage) open(ctx context.Context, _ string) (bus.Session, error) {
	queue, err := bus.LookUpStream(ctx, s.config.JetStream, topology.Outbox)
	if err != nil {
		return nil, fmt.Errorf("deliver: look up stream %s: %w", topology.Outbox, err)
	}
	wave, err := bus.NewWave(s.config.JetStream.Conn())
	if err != nil {
		return nil, err
	}
	o := &session{WaveSession: bus.NewWaveSession(wave), stage: s, sending: make(chan struct{}, s.config.Concurrency), queue: queue}
	o.ended, o.end = context.WithCancel(ctx)
	return o, nil
}

// Begin begins deliveries, after those that wait are tended. Of two messages with the same decision the second waits for
// its turn: by then the first has the outcome.
func (o *session) Begin(ctx context.Context, batch []bus.Delivery) ([]any, error) {
	if err := o.makeRoom(ctx); err != nil {
		return nil, err
	}
	o.batch = o.batch[:0]
	values := make([]any, len(batch))
	begun := map[string]bool{}
	for i, d := range batch {
		o.batch = append(o.batch, d.Sequence)
		a := &assignment{}
		values[i] = a
		if a.unusable = a.read(d.Data); a.unusable != nil {
			continue
		}
		switch decision := a.delivery.Decision; {
		case o.inHand(decision):
			a.waits, a.notBefore = true, o.stage.config.Now().Add(pauseInHand)
		case !begun[decision]:
			begun[decision] = true
			o.begin(a)
		}
	}
	return values, nil
}

// read says why a message is no delivery.
func (a *assignment) read(data []byte) error {
	if err := json.Unmarshal(data, &a.delivery); err != nil {
		return fmt.Errorf("no delivery: %w", err)
	}
	if !isDecision(a.delivery.Decision) {
		return errors.New("no delivery: want JSON with the id of a decision")
	}
	return nil
}

// begin works on an assignment in the background, unless the session is over.
func (o *session) begin(a *assignment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a.done = make(chan struct{})
	if a.err = o.ended.Err(); a.err != nil {
		close(a.done)
		return
	}
	o.work.Go(func() {
		defer close(a.done)
		defer func() {
			if r := recover(); r != nil {
				a.err = o.stage.panicked(a.delivery.Decision)
			}
		}()
		a.err = o.carryOut(o.ended, a)
	})
}

// finish waits for the end of an assignment. After an error the next call tries again.
func (o *session) finish(ctx context.Context, a *assignment) error {
	if a.done == nil {
		o.begin(a)
	}
	select {
	case <-a.done:
		a.done = nil
		return a.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// carryOut brings a delivery to its end, or makes it wait.
func (o *session) carryOut(ctx context.Context, a *assignment) error {
	s, d := o.stage, &a.delivery
	a.waits = false
	record, err := s.records.find(ctx, d.Decision)
	if err != nil {
		return err
	}
	if err := s.config.faults.at(recordRead); err != nil {
		return err
	}
	if record.ended() {
		a.record = record
		return nil
	}
	if a.unstored && (a.sent || a.record.revision == record.revision) {
		a.record.revision = record.revision
		return s.store(ctx, a)
	}
	if record.State == waiting && record.NotBefore.After(s.config.Now()) {
		a.waits, a.notBefore = true, record.NotBefore
		return nil
	}
	a.record, a.unstored, a.sent = record, false, false // an end that was decided by what another one has changed since is none
	if record.State == attempting && (a.unsent == "" || record.Token != a.unsent) && s.config.AfterCrash == Hold {
		return s.close(ctx, a, Unknown, "interrupted", "")
	}
	for inPlace := 1; ; inPlace++ {
		p, err := s.prepare(ctx, d)
		if err != nil {
			return err
		}
		if p.reason != "" {
			return s.close(ctx, a, Dropped, p.reason, "")
		}
		failed, err := o.attempt(ctx, a, &p)
		if err != nil || failed == nil {
			return err
		}
		wait := a.record.NotBefore.Sub(s.config.Now())
		if inPlace == attemptsInPlace || wait > pauseInPlace {
			a.waits, a.notBefore = true, a.record.NotBefore
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// attempt sends the mail once and notes what became of it; failed is why it is to be tried again.
func (o *session) attempt(ctx context.Context, a *assignment, p *prepared) (failed, err error) {
	select {
	case o.sending <- struct{}{}:
		defer func() { <-o.sending }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	s, d := o.stage, &a.delivery
	a.record.State, a.record.At, a.record.NotBefore = attempting, s.config.Now().UTC(), time.Time{}
	a.record.Attempt++
	if a.unsent == "" { // the one before may still come to be stored
		a.unsent = rand.Text()
	}
	a.record.Token = a.unsent
	if err := s.note(ctx, a); err != nil { // from here on a stop waits: half an attempt would be held
		return nil, err
	}
	if err := s.config.faults.at(recordCreated); err != nil {
		return nil, err
	}
	a.unsent, a.sent = "", true
	receipt, failed := s.send(ctx, p.mail)
	if err := s.config.faults.at(mailSent); err != nil {
		return nil, err
	}
	response := receipt.Response
	if failed != nil {
		response = failed.Error()
	}
	response = discreet(response, p.entry)
	var refused *pipeline.Refused
	var unknown *pipeline.Unknown
	switch {
	case failed == nil:
		return nil, s.close(ctx, a, Accepted, "", response)
	case errors.As(failed, &refused):
		return nil, s.close(ctx, a, Bounced, "refused", response)
	case errors.Is(failed, errPanicked) && s.config.AfterCrash == Hold:
		return nil, s.close(ctx, a, Unknown, "interrupted", "")
	case errors.As(failed, &unknown) && s.config.AfterCrash == Hold:
		return nil, s.close(ctx, a, Unknown, "connection_lost", response)
	}
	s.config.Log.Warn("delivery failed for the moment", "decision", d.Decision, "destination", d.Destination, "attempt", a.record.Attempt, "error", response)
	wait := s.config.Pause(a.record.Attempt)
	if delayed := (*pipeline.Delayed)(nil); errors.As(failed, &delayed) {
		wait = max(wait, delayed.After)
	}
	a.record.State, a.record.Response, a.record.At = waiting, response, s.config.Now().UTC()
	a.record.NotBefore = a.record.At.Add(wait)
	a.unsent, a.sent = a.record.Token, false // should the next line fail, nothing was sent all the same
	if err := s.note(ctx, a); err != nil {
		return nil, err
	}
	a.unsent = ""
	return failed, nil
}

// send sends the mail; a stop lets it get its answer. A sender that panics must not hold up the mails behind.
func (s *Stage) send(ctx context.Context, mail pipeline.Mail) (_ pipeline.Receipt, err error) {
	ctx, done := outlasting(ctx, stopGrace)
	defer done()
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked(mail.ID)
		}
	}()
	return s.config.Sender.Send(ctx, mail)
}

// errPanicked is how an attempt ended that ran into a defect: nobody knows how far it came.
var errPanicked = errors.New("the delivery panicked")

// panicked tells the log where, without the panic's words: they may hold anything.
func (s *Stage) panicked(decision string) error {
	s.config.Log.Error("delivery panicked", "decision", decision, "stack", string(debug.Stack()))
	return errPanicked
}

// close gives the delivery its end.
func (s *Stage) close(ctx context.Context, a *assignment, outcome Outcome, reason, response string) error {
	a.record.State, a.record.Reason, a.record.Response, a.record.At = outcome, reason, response, s.config.Now().UTC()
	a.record.NotBefore = time.Time{}
	a.unstored = true
	return s.store(ctx, a)
}

// note stores the record, also while the process is being stopped.
func (s *Stage) note(ctx context.Context, a *assignment) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWithin)
	defer cancel()
	return s.records.store(ctx, a.delivery.Decision, &a.record)
}

// store stores the end.
func (s *Stage) store(ctx context.Context, a *assignment) error {
	d := &a.delivery
	if err := s.note(ctx, a); err != nil {
		return err
	}
	a.unstored = false
	s.config.Metrics.outcomes.WithLabelValues(s.config.Destination, string(a.record.State), a.record.Reason).Inc()
	s.config.Log.Debug("delivery ended", "decision", d.Decision, "campaign", d.Campaign, "destination", d.Destination,
		"outcome", a.record.State, "reason", a.record.Reason, "attempt", a.record.Attempt, "trace", d.Trace)
	return s.config.faults.at(outcomeStored)
}

// Commit waits until RAW has the ends, then acknowledges the deliveries.
func (o *session) Commit(ctx context.Context, last uint64, ack func() error) error {
	faults := o.stage.config.faults
	if err := faults.at(feedbackSent); err != nil {
		return err
	}
	err := o.WaveSession.Commit(ctx, last, func() error {
		if err := faults.at(feedbackConfirmed); err != nil {
			return err
		}
		return ack()
	})
	if err != nil {
		return err
	}
	if err := faults.at(deliveryAcked); err != nil {
		return err
	}
	o.done(ctx, o.batch)
	return nil
}

// Close lets mails that are being sent get their answer, begins no other, and lets go of the queue.
func (o *session) Close() {
	o.mu.Lock()
	o.end()
	o.mu.Unlock()
	o.work.Wait()
	o.WaveSession.Close()
}

// outlasting is a context that ends some time after the given one.
func outlasting(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}

// isDecision tells whether text can be a decision's id: it names a key.
func isDecision(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return s != ""
}
