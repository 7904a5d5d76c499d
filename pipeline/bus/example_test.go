package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/embedded"
)

// A handler of whole batches hands on a bundle: one message for the Router, and its records one by one for the broker.
func ExampleBundle() {
	if err := withStream("LETTERS", copyLetters); err != nil {
		fmt.Println(err)
	}
	// Output:
	// copy of Dear Ada
	// copy of Dear Bob
}

func copyLetters(ctx context.Context, js jetstream.JetStream) error {
	publisher := bus.NewPublisher(js)
	for _, text := range []string{"Dear Ada", "Dear Bob"} {
		if err := publisher.Publish("LETTERS.in", message.NewMessage("", []byte(text))); err != nil {
			return err
		}
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	subscriber := bus.NewSubscriber(js, bus.SubscriberConfig{Stream: "LETTERS", Reader: "copier", Whole: true})
	router.AddHandler("copy", "LETTERS.in", subscriber, "LETTERS.out", publisher, func(m *message.Message) ([]*message.Message, error) {
		batch := bus.From(m.Context())
		out := bus.NewBundle(len(batch.Batch))
		err := batch.Each(func(d bus.Delivery, _ any) error {
			out.Add(bus.Record{Data: append([]byte("copy of "), d.Data...)})
			return nil
		})
		return out.Messages(m), err
	})
	ran := make(chan error, 1)
	go func() { ran <- router.Run(ctx) }()
	return errors.Join(printCopies(ctx, js, 2), router.Close(), <-ran)
}

func printCopies(ctx context.Context, js jetstream.JetStream, n int) error {
	reader, err := js.OrderedConsumer(ctx, "LETTERS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"LETTERS.out"}})
	if err != nil {
		return err
	}
	for range n {
		m, err := reader.Next()
		if err != nil {
			return err
		}
		fmt.Println(string(m.Data()))
	}
	return nil
}

// withStream has an example work on a broker in this process, with a stream of the subjects name.*.
func withStream(name string, example func(context.Context, jetstream.JetStream) error) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := embedded.StartNATS(ctx, embedded.NATSConfig{Dir: dir})
	if err != nil {
		return err
	}
	defer server.Close()
	conn, err := server.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"}}); err != nil {
		return err
	}
	return example(ctx, js)
}
