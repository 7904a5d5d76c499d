package bus_test

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"attune/pipeline/bus"
)

// A handler of whole batches hands on a bundle.
func ExampleBundle() {
	handle := func(m *message.Message) ([]*message.Message, error) {
		batch := bus.From(m.Context())
		out := bus.NewBundle(len(batch.Batch))
		err := batch.Each(func(d bus.Delivery, _ any) error {
			out.Add(bus.Record{Subject: "COPY.1", Data: d.Data})
			return nil
		})
		return out.Messages(m), err
	}
	_ = handle // for the Router, with a Subscriber of Whole batches and a Publisher
}
