package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Errors of a pull. After any of them the consumer must be made anew before it is read on.
var (
	// ErrGap is returned when a delivery is missing: another reader's open request took it, or it was lost on its way.
	ErrGap = errors.New("a delivery is missing")
	// ErrRepeat is returned when a message was delivered before: it was not acknowledged for as long as the consumer waits.
	ErrRepeat = errors.New("a message was delivered again")
	// ErrPullLost is returned when the broker sends neither messages nor heartbeats.
	ErrPullLost = errors.New("no heartbeat from the broker")
	// ErrConsumerGone is returned when the consumer was deleted or made anew, its leader changed, or nobody serves it.
	ErrConsumerGone = errors.New("the consumer is gone")
)

const (
	pullHeartbeat = 500 * time.Millisecond
	pullExpiry    = 5 * time.Second
	// lookEvery is how often a puller looks whether somebody else has acknowledged on its consumer.
	lookEvery = 10 * time.Second
	// batchBytes is about how much a reader asks for at a time unless it says otherwise. A broker cuts the connection for which
	// more than its max_pending waits, 64 MB by default, and a worker has a few readers for each partition on one connection.
	batchBytes = 512 << 10
)

// QueueLen is how many messages a connection must hold for a subscription that is read by calls (nats.SyncQueueLen):
// what a Puller's requests and a bucket's answers can bring at most, twice. The client library's default takes half a
// megabyte for each subscription, which its garbage collector goes through again and again.
const QueueLen = 4096

// Delivery is one message of a stream as a consumer delivered it.
type Delivery struct {
	Subject  string
	Data     []byte
	Header   nats.Header
	Sequence uint64    // in the stream: the log position
	Stored   time.Time // the broker's timestamp
	reply    string
}

// Puller reads one consumer in order with its own request accounting: it knows exactly what each open request
// still owes, and that each delivery follows the one before. One goroutine uses it; no goroutine inside.
//
// The client library's Consume can lose a pull request when its goroutine is descheduled between sending it
// and noting it; requests and answers are handled by the same goroutine here, so that cannot happen.
type Puller struct {
	conn     *nats.Conn
	sub      *nats.Subscription
	inbox    string
	subject  string
	body     string // of a request, with a place for the number of messages
	batch    int
	bytes    int     // about as much as a batch should have
	size     float64 // of a message: the recent ones' mean, at first with one among them that is as large as can be
	open     int     // messages that open requests may still bring
	requests int     // ever sent: each has its own reply subject
	last     uint64  // consumer sequence of the last delivery
	at       uint64  // its stream sequence
	heard    time.Time
	// acked is how many deliveries the broker takes to be acknowledged; nil: nobody else can acknowledge any.
	acked  func(context.Context) (uint64, error)
	looked time.Time
}

// NewPuller prepares to read a consumer that was just made, and whose name nobody else knows. Batch is the number of
// messages asked for at a time, at most; of large ones about half a megabyte is asked for, by the size of the latest.
// Twice that may be on its way.
func NewPuller(conn *nats.Conn, stream, consumer string, batch int) (*Puller, error) {
	return newPuller(conn, stream, consumer, batch, batchBytes, "")
}

// newPuller names the priority group that the consumer is for; empty: it has none.
func newPuller(conn *nats.Conn, stream, consumer string, batch, bytes int, group string) (*Puller, error) {
	p := &Puller{
		conn: conn, inbox: conn.NewInbox(), batch: batch, bytes: bytes, size: float64(min(bytes, int(conn.MaxPayload()))), heard: time.Now(), looked: time.Now(),
		subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer,
		body:    fmt.Sprintf(`{"batch":%%d,"expires":%d,"idle_heartbeat":%d,"group":%q}`, pullExpiry, pullHeartbeat, group),
	}
	sub, err := conn.SubscribeSync(p.inbox + ".*")
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", consumer, err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("pull %s: %w", consumer, err)
	}
	p.sub = sub
	return p, nil
}

// Batch is how many messages are asked for at a time now. The broker could count bytes instead, but does not say so when
// a request ends with its last one.
func (p *Puller) Batch() int {
	return max(1, int(min(float64(p.batch), float64(p.bytes)/p.size))) // size is 0 where messages are empty
}

