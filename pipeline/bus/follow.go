package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
)

// followBatch is how many messages are asked for at a time, at most.
const followBatch = 64

// Follow hands take each message of a stream after a position, in order and once, until ctx ends: for what a process
// knows of what all of them write. What goes wrong, take's errors too, is logged and tried again from where it was.
func Follow(ctx context.Context, js jetstream.JetStream, stream string, after uint64, log *slog.Logger, take func(Delivery) error) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		before := after
		err := follow(ctx, js, stream, &after, take)
		if ctx.Err() != nil {
			return
		}
		if after > before {
			pause.Reset()
		}
		log.Warn("follow a stream", "stream", stream, "position", after, "error", err)
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

// follow reads on from the position, and moves it, until something goes wrong.
func follow(ctx context.Context, js jetstream.JetStream, stream string, position *uint64, take func(Delivery) error) error {
	consumer, err := CreateConsumer(ctx, js, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *position + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	name := consumer.CachedInfo().Name
	defer Discard(ctx, js, stream, name)
	puller, err := NewPuller(js.Conn(), stream, name, followBatch)
	if err != nil {
		return err
	}
	defer puller.Close()
	for {
		batch, err := puller.Next(ctx, followBatch)
		if err != nil {
			return err
		}
		for _, d := range batch {
			if err := take(d); err != nil {
				return err
			}
			*position = d.Sequence
		}
	}
}
