package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	stock "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// openStock is the same records, the same chain and the same profiles on watermill-nats as it comes: a handler for
// each partition reads the profile from a bucket, applies the record, writes the profile, publishes the facts. It
// may count twice after a crash; nothing fences a second worker.
func openStock(tb testing.TB, s scale) func() (figure, figure) {
	c := openCustomers(tb, s, exampleWorkspace(tb), 100_000)
	if _, err := c.js.CreateKeyValue(tb.Context(), jetstream.KeyValueConfig{Bucket: stockBucket, Storage: jetstream.FileStorage}); err != nil {
		tb.Fatal(err)
	}
	if err := c.settleIn(stockBucket); err != nil {
		tb.Fatal(err)
	}
	f := newFeed(c.population, zipf)
	c.start(len(c.population.ids))
	c.warm(f)
	var turns turns
	return func() (ours, baseline figure) {
		return turns.run(func() figure {
			c.gate.close()
			return c.run(c.fill(f, s.of(200_000)))
		}, func() figure {
			c.gate.close()
			defer c.gate.open() // our worker passes the same records once nobody measures
			return stockRun(c, c.fill(f, s.of(15_000)))
		})
	}
}

const stockBucket = "stock"

func stockRun(c *customers, filled span) figure {
	freshStream(c.tb, c.js, "OUT")
	js := connected(c.tb, c.server) // of its own: it closes the connection that it is given
	bucket, err := js.KeyValue(c.tb.Context(), stockBucket)
	if err != nil {
		c.tb.Fatal(err)
	}
	publisher, err := stock.NewPublisher(stock.PublisherConfig{Conn: js.Conn(), Logger: watermill.NopLogger{}})
	if err != nil {
		c.tb.Fatal(err)
	}
	var gate gate
	gate.close()
	handled, all := new(atomic.Int64), make(chan struct{})
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		c.tb.Fatal(err)
	}
	for p := range benchPartitions {
		subscriber, err := stock.NewSubscriber(stock.SubscriberConfig{
			Conn: js.Conn(), Logger: watermill.NopLogger{}, AckAsync: true, // the faster of its two ways
			ResourceInitializer: func(ctx context.Context, js jetstream.JetStream, topic string) (jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error) {
				consumer, err := js.CreateConsumer(ctx, topology.Events, jetstream.ConsumerConfig{
					FilterSubject: topic, AckPolicy: jetstream.AckExplicitPolicy,
					DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: filled.first,
				})
				return consumer, nil, err
			},
		})
		if err != nil {
			c.tb.Fatal(err)
		}
		w := stockWorker{bucket: bucket, customers: c, partition: p}
		router.AddHandler("stock-"+strconv.Itoa(p), topology.Subject(topology.Events, p), subscriber, topology.Subject("OUT", p), publisher,
			gate.through(func(m *message.Message) ([]*message.Message, error) {
				out, err := w.handle(m)
				if err == nil && handled.Add(1) == int64(filled.events) {
					close(all)
				}
				return out, err
			}))
	}
	ctx, stop := context.WithCancel(c.tb.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = router.Run(ctx) // it always fails in the end: each handler closes the connection that they share
	}()
	defer func() { stop(); <-ended }()
	<-router.Running()
	if err := gate.ready(ctx, filled); err != nil {
		c.tb.Fatal(err)
	}
	watch := startWatch()
	gate.open()
	select {
	case <-all:
	case <-time.After(5 * time.Minute):
		c.tb.Fatalf("watermill-nats handled %d of %d events in 5 minutes", handled.Load(), filled.events)
	}
	return watch.perSecond(filled.events)
}

// stockWorker is one partition's handler.
type stockWorker struct {
	bucket    jetstream.KeyValue
	customers *customers
	partition int
	position  uint64
}

func (w *stockWorker) handle(m *message.Message) ([]*message.Message, error) {
	ctx := m.Context()
	e, err := event.Decode(m.Payload)
	if err != nil {
		return nil, err
	}
	p := profile.New(e.Profile)
	switch entry, err := w.bucket.Get(ctx, e.Profile); {
	case err == nil:
		if p, err = profile.Decode(entry.Value()); err != nil {
			return nil, err
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, err
	}
	w.position++
	result, err := w.customers.chain.Apply(p, &e, w.position)
	if err != nil {
		return nil, err
	}
	state := profile.Encode(p)
	if _, err := w.bucket.Put(ctx, e.Profile, state); err != nil {
		return nil, err
	}
	facts, err := json.Marshal(result.Facts)
	if err != nil {
		return nil, fmt.Errorf("facts of %s: %w", e.ID, err)
	}
	return []*message.Message{message.NewMessage(e.ID, facts)}, nil
}