// Next waits for a message and returns what is there then, at most limit messages. It never waits for more.
func (p *Puller) Next(ctx context.Context, limit int) ([]Delivery, error) {
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	var got []Delivery
	for len(got) < limit {
		if err := p.request(); err != nil {
			return nil, err
		}
		m, err := p.receive(ctx, len(got) > 0)
		if err != nil && ctx.Err() != nil && len(got) > 0 {
			return got, nil // what was taken must not be lost
		}
		if errors.Is(err, errNoMore) {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		d, err := p.accept(m)
		if err != nil {
			return nil, err
		}
		if got == nil {
			waiting, _, _ := p.sub.Pending() // statuses among them; an error shows at the next one
			got = make([]Delivery, 0, min(limit, 1+waiting))
		}
		got = append(got, d)
	}
	return got, nil
}

// look notices a former reader's acknowledgement that came late, out of a lost connection's buffer or from a process that
// was stopped: the consumer's name is the same, so the broker takes its delivery number for one of this consumer's, and
// would ignore all of ours below it. What the former reader acknowledged was done; the consumer is to be made anew.
func (p *Puller) look(ctx context.Context) error {
	if p.acked == nil || time.Since(p.looked) < lookEvery {
		return nil
	}
	p.looked = time.Now()
	if acked, err := p.acked(ctx); err == nil && acked > p.last {
		return fmt.Errorf("%w: a former reader has acknowledged up to delivery %d, after %d came", ErrConsumerGone, acked, p.last)
	}
	return nil // what can't be looked up shows in other ways
}

// Ack confirms the delivery and, on a consumer that acknowledges all, every one before it.
func (p *Puller) Ack(d Delivery) error {
	if err := p.conn.Publish(d.reply, []byte("+ACK")); err != nil {
		return fmt.Errorf("acknowledge %s %d: %w", d.Subject, d.Sequence, err)
	}
	return nil
}

// Close ends the subscription; open requests expire by themselves.
func (p *Puller) Close() {
	_ = p.sub.Unsubscribe() // fails only when the connection is gone, and then it is ended too
}

// request keeps between one and two batches asked for.
func (p *Puller) request() error {
	for batch := p.Batch(); p.open <= batch; {
		p.requests++
		p.open += batch
		if err := p.conn.PublishRequest(p.subject, p.inbox+"."+strconv.Itoa(p.requests), fmt.Appendf(nil, p.body, batch)); err != nil {
			return fmt.Errorf("pull: %w", err)
		}
	}
	return nil
}

// errNoMore tells that nothing is there, where nothing is to be waited for.
var errNoMore = errors.New("no more messages are there")

// receive takes one message, and waits for it if there is none in hand; nil means a status was handled and there is none.
func (p *Puller) receive(ctx context.Context, inHand bool) (*nats.Msg, error) {
	m, err := p.sub.NextMsg(0) // what is there already needs no timer
	switch {
	case errors.Is(err, nats.ErrTimeout) && inHand:
		return nil, errNoMore
	case errors.Is(err, nats.ErrTimeout):
		wait, cancel := context.WithTimeout(ctx, pullHeartbeat)
		m, err = p.sub.NextMsgWithContext(wait)
		cancel()
	}
	if err != nil {
		return nil, p.failure(ctx, err)
	}
	p.heard = time.Now()
	return p.status(m)
}

// failure is why nothing was received; nil: nothing has come yet.
func (p *Puller) failure(ctx context.Context, err error) error {
	waited := errors.Is(err, context.DeadlineExceeded)
	switch silent := time.Since(p.heard) > 4*pullHeartbeat; {
	case silent && waited && !errors.Is(ctx.Err(), context.Canceled):
		return ErrPullLost // also when a caller gives less time than that: its requests may have died with the broker
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: %w", ErrConsumerGone, err)
	case !waited:
		return fmt.Errorf("pull: %w", err)
	}
	return nil
}

// status handles what is no delivery and returns nil for it.
func (p *Puller) status(m *nats.Msg) (*nats.Msg, error) {
	status := m.Header.Get("Status")
	if status == "" || len(m.Data) > 0 {
		return m, nil
	}
	description := m.Header.Get("Description")
	switch {
	case status == "100":
		return nil, p.heartbeat(m)
	case status == "400": // another reader has made the consumer anew, for its own requests
		return nil, fmt.Errorf("%w: %s", ErrConsumerGone, description)
	case strings.EqualFold(description, "Consumer Deleted"), strings.EqualFold(description, "Leadership Change"),
		strings.EqualFold(description, "Consumer is push based"):
		return nil, fmt.Errorf("%w: %s", ErrConsumerGone, description)
	default: // 404, 408, 409: this request ended with so many still owed
		left, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		p.open -= left
		return nil, nil
	}
}

// heartbeat tells which delivery was the last. It comes after that one, so what is missing by then was lost on its way,
// such as while the client was connecting to another node: without a message after it nobody would notice.
func (p *Puller) heartbeat(m *nats.Msg) error {
	last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err == nil && last > p.last {
		return fmt.Errorf("%w: %d have come of %d", ErrGap, p.last, last)
	}
	return nil
}

func (p *Puller) accept(m *nats.Msg) (Delivery, error) {
	sequence, delivery, stored, err := parseReply(m.Reply)
	if err != nil {
		return Delivery{}, err
	}
	if delivery != p.last+1 { // the first one too: a former owner's open request may have taken the head
		return Delivery{}, fmt.Errorf("%w: %d after %d", ErrGap, delivery, p.last)
	}
	if sequence <= p.at {
		return Delivery{}, fmt.Errorf("%w: %d after %d", ErrRepeat, sequence, p.at)
	}
	p.last, p.at = delivery, sequence
	p.open--
	p.size += (float64(len(m.Data)) - p.size) / float64(min(16, 1+p.last)) // so batches begin with 1, 2, 4, 8 small messages
	return Delivery{Subject: m.Subject, Data: m.Data, Header: m.Header, Sequence: sequence, Stored: stored, reply: m.Reply}, nil
}

// parseReply reads $JS.ACK.<stream>.<consumer>.<redeliveries>.<stream seq>.<consumer seq>.<ns>.<pending>, or
// its longer form with domain and account hash after $JS.ACK, and maybe more after the pending.
func parseReply(reply string) (sequence, delivery uint64, stored time.Time, err error) {
	const prefix, long = "$JS.ACK.", 11
	tokens := strings.Count(reply, ".") + 1
	if !strings.HasPrefix(reply, prefix) || tokens < 8 {
		return 0, 0, time.Time{}, fmt.Errorf("pull: unexpected reply subject %q", reply)
	}
	skip := 5
	if tokens >= long {
		skip = 7
	}
	rest := reply
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var numbers [3]uint64
	for i := range numbers {
		var text string
		text, rest, _ = strings.Cut(rest, ".")
		if numbers[i], err = strconv.ParseUint(text, 10, 63); err != nil {
			return 0, 0, time.Time{}, fmt.Errorf("pull: reply subject %q: %w", reply, err)
		}
	}
	return numbers[0], numbers[1], time.Unix(0, int64(numbers[2])).UTC(), nil
}
