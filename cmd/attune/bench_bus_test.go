package main

import (
	"strconv"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

const againstRelay = "raw relay with Nats-Msg-Id"

func busRows() []row {
	return []row{{
		name: "bus-relay", against: againstRelay, unit: "events/s", of: ofRatio, floor: 0.7, aim: 0.9, open: openBusRelay,
	}}
}

// openBusRelay is one hop of Watermill's Router over our Subscriber and Publisher that passes messages on, in order.
func openBusRelay(tb testing.TB, s scale) func() (figure, figure) {
	js := benchJetStream(tb)
	events := newFeed(newPopulation(s.of(100_000)), zipf)
	var turns turns
	return func() (ours, baseline figure) {
		freshStream(tb, js, "IN")
		filled, err := events.fill(tb.Context(), js, "IN", s.of(300_000))
		if err != nil {
			tb.Fatal(err)
		}
		through := func(relay func() (figure, error)) func() figure {
			return func() figure {
				freshStream(tb, js, "OUT")
				f, err := relay()
				if err != nil {
					tb.Fatal(err)
				}
				return f
			}
		}
		return turns.run(
			through(func() (figure, error) { return busRelay(tb, js, filled) }),
			through(func() (figure, error) { return rawRelay(tb.Context(), js, "IN", "OUT", filled) }),
		)
	}
}

func busRelay(tb testing.TB, js jetstream.JetStream, filled span) (figure, error) {
	subscriber := bus.NewSubscriber(js, bus.SubscriberConfig{Stream: "IN", Reader: "busrelay", Batch: benchBatch, Whole: true, Log: benchLog(tb)})
	var gate gate
	gate.close()
	var handlers []handler
	for p := range benchPartitions {
		out, id := topology.Subject("OUT", p), strconv.Itoa(p)+"-"
		pass := func(m *message.Message) ([]*message.Message, error) {
			batch := bus.From(m.Context())
			passed := bus.NewBundle(len(batch.Batch))
			err := batch.Each(func(d bus.Delivery, _ any) error {
				passed.Add(bus.Record{Subject: out, ID: id + strconv.FormatUint(d.Sequence, 10), Data: d.Data})
				return nil
			})
			return passed.Messages(m), err
		}
		handlers = append(handlers, handler{"busrelay-" + strconv.Itoa(p), topology.Subject("IN", p), subscriber, gate.through(pass)})
	}
	stop := startRouter(tb, js, handlers)
	defer stop()
	if err := gate.ready(tb.Context(), filled); err != nil {
		gate.open()
		return figure{}, err
	}
	watch := startWatch()
	gate.open()
	err := filled.read(tb.Context(), js, "IN", "busrelay")
	return watch.perSecond(filled.events), err
}
