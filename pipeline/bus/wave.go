package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNoAnswer is returned by Wave.Wait when the broker has not confirmed every message in time: some may be
// stored and some not.
var ErrNoAnswer = errors.New("broker did not confirm in time")

// AckTimeout is how long a wave waits for the broker's next confirmation. Where the broker has lost one of its nodes, or the
// connection, since the round began, a second without any is enough.
const AckTimeout = 10 * time.Second

// Wave publishes many messages and waits once for all confirmations (group commit): one inbox and one
// counter instead of a future per message. One goroutine publishes and waits; confirmations may come from
// another. After Wait it is ready for the next round. Close it when done.
//
// Publish keeps each message's answer. Send only counts them: its messages share a reply subject, which the broker finds in
// its caches, where it has to search for each one's own.
type Wave struct {
	conn      *nats.Conn
	sub       *nats.Subscription
	elections *nats.Subscription
	prefix    string
	timeout   time.Duration
	closed    chan struct{} // no more confirmations will come

	mu       sync.Mutex
	round    uint64 // late confirmations of an abandoned round are ignored
	sent     int
	received int
	acks     []Ack    // of what was published
	shared   string   // the reply subject of what was sent
	refused  error    // the first refusal of any of that
	newest   []stored // the latest of that, by stream
	places   []uint64 // and where each was stored, as the answers came
	doubt    doubt    // whether the rest will be answered
	wake     chan struct{}
}

// stored is a place in a stream.
type stored struct {
	stream   string
	sequence uint64
}

