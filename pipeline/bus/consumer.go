package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consumer says what a reader reads.
type Consumer struct {
	Stream, Subject string
	// Durable is its name, which stays the same from reader to reader, for operators and autoscalers.
	Durable string
	// From is the stream sequence to read on from; 0: after what was last acknowledged.
	From uint64
	// Batch is the number of messages asked for at a time, at most.
	Batch int
	// BatchBytes is about how much is asked for at a time, by the size of the latest messages. 0: however much.
	BatchBytes int
	// Volatile keeps what is acknowledged in the broker's memory: it is forgotten, and the consumer gone, when the broker
	// restarts, and what is still in the stream comes again. It spares the broker a file that is written several times a
	// second.
	Volatile bool
}

// OpenConsumer makes the consumer anew and reads it. A former reader of that name ends with ErrConsumerGone: the
// broker serves the consumer only to requests that know the word its maker gave it.
//
// A consumer that is reset instead would deliver to a former reader's open requests, and what both get could
// look like one unbroken sequence to either.
func OpenConsumer(ctx context.Context, js jetstream.JetStream, c Consumer) (*Puller, error) {
	from := c.From
	if from == 0 {
		old, err := js.Consumer(ctx, c.Stream, c.Durable)
		switch {
		case err == nil:
			from = old.CachedInfo().AckFloor.Stream + 1
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			from = 1
		default:
			return nil, fmt.Errorf("look up consumer %s of %s: %w", c.Durable, c.Stream, err)
		}
	}
	if err := js.DeleteConsumer(ctx, c.Stream, c.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("delete consumer %s of %s: %w", c.Durable, c.Stream, err)
	}
	word := rand.Text()[:16] // a priority group's name can't be longer
	config := jetstream.ConsumerConfig{
		Durable: c.Durable, FilterSubject: c.Subject, AckPolicy: jetstream.AckAllPolicy, MemoryStorage: c.Volatile,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		MaxAckPending: -1, AckWait: time.Hour, // redelivery is ours: the consumer is made anew when it is claimed
		// A policy that changes nothing for requests without a threshold, but refuses those of any other group. Of two
		// readers that make the consumer at once, the second one is refused.
		PriorityPolicy: jetstream.PriorityPolicyOverflow, PriorityGroups: []string{word},
	}
	_, err := js.CreateConsumer(ctx, c.Stream, config)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) && api.ErrorCode == codeCreateFailed {
		_, err = js.CreateConsumer(ctx, c.Stream, config) // the broker was still removing the files of the deleted one
	}
	if err != nil {
		return nil, fmt.Errorf("create consumer %s of %s: %w", c.Durable, c.Stream, err)
	}
	p, err := newPuller(js.Conn(), c.Stream, c.Durable, c.Batch, c.BatchBytes, word)
	if err != nil {
		return nil, err
	}
	p.acked = func(ctx context.Context) (uint64, error) {
		now, err := js.Consumer(ctx, c.Stream, c.Durable)
		if err != nil {
			return 0, err
		}
		return now.CachedInfo().AckFloor.Consumer, nil
	}
	return p, nil
}

// discardPatience is how long Discard waits.
const discardPatience = time.Second

// Discard deletes a consumer that is not read any more and would go by itself after a while. It doesn't wait for long: where
// the node died that served it, nobody may answer.
func Discard(ctx context.Context, js jetstream.JetStream, stream, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardPatience)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, name) // else it goes by itself
}

// codeCreateFailed is the broker's code for a consumer that it could not make.
const codeCreateFailed jetstream.ErrorCode = 10012
