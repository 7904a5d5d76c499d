package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// OpenConsumer makes the durable consumer of a subject anew and reads it from the given stream sequence on, or
// after what was last acknowledged where that is 0. Its name stays, for operators and autoscalers; a former
// reader of that name ends with ErrConsumerGone.
//
// A consumer that is reset instead would deliver to a former reader's open requests, and what both get could
// look like one unbroken sequence to either.
func OpenConsumer(ctx context.Context, js jetstream.JetStream, stream, subject, durable string, from uint64, batch int) (*Puller, error) {
	if from == 0 {
		old, err := js.Consumer(ctx, stream, durable)
		switch {
		case err == nil:
			from = old.CachedInfo().AckFloor.Stream + 1
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			from = 1
		default:
			return nil, fmt.Errorf("look up consumer %s of %s: %w", durable, stream, err)
		}
	}
	if err := js.DeleteConsumer(ctx, stream, durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("delete consumer %s of %s: %w", durable, stream, err)
	}
	made, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, FilterSubject: subject, AckPolicy: jetstream.AckAllPolicy,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		MaxAckPending: -1, AckWait: time.Hour, // redelivery is ours: the consumer is made anew when it is claimed
		Metadata: map[string]string{"attune-reader": rand.Text()}, // two that are made at once differ: one is refused
	})
	if err != nil {
		return nil, fmt.Errorf("create consumer %s of %s: %w", durable, stream, err)
	}
	p, err := NewPuller(js.Conn(), stream, durable, batch)
	if err != nil {
		return nil, err
	}
	p.check = func(ctx context.Context) (uint64, error) {
		now, err := js.Consumer(ctx, stream, durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || err == nil && !now.CachedInfo().Created.Equal(made.CachedInfo().Created) {
			return 0, fmt.Errorf("%w: another reader has made %s anew", ErrConsumerGone, durable)
		}
		if err != nil {
			return 0, fmt.Errorf("look up consumer %s of %s: %w", durable, stream, err)
		}
		return now.CachedInfo().Delivered.Consumer, nil
	}
	return p, nil
}
