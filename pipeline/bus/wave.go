package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoAnswer is returned by Wave.Wait when the broker has not confirmed every message in time: some may be
// stored and some not.
var ErrNoAnswer = errors.New("broker did not confirm in time")

// AckTimeout is how long a wave waits for the broker's next confirmation.
const AckTimeout = 10 * time.Second

// Wave publishes many messages and waits once for all confirmations (group commit): one inbox and one
// counter instead of a future per message. One goroutine publishes and waits; confirmations may come from
// another. After Wait it is ready for the next round. Close it when done.
type Wave struct {
	conn    *nats.Conn
	sub     *nats.Subscription
	prefix  string
	timeout time.Duration
	closed  chan struct{} // no more confirmations will come

	mu       sync.Mutex
	round    uint64 // late confirmations of an abandoned round are ignored
	sent     int
	received int
	acks     []Ack
	wake     chan struct{}
}

// Ack is the broker's answer to one message of a wave.
type Ack struct {
	Sequence  uint64 // where it was stored
	Duplicate bool   // it was known by its Nats-Msg-Id
	Err       error  // why it was refused; a *jetstream.APIError where the broker said so
}

// NewWave prepares a wave on the connection, which stays the caller's.
func NewWave(conn *nats.Conn) (*Wave, error) {
	w := &Wave{
		conn: conn, prefix: conn.NewInbox() + ".", timeout: AckTimeout,
		closed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	sub, err := conn.Subscribe(w.prefix+"*.*", w.take)
	if err != nil {
		return nil, fmt.Errorf("subscribe for confirmations: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("subscribe for confirmations: %w", err)
	}
	sub.SetClosedHandler(func(string) { close(w.closed) }) // called once, after the last confirmation was taken
	w.sub = sub
	return w, nil
}

// Publish sends one message and returns its index in this round; it does not wait. What could not be sent has
// its error as its answer too, so the round can still be waited for.
func (w *Wave) Publish(m *nats.Msg) (int, error) {
	w.mu.Lock()
	index, round := w.sent, w.round
	w.sent++
	w.acks = append(w.acks, Ack{Err: ErrNoAnswer})
	w.mu.Unlock()
	m.Reply = w.prefix + strconv.FormatUint(round, 10) + "." + strconv.Itoa(index)
	if err := w.conn.PublishMsg(m); err != nil {
		err = fmt.Errorf("publish to %s: %w", m.Subject, err)
		w.answer(round, index, Ack{Err: err})
		return index, err
	}
	return index, nil
}

// Wait returns the broker's answer to each message of the round, by index, and begins the next round. Its
// error is the first refusal, ErrNoAnswer or the context's error; the answers are valid in any case.
func (w *Wave) Wait(ctx context.Context) ([]Ack, error) {
	timer := time.NewTimer(w.timeout)
	defer timer.Stop()
	confirmed := 0
	for !w.complete() {
		select {
		case <-w.wake:
		case <-timer.C:
			if now := w.confirmed(); now > confirmed { // it goes on: what counts is silence, however much there is
				confirmed = now
				timer.Reset(w.timeout)
				continue
			}
			return w.end(), fmt.Errorf("%w (%s)", ErrNoAnswer, w.timeout)
		case <-w.closed:
			if w.complete() {
				continue
			}
			return w.end(), fmt.Errorf("%w: the wave or its connection was closed", ErrNoAnswer)
		case <-ctx.Done():
			return w.end(), ctx.Err()
		}
	}
	acks := w.end()
	for i := range acks {
		if acks[i].Err != nil {
			return acks, acks[i].Err
		}
	}
	return acks, nil
}

// Pending is the number of messages published in this round.
func (w *Wave) Pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// Close ends the subscription, and a Wait under way. What is still unconfirmed stays unknown. Closing twice is fine.
func (w *Wave) Close() {
	_ = w.sub.Unsubscribe() // fails only when the connection is gone, and then it is ended too
}

func (w *Wave) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received >= w.sent
}

// confirmed is how many of the round are answered.
func (w *Wave) confirmed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received
}

func (w *Wave) end() []Ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	acks := w.acks
	w.round, w.sent, w.received, w.acks = w.round+1, 0, 0, nil
	return acks
}

func (w *Wave) take(m *nats.Msg) {
	round, index, ok := strings.Cut(m.Subject[len(w.prefix):], ".")
	if !ok {
		return
	}
	r, err1 := strconv.ParseUint(round, 10, 64)
	i, err2 := strconv.Atoi(index)
	if err1 != nil || err2 != nil {
		return
	}
	w.answer(r, i, parseAck(m))
}

// answer notes what became of a message, once.
func (w *Wave) answer(round uint64, index int, ack Ack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if round != w.round || index < 0 || index >= len(w.acks) || !errors.Is(w.acks[index].Err, ErrNoAnswer) {
		return
	}
	w.acks[index] = ack
	w.received++
	if w.received >= w.sent {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func parseAck(m *nats.Msg) Ack {
	if m.Header.Get("Status") == "503" {
		return Ack{Err: jetstream.ErrNoStreamResponse}
	}
	if sequence, ok := plainAck(m.Data); ok {
		return Ack{Sequence: sequence}
	}
	var answer struct {
		Sequence  uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return Ack{Err: fmt.Errorf("confirmation %q: %w", m.Data, err)}
	}
	if answer.Error != nil {
		return Ack{Err: answer.Error}
	}
	return Ack{Sequence: answer.Sequence, Duplicate: answer.Duplicate}
}

// plainAck reads the answer as the broker writes it when all is well, {"stream":"EVENTS","seq":17}: most of them,
// without the cost of a JSON decoder.
func plainAck(data []byte) (sequence uint64, ok bool) {
	if !bytes.HasPrefix(data, []byte(`{"stream":"`)) {
		return 0, false
	}
	_, digits, found := bytes.Cut(data, []byte(`","seq":`))
	digits, closed := bytes.CutSuffix(digits, []byte("}"))
	if !found || !closed {
		return 0, false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	return sequence, err == nil
}

// IsConflict tells whether the broker refused a message because its subject had changed: someone else wrote.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == codeWrongLastSequenceConstant)
}

// codeWrongLastSequenceConstant is the clustered server's code for the same refusal.
const codeWrongLastSequenceConstant jetstream.ErrorCode = 10164
