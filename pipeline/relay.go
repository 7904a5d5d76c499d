package pipeline

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// relayPace lets one batch begin in each such time: nothing that leaves a partition, a mail or a wake-up, is in such a hurry
// that it is worth a round of requests of its own.
const relayPace = 100 * time.Millisecond

// lastSchedule is 2262: what is later, the broker takes for long due, since it counts nanoseconds in 63 bits, and who asks
// for a wake-up in 9999 would be woken all the time. A wake-up that is early is harmless.
const lastSchedule event.Instant = 9_214_646_400_000

// Relay publishes what leaves a partition: deliveries, wake-ups, dead letters and records for other logs of each commit,
// in order. It repeats after a crash: deliver knows a repeat by the decision id, the log by the wake-up's sequence and by
// the records' sources, the dead letters by where they were read, within the broker's window of two minutes. It waits for
// nobody but the broker.
type Relay struct {
	js      jetstream.JetStream
	commits *CommitCodec
	log     *slog.Logger
	faults  faults // tests only
}

// NewRelay prepares the relay.
func NewRelay(js jetstream.JetStream, log *slog.Logger) (*Relay, error) {
	commits, err := NewCommitCodec()
	if err != nil {
		return nil, err
	}
	return &Relay{js: js, commits: commits, log: log}, nil
}

// Subscriber reads the commits for the relay.
func (r *Relay) Subscriber() *bus.Subscriber {
	return bus.NewSubscriber(r.js, bus.SubscriberConfig{
		Stream: topology.Commits, Reader: ReaderRelay, Open: r.open, Batch: 64, Volatile: true, Pace: relayPace, Log: r.log,
	})
}

// Handle turns one commit into what leaves it: the Router's handler.
func (r *Relay) Handle(m *message.Message) ([]*message.Message, error) {
	h := bus.From(m.Context())
	if h == nil {
		return nil, fmt.Errorf("relay: message %s did not come from its subscriber", m.UUID)
	}
	s, ok := h.Session.(*relaySession)
	if !ok {
		return nil, fmt.Errorf("relay: message %s came with a foreign session", m.UUID)
	}
	value := h.Value().(relayed)
	if value.err != nil {
		return nil, fmt.Errorf("relay: commit %d: %w", h.Delivery().Sequence, value.err)
	}
	commit := value.commit
	before := s.Wave().Pending() // what is returned here follows in the wave
	var out []*message.Message
	for i := range commit.Deliveries {
		d := &commit.Deliveries[i]
		if !s.send(before+len(out), &orderToSend{d, h.Delivery().Sequence*ordinalsPerCommit + uint64(i), event.At(h.Delivery().Stored)}) {
			continue
		}
		payload, err := json.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("relay: delivery %s: %w", d.Decision, err)
		}
		order := produce(m, topology.Subject(topology.Outbox, d.Destination), d.Decision, payload)
		if d.Trace != "" {
			order.Metadata[event.HeaderTrace] = d.Trace
		}
		out = append(out, order)
	}
	for _, w := range commit.Wakes {
		wake := produce(m, topology.ScheduleSubject(s.partition, commit.Epoch, w.Profile), "", []byte(w.Profile))
		wake.Metadata["Nats-Schedule"] = "@at " + min(w.At, lastSchedule).String() // with its milliseconds: the client's option cuts them
		wake.Metadata["Nats-Schedule-Target"] = topology.DueSubject(s.partition)
		out = append(out, wake)
	}
	for i := range commit.DeadLetters {
		d := &commit.DeadLetters[i]
		letter, err := d.Message(m, ReaderCustomer)
		if err != nil {
			return nil, fmt.Errorf("relay: %w", err)
		}
		out = append(out, letter)
	}
	for i, record := range commit.Leaving {
		sent, err := s.leaving.message(m, record, h.Delivery().Sequence*ordinalsPerCommit+uint64(i))
		if err != nil {
			return nil, fmt.Errorf("relay: commit %d: %w", h.Delivery().Sequence, err)
		}
		out = append(out, sent)
	}
	return out, nil
}

// produce makes a message that is confirmed together with the one that led to it.
func produce(cause *message.Message, subject, id string, payload []byte) *message.Message {
	m := message.NewMessage(id, payload)
	m.SetContext(cause.Context())
	m.Metadata[bus.SubjectKey] = subject
	if id != "" {
		m.Metadata[jetstream.MsgIDHeader] = id
	}
	return m
}

// Produce makes a message to a subject, confirmed together with the one that led to it.
func Produce(cause *message.Message, subject string, payload []byte) *message.Message {
	return produce(cause, subject, "", payload)
}
