package bus

import (
	"cmp"
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
	// BatchBytes is about how much is asked for at a time, by the size of the latest messages; twice that may be on its way.
	// 0: half a megabyte.
	BatchBytes int
	// Volatile keeps what is acknowledged in one broker's memory: it is forgotten, and the consumer gone, when that broker
	// restarts, and what is still in the stream comes again. It spares a broker a file that is written several times a
	// second, and a cluster the agreement of its nodes on each delivery and acknowledgement.
	Volatile bool
}

// ackWait is how long the broker waits before it delivers again what is not acknowledged: longer than anything that a
// reader waits for may be down.
const ackWait = 365 * 24 * time.Hour

// OpenConsumer makes the consumer anew and reads it. A former reader of that name ends with ErrConsumerGone: the
// broker serves the consumer only to requests that know the word its maker gave it.
//
// A consumer that is reset instead would deliver to a former reader's open requests, and what both get could
// look like one unbroken sequence to either.
func OpenConsumer(ctx context.Context, js jetstream.JetStream, c Consumer) (*Puller, error) {
	from := c.From
	if from == 0 {
		acknowledged, err := c.Acknowledged(ctx, js)
		if err != nil {
			return nil, err
		}
		from = acknowledged + 1
	}
	Discard(ctx, js, c.Stream, c.Durable) // if it is still there, the new one is refused
	word := rand.Text()[:16]              // a priority group's name can't be longer
	config := jetstream.ConsumerConfig{
		Durable: c.Durable, FilterSubject: c.Subject, AckPolicy: jetstream.AckAllPolicy, MemoryStorage: c.Volatile,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		MaxAckPending: -1, AckWait: ackWait, // redelivery is ours: the consumer is made anew when it is claimed
		// A policy that changes nothing for requests without a threshold, but refuses those of any other group. Of two
		// readers that make the consumer at once, the second one is refused.
		PriorityPolicy: jetstream.PriorityPolicyOverflow, PriorityGroups: []string{word},
	}
	if c.Volatile {
		config.Replicas = 1
	}
	_, err := CreateConsumer(ctx, js, c.Stream, config)
	if api := (*jetstream.APIError)(nil); errors.As(err, &api) && api.ErrorCode == codeCreateFailed {
		_, err = CreateConsumer(ctx, js, c.Stream, config) // the broker was still removing the files of the deleted one
	}
	if err != nil {
		return nil, fmt.Errorf("create consumer %s of %s: %w", c.Durable, c.Stream, err)
	}
	p, err := newPuller(js.Conn(), c.Stream, c.Durable, c.Batch, cmp.Or(c.BatchBytes, batchBytes), word)
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

// Acknowledged is the stream sequence up to which its readers have acknowledged everything; 0: nothing, or, where it is
// volatile, nobody remembers.
func (c Consumer) Acknowledged(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	wait := Patience
	if c.Volatile {
		wait = brief
	}
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	consumer, err := js.Consumer(asking, c.Stream, c.Durable)
	switch {
	case err == nil:
		return consumer.CachedInfo().AckFloor.Stream, nil
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return 0, nil
	case c.Volatile && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return 0, nil // the broker that had it is down, and nobody answers for it until it is back
	}
	return 0, fmt.Errorf("look up consumer %s of %s: %w", c.Durable, c.Stream, err)
}

// Patience is how long to wait for the broker's answer to what can be asked again. A request that comes while a cluster
// elects its leaders is not answered late, but never.
const Patience = 3 * time.Second

// CreateConsumer makes a consumer, with Patience where one broker keeps it; after an error there may be one all the same. One
// that several brokers keep has leaders to elect first, and each attempt would begin that anew.
func CreateConsumer(ctx context.Context, js jetstream.JetStream, stream string, config jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if config.Durable == "" || config.Replicas == 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, Patience)
		defer cancel()
	}
	return js.CreateConsumer(ctx, stream, config)
}

// LookUp finds a consumer with Patience.
func LookUp(ctx context.Context, js jetstream.JetStream, stream, name string) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return js.Consumer(ctx, stream, name)
}

// LookUpStream finds a stream with Patience.
func LookUpStream(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	return js.Stream(ctx, name)
}

// brief is how long to wait for an answer that one can do without.
const brief = time.Second

// Discard deletes a consumer that is not to be read any more. It doesn't wait for long: where the node died that served it,
// the cluster forgets it, but nobody answers.
func Discard(ctx context.Context, js jetstream.JetStream, stream, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), brief)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, name) // one that is not durable goes by itself after a while
}

// codeCreateFailed is the broker's code for a consumer that it could not make.
const codeCreateFailed jetstream.ErrorCode = 10012
