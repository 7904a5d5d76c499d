package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// SubjectKey is the metadata of a produced message that names the subject to publish it to, where that is not
// the topic itself.
const SubjectKey = "attune-subject"

// Publisher publishes Watermill messages to JetStream. A message whose context came from a session with a
// wave is only sent: the session waits for its confirmation before it acknowledges the input. Any other
// message is confirmed before Publish returns. It implements message.Publisher and is safe for concurrent
// use; Close is a no-op, since the connection is the caller's.
type Publisher struct{ js jetstream.JetStream }

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher prepares a publisher.
func NewPublisher(js jetstream.JetStream) *Publisher { return &Publisher{js: js} }

// Publish sends the messages in order, and the records of a Bundle like messages of their own.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		out := &nats.Msg{Subject: topic, Data: m.Payload, Header: nats.Header{}}
		for name, value := range m.Metadata {
			switch name {
			case SubjectKey:
				out.Subject = value
			case bundleSize:
			default:
				out.Header.Set(name, value)
			}
		}
		send := p.send
		if m.Metadata[bundleSize] != "" {
			send = p.unpack
		}
		if err := send(m.Context(), out); err != nil {
			return err
		}
	}
	return nil
}

// Close has nothing to flush.
func (p *Publisher) Close() error { return nil }

func (p *Publisher) send(ctx context.Context, m *nats.Msg) error {
	if w := waveOf(ctx); w != nil {
		_, err := w.Publish(m)
		return err
	}
	return p.confirm(ctx, m)
}

// unpack sends a bundle's records. One message serves for all of them: the connection copies what it is given.
func (p *Publisher) unpack(ctx context.Context, m *nats.Msg) error {
	records, ok := ctx.Value(bundleKey).([]Record)
	if !ok {
		return errors.New("publish: a bundle has lost its records: whatever copies a message has to copy its context too (message.CopyWithContext)")
	}
	send := func(m *nats.Msg) error { return p.confirm(ctx, m) }
	if w := waveOf(ctx); w != nil {
		send = w.Send
	}
	subject, id := m.Subject, []string{""}
	for i := range records {
		r := &records[i]
		m.Subject, m.Data = cmp.Or(r.Subject, subject), r.Data
		if id[0] = r.ID; r.ID == "" {
			delete(m.Header, jetstream.MsgIDHeader) // nor one of the bundle's: all but one record would be taken for repeats
		} else {
			m.Header[jetstream.MsgIDHeader] = id
		}
		if err := send(m); err != nil {
			return err
		}
	}
	return nil
}

// confirm sends a message and waits until it is stored.
func (p *Publisher) confirm(ctx context.Context, m *nats.Msg) error {
	if _, err := p.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	return nil
}

// waveOf is the wave of the session that a message came from; nil: there is none.
func waveOf(ctx context.Context) *Wave {
	if h := From(ctx); h != nil {
		if s, ok := h.Session.(Waves); ok {
			return s.Wave()
		}
	}
	return nil
}
