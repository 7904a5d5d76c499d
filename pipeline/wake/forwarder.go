// Package wake brings due wake-ups into the log. The broker keeps one schedule per profile and, when it is
// due, puts it on WAKE.due.<partition>; the forwarder appends it to that partition's log, where it is an
// event like any other, and then deletes it.
package wake

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// Reader names the durable consumers: wake-<partition>.
const Reader = "wake"

// Forwarder appends due wake-ups to the log.
type Forwarder struct {
	js  jetstream.JetStream
	now func() time.Time
	log *slog.Logger
}

// NewForwarder prepares the forwarder; now is the clock that stamps wake-ups as accepted.
func NewForwarder(js jetstream.JetStream, now func() time.Time, log *slog.Logger) *Forwarder {
	return &Forwarder{js: js, now: now, log: log}
}

// Subscriber reads the due wake-ups.
func (f *Forwarder) Subscriber() *bus.Subscriber {
	return bus.NewSubscriber(f.js, bus.SubscriberConfig{Stream: topology.Wakeups, Reader: Reader, Open: f.open, Delete: true, Log: f.log})
}

// Handle turns one due wake-up into a record of the log: the Router's handler.
func (f *Forwarder) Handle(m *message.Message) ([]*message.Message, error) {
	h := bus.From(m.Context())
	if h == nil {
		return nil, fmt.Errorf("wake: message %s did not come from its subscriber", m.UUID)
	}
	s, ok := h.Session.(*session)
	if !ok {
		return nil, fmt.Errorf("wake: message %s came with a foreign session", m.UUID)
	}
	at := event.At(f.now())
	if stored := event.At(h.Delivery().Stored); at < stored {
		at = stored // a clock behind the broker's would run nothing, and arm the same instant again and again
	}
	e := event.Event{
		ID: fmt.Sprintf("wake-%d-%d", s.partition, h.Delivery().Sequence), Type: event.Wake,
		Profile: string(m.Payload), Occurred: at, Accepted: at,
		Source: s.Source(s.partition, h.Delivery().Sequence),
	}
	payload, err := e.Encode()
	if err != nil {
		return nil, fmt.Errorf("wake: %w", err)
	}
	return []*message.Message{pipeline.Produce(m, topology.Subject(topology.Events, s.partition), payload)}, nil
}

// session forwards one partition's wake-ups.
type session struct {
	*pipeline.SourceSession
	partition int
}

func (f *Forwarder) open(ctx context.Context, topic string) (bus.Session, error) {
	var partition int
	if _, err := fmt.Sscanf(topic, topology.Wakeups+".due.%d", &partition); err != nil {
		return nil, fmt.Errorf("topic %q: want %s", topic, topology.DueSubject(0))
	}
	stream, err := bus.LookUpStream(ctx, f.js, topology.Wakeups)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", topology.Wakeups, err)
	}
	wave, err := bus.NewWave(f.js.Conn())
	if err != nil {
		return nil, err
	}
	return &session{
		SourceSession: pipeline.NewSourceSession(fmt.Sprintf("wake.%s.%d", topology.Generation(stream.CachedInfo()), partition), wave),
		partition:     partition,
	}, nil
}
