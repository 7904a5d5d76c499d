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

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

const (
	// stopGrace is how long a mail that is being sent when the session ends may take to get its answer.
	stopGrace = 10 * time.Second
	// noteWithin is how long storing a record may take, also when the process is being stopped.
	noteWithin = 10 * time.Second
	// maxRest is how long the queue rests when all in it waits for a later attempt.
	maxRest = time.Second
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

	turn uint64 // the stream's last sequence when the queue rested last
}

// assignment is one message of the queue on its way to an end.
type assignment struct {
	delivery  pipeline.Delivery
	unusable  error     // why it is no delivery
	waits     bool      // it is to go to the end of the queue,
	notBefore time.Time // and to be tried no earlier

	done     chan struct{} // closed when the work that was begun on it is over; nil: none was
	err      error         // why that came to no end
	record   Record
	unstored bool   // the record has an end that could not be stored yet
	sent     bool   // which is what a destination said
	unsent   string // the token of the attempt that may be stored although nothing was sent; empty: none
}

func (s *Stage) open(ctx context.Context, _ string) (bus.Session, error) {
	wave, err := bus.NewWave(s.config.JetStream.Conn())
	if err != nil {
		return nil, err
	}
	o := &session{WaveSession: bus.NewWaveSession(wave), stage: s, sending: make(chan struct{}, s.config.Concurrency)}
	o.ended, o.end = context.WithCancel(ctx)
	return o, nil
}

// Begin begins what is due. Of two messages with the same decision the second waits for its turn: by then the
// first has the outcome.
func (o *session) Begin(ctx context.Context, batch []bus.Delivery) ([]any, error) {
	values := make([]any, len(batch))
	now := o.stage.config.Now()
	begun := map[string]bool{}
	var earliest time.Time // of those that wait
	busy := false
	for i, d := range batch {
		a := &assignment{}
		values[i] = a
		if err := json.Unmarshal(d.Data, &a.delivery); err != nil {
			a.unusable = fmt.Errorf("no delivery: %w", err)
			continue
		}
		if !isDecision(a.delivery.Decision) {
			a.unusable = errors.New("no delivery: want JSON with the id of a decision")
			continue
		}
		if t, err := time.Parse(time.RFC3339Nano, d.Header.Get(notBeforeHeader)); err == nil && t.After(now) {
			a.waits, a.notBefore = true, t
			if earliest.IsZero() || t.Before(earliest) {
				earliest = t
			}
			continue
		}
		busy = true
		if !begun[a.delivery.Decision] {
			begun[a.delivery.Decision] = true
			o.begin(a)
		}
	}
	if busy || earliest.IsZero() {
		return values, nil
	}
	return values, o.rest(ctx, earliest.Sub(now), batch[len(batch)-1].Sequence)
}

// rest lets a queue in which all waits turn slowly: once all that was in it has been looked at, it pauses.
func (o *session) rest(ctx context.Context, earliest time.Duration, last uint64) error {
	if last <= o.turn {
		return nil // not put back since the last rest: behind it there may be what is due
	}
	select {
	case <-time.After(min(earliest, maxRest)):
	case <-ctx.Done():
		return ctx.Err()
	}
	stream, err := bus.LookUpStream(ctx, o.stage.config.JetStream, topology.Outbox)
	if err != nil {
		return fmt.Errorf("deliver: look up stream %s: %w", topology.Outbox, err)
	}
	o.turn = stream.CachedInfo().State.LastSeq
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
			if r := recover(); r != nil { // without r, which may hold anything
				o.stage.config.Log.Error("delivery panicked", "decision", a.delivery.Decision, "stack", string(debug.Stack()))
				a.err = fmt.Errorf("delivery %s panicked", a.delivery.Decision)
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
		wait := s.config.Pause(a.record.Attempt)
		var delayed *pipeline.Delayed
		if errors.As(failed, &delayed) {
			wait = max(wait, delayed.After)
		}
		if inPlace == attemptsInPlace || wait > pauseInPlace {
			a.waits, a.notBefore = true, s.config.Now().Add(wait)
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
	a.record.State, a.record.At = attempting, s.config.Now().UTC()
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
	case errors.As(failed, &unknown) && s.config.AfterCrash == Hold:
		return nil, s.close(ctx, a, Unknown, "connection_lost", response)
	}
	s.config.Log.Warn("delivery failed for the moment", "decision", d.Decision, "destination", d.Destination, "attempt", a.record.Attempt, "error", response)
	a.record.State, a.record.Response, a.record.At = waiting, response, s.config.Now().UTC()
	a.unsent, a.sent = a.record.Token, false // should the next line fail, nothing was sent all the same
	if err := s.note(ctx, a); err != nil {
		return nil, err
	}
	a.unsent = ""
	return failed, nil
}

// send sends the mail; a stop lets it get its answer.
func (s *Stage) send(ctx context.Context, mail pipeline.Mail) (pipeline.Receipt, error) {
	ctx, done := outlasting(ctx, stopGrace)
	defer done()
	return s.config.Sender.Send(ctx, mail)
}

// close gives the delivery its end.
func (s *Stage) close(ctx context.Context, a *assignment, outcome Outcome, reason, response string) error {
	a.record.State, a.record.Reason, a.record.Response, a.record.At = outcome, reason, response, s.config.Now().UTC()
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
	return faults.at(deliveryAcked)
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
