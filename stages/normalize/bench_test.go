package normalize

import (
	"fmt"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
)

func benchCall(n int) string {
	return fmt.Sprintf(`{"type":"track","messageId":"m-%d","anonymousId":"device-%d","userId":"user-%d","event":"Product Viewed",
"timestamp":"2026-05-01T12:00:00.123Z","properties":{"product_id":"sku-%d","category":"sneakers","name":"Red runner","price":89.90,"currency":"EUR","email":"anna%d@shop.example"},
"context":{"ip":"203.0.113.7","locale":"en-GB","timezone":"Europe/London","userAgent":"Mozilla/5.0 (X11; Linux x86_64)","page":{"path":"/p/42","url":"https://shop.example/p/42","title":"Red runner"},"library":{"name":"analytics.js","version":"4.1"}}}`, n, n%5000, n%5000, n%300, n%5000)
}

// BenchmarkPartition is the calls per second of one partition, beside a relay that hands the same payloads on as
// they are: `ratio` is the first divided by the second.
func BenchmarkPartition(b *testing.B) {
	bench := newBench(b)
	wave, err := bus.NewWave(bench.js.Conn())
	if err != nil {
		b.Fatal(err)
	}
	defer wave.Close()
	var took [2]time.Duration
	calls := 0
	for b.Loop() {
		const batch = 25_000
		for p := range took {
			for n := range batch {
				if _, err := wave.Publish(&nats.Msg{Subject: topology.Subject(topology.Raw, p), Data: []byte(benchCall(calls + n))}); err != nil {
					b.Fatal(err)
				}
			}
			acks, err := wave.Wait(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			bench.last[p] = acks[len(acks)-1].Sequence
		}
		began := time.Now()
		bench.drain(0)
		took[0] += time.Since(began)
		began = time.Now()
		bench.relay(1)
		took[1] += time.Since(began)
		calls += batch
	}
	perSecond := func(d time.Duration) float64 { return float64(calls) / d.Seconds() }
	b.ReportMetric(perSecond(took[0]), "calls/s")
	b.ReportMetric(perSecond(took[1]), "relayed/s")
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}

// relay hands a partition of RAW on as it is.
func (b *bench) relay(partition int) {
	b.t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		b.t.Fatal(err)
	}
	subscriber := bus.NewSubscriber(b.js, bus.SubscriberConfig{Stream: topology.Raw, Reader: pipeline.ReaderNormalize, Delete: true})
	router.AddHandler("relay", topology.Subject(topology.Raw, partition), subscriber, "", bus.NewPublisher(b.js), func(m *message.Message) ([]*message.Message, error) {
		return []*message.Message{pipeline.Produce(m, topology.Subject(topology.Events, partition), m.Payload)}, nil
	})
	done := make(chan error, 1)
	go func() { done <- router.Run(b.t.Context()) }()
	<-router.Running()
	b.read(partition)
	if err := router.Close(); err != nil {
		b.t.Error(err)
	}
	<-done
}

func BenchmarkParseAndSeparate(b *testing.B) {
	payload := []byte(benchCall(1))
	b.SetBytes(int64(len(payload)))
	split := newSeparator(vault.NewHasher([]byte("key")), vault.Declared{}, "")
	for b.Loop() {
		c, err := parse(event.Raw{Payload: payload, Accepted: time.Unix(1_800_000_000, 0)})
		if err != nil {
			b.Fatal(err)
		}
		var e event.Event
		split.event(&e, &c, map[string]vault.Field{})
	}
}
