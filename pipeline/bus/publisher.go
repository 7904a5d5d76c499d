package bus

import (
	"context"
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

// Publish sends the messages in order.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		out := &nats.Msg{Subject: topic, Data: m.Payload, Header: nats.Header{}}
		for name, value := range m.Metadata {
			if name == SubjectKey {
				out.Subject = value
				continue
			}
			out.Header.Set(name, value)
		}
		if err := p.send(m.Context(), out); err != nil {
			return err
		}
	}
	return nil
}

// Close has nothing to flush.
func (p *Publisher) Close() error { return nil }

func (p *Publisher) send(ctx context.Context, m *nats.Msg) error {
	if h := From(ctx); h != nil {
		if s, ok := h.Session.(Waves); ok {
			_, err := s.Wave().Publish(m)
			return err
		}
	}
	if _, err := p.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	return nil
}
