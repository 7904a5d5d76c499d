package bus

import (
	"context"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded/enginetest"
)

// anyTopic stands between Watermill's suite and the bus: it makes a stream for each topic, where Attune has its
// streams beforehand, and sends Watermill's message ids along.
type anyTopic struct {
	*Publisher
	js    jetstream.JetStream
	group string

	mu     sync.Mutex
	closed bool
	topics map[string]*Subscriber
}

func (a *anyTopic) Publish(topic string, messages ...*message.Message) error {
	if err := a.SubscribeInitialize(topic); err != nil {
		return err
	}
	for _, m := range messages {
		m.Metadata[jetstream.MsgIDHeader] = m.UUID
	}
	return a.Publisher.Publish(topic, messages...)
}

func (a *anyTopic) SubscribeInitialize(topic string) error {
	_, err := a.js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{
		Name: topic, Subjects: []string{topic}, Storage: jetstream.MemoryStorage,
	})
	return err
}

func (a *anyTopic) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if err := a.SubscribeInitialize(topic); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.topics[topic] == nil {
		a.topics[topic] = NewSubscriber(a.js, SubscriberConfig{Stream: topic, Reader: a.group})
		if a.closed {
			_ = a.topics[topic].Close()
		}
	}
	return a.topics[topic].Subscribe(ctx, topic)
}

func (a *anyTopic) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, s := range a.topics {
		_ = s.Close()
	}
	return nil
}

// Watermill's own suite. A topic has one reader per group at a time (its owner), hence the single instance; an
// uncommitted message comes again, hence no exactly-once delivery: the sessions see to that.
func TestWatermillConformance(t *testing.T) {
	_, js := connect(t, enginetest.NATS(t))
	group := func(_ *testing.T, group string) (message.Publisher, message.Subscriber) {
		a := &anyTopic{Publisher: NewPublisher(js), js: js, group: group, topics: map[string]*Subscriber{}}
		return a, a
	}
	tests.TestPubSub(t, tests.Features{
		ConsumerGroups:                      true,
		GuaranteedOrder:                     true,
		GuaranteedOrderWithSingleSubscriber: true,
		Persistent:                          true,
		RequireSingleInstance:               true,
		NewSubscriberReceivesOldMessages:    false, // the suite means one of the same group: that one reads on where the group stands
		ForceShort:                          true,  // the long form refuses each message often, and each refusal has its growing pause,
	}, func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "all") }, group)
}