// NewWave prepares a wave on the connection, which stays the caller's.
func NewWave(conn *nats.Conn) (*Wave, error) {
	w := &Wave{
		conn: conn, prefix: conn.NewInbox() + ".", timeout: AckTimeout,
		closed: make(chan struct{}), wake: make(chan struct{}, 1), doubt: doubt{conn: conn},
	}
	w.begin(0) // before an election can be told
	sub, err := conn.Subscribe(w.prefix+"*.*", w.take)
	if err != nil {
		return nil, fmt.Errorf("subscribe for confirmations: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("subscribe for confirmations: %w", err)
	}
	sub.SetClosedHandler(func(string) { close(w.closed) }) // called once, after the last confirmation was taken
	w.sub = sub
	if w.elections, err = conn.Subscribe(elections+"*", w.elected); err != nil {
		w.Close()
		return nil, fmt.Errorf("subscribe to elections: %w", err)
	}
	return w, nil
}

// Publish sends one message and returns its index in this round; it does not wait. What could not be sent has
// its error as its answer too, so the round can still be waited for.
func (w *Wave) Publish(m *nats.Msg) (int, error) {
	w.mu.Lock()
	index, round := len(w.acks), w.round
	w.sending()
	w.acks = append(w.acks, Ack{Err: ErrNoAnswer})
	w.mu.Unlock()
	m.Reply = w.replies(round, strconv.Itoa(index))
	if err := w.conn.PublishMsg(m); err != nil {
		err = fmt.Errorf("publish to %s: %w", m.Subject, err)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.answer(index, Ack{Err: err})
		return index, err
	}
	return index, nil
}

// Send sends one message that needs no answer of its own: whether it was stored is in Wait's error. It may be used again
// once Send has returned. What could not be sent is not waited for.
func (w *Wave) Send(m *nats.Msg) error {
	w.mu.Lock()
	w.sending()
	m.Reply = w.shared
	w.mu.Unlock()
	if err := w.conn.PublishMsg(m); err != nil {
		err = fmt.Errorf("publish to %s: %w", m.Subject, err)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.count(Ack{Err: err}, nil)
		return err
	}
	return nil
}

// Wait returns the broker's answer to each published message of the round, by index, and begins the next round. Its
// error is the first refusal, ErrNoAnswer or the context's error; the answers are valid in any case. Of what was sent
// the error is all that is known. ErrNoAnswer is also for a round that may have come to the broker out of order.
func (w *Wave) Wait(ctx context.Context) ([]Ack, error) {
	err := w.wait(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = w.ordered()
	}
	acks, refused := w.acks, w.refused
	w.begin(w.round + 1)
	if err != nil {
		return acks, err
	}
	for i := range acks {
		if acks[i].Err != nil {
			return acks, acks[i].Err
		}
	}
	return acks, refused
}

// WaitStored is Wait for a round of which everything was sent, to one stream: it returns the sequence of each message, in
// the order in which they were sent. After an error it is unknown what was stored.
func (w *Wave) WaitStored(ctx context.Context) ([]uint64, error) {
	err := w.wait(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		err = w.ordered()
	}
	sent, streams, places := w.sent, len(w.newest), slices.Clone(w.places)
	err = errors.Join(err, w.refused)
	w.begin(w.round + 1)
	if err == nil && (len(places) != sent || streams > 1) {
		err = fmt.Errorf("%d messages to %d streams have %d places: want all sent to one, and no repeats", sent, streams, len(places))
	}
	if err != nil {
		return nil, err
	}
	return places, nil
}

// wait returns once all of the round is answered, or won't be. What counts is silence, however much there is to confirm.
func (w *Wave) wait(ctx context.Context) error {
	interval := min(look, w.timeout)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var silent time.Duration
	confirmed, doubted := 0, false
	for !w.complete() {
		select {
		case <-w.wake:
		case <-ticker.C:
			now, why := w.progress()
			if now > confirmed {
				confirmed, silent, doubted = now, 0, false
				continue
			}
			if why != nil && doubted {
				return fmt.Errorf("%w: %w", ErrNoAnswer, why)
			}
			doubted = why != nil
			if silent += interval; silent >= w.timeout {
				return fmt.Errorf("%w (%s)", ErrNoAnswer, w.timeout)
			}
		case <-w.closed:
			if w.complete() {
				continue
			}
			return fmt.Errorf("%w: the wave or its connection was closed", ErrNoAnswer)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ordered is nil where the broker had a round in its order. On a connection that was made anew meanwhile, to another node of a
// cluster, what was sent later may have overtaken what went before, and a receiver that counts on the order takes that for a
// repeat: the whole round is to be sent again. The lock is held.
func (w *Wave) ordered() error {
	if w.sent < 2 || !w.doubt.reconnected() {
		return nil
	}
	err := fmt.Errorf("%w: in its order, %w", ErrNoAnswer, errReconnected)
	for i := range w.acks {
		if w.acks[i].Err == nil {
			w.acks[i].Err = err
		}
	}
	return err
}

// Pending is the number of messages published in this round: the index of the next.
func (w *Wave) Pending() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// Close ends the subscription, and a Wait under way. What is still unconfirmed stays unknown. Closing twice is fine.
func (w *Wave) Close() {
	for _, sub := range []*nats.Subscription{w.sub, w.elections} {
		_ = sub.Unsubscribe() // fails only when the connection is gone, and then it is ended too, or when it never was
	}
}

func (w *Wave) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received >= w.sent
}

// progress is how many of the round are answered, and why the rest may never be; nil: nothing speaks against it.
func (w *Wave) progress() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received, w.doubt.reason()
}

// elected is told of an election: what has gone out before may be lost.
func (w *Wave) elected(m *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.received < w.sent {
		w.doubt.elected(m)
	}
}

// sending counts a message that is about to be sent. The lock is held.
func (w *Wave) sending() {
	if w.sent == 0 {
		w.doubt.begin()
	}
	w.sent++
}

// begin begins a round; the lock is held, or nobody else has the wave.
func (w *Wave) begin(round uint64) {
	w.round, w.sent, w.received, w.acks = round, 0, 0, nil
	w.shared, w.refused, w.newest, w.places = w.replies(round, sharedPlace), nil, w.newest[:0], w.places[:0]
}

// replies is where the answer to a message is expected: late ones of an abandoned round are told by its number.
func (w *Wave) replies(round uint64, place string) string {
	return w.prefix + strconv.FormatUint(round, 10) + "." + place
}

// sharedPlace is the place of all that was sent.
const sharedPlace = "all"

func (w *Wave) take(m *nats.Msg) {
	ack, stream := parseAck(m)
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.Subject == w.shared {
		w.count(ack, stream)
		return
	}
	round, place, _ := strings.Cut(m.Subject[len(w.prefix):], ".")
	r, err1 := strconv.ParseUint(round, 10, 64)
	index, err2 := strconv.Atoi(place)
	if err1 == nil && err2 == nil && r == w.round {
		w.answer(index, ack)
	}
}

// answer notes what became of a published message, once. The lock is held.
func (w *Wave) answer(index int, ack Ack) {
	if index < 0 || index >= len(w.acks) || !errors.Is(w.acks[index].Err, ErrNoAnswer) {
		return
	}
	w.acks[index] = ack
	w.receive()
}

// count notes what became of one of the sent messages. The lock is held.
func (w *Wave) count(ack Ack, stream []byte) {
	if ack.Err == nil && !ack.Duplicate {
		if !w.rises(stream, ack.Sequence) {
			return // a second answer to the same message must not stand for one that has none
		}
		w.places = append(w.places, ack.Sequence)
	}
	if w.refused == nil {
		w.refused = ack.Err
	}
	w.receive()
}

// rises tells whether a message is the newest in its stream: a stream stores what one connection sends in its order.
func (w *Wave) rises(stream []byte, sequence uint64) bool {
	for i := range w.newest {
		if n := &w.newest[i]; n.stream == string(stream) {
			risen := sequence > n.sequence
			n.sequence = max(n.sequence, sequence)
			return risen
		}
	}
	w.newest = append(w.newest, stored{string(stream), sequence})
	return sequence > 0
}

func (w *Wave) receive() {
	w.received++
	if w.received >= w.sent {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
