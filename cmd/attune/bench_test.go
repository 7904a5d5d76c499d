package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

const (
	benchEvents    = 60_000
	benchCustomers = 5_000
	benchProducers = 4
)

// BenchmarkEndToEnd takes the same calls through the whole path (RAW, normalize, the customer chain with the
// example workspace, commits, ClickHouse) and, in the same run, through a raw JetStream relay of one hop: read
// in order, publish, confirm in groups, acknowledge. events/s of both and their ratio are what counts.
func BenchmarkEndToEnd(b *testing.B) {
	var whole, relay time.Duration
	for b.Loop() {
		calls := benchCalls()
		relay += benchRelay(b, calls)
		whole += benchWhole(b, calls)
	}
	events := float64(b.N * benchEvents)
	b.ReportMetric(events/whole.Seconds(), "events/s")
	b.ReportMetric(events/relay.Seconds(), "relayed/s")
	b.ReportMetric(relay.Seconds()/whole.Seconds(), "ratio")
}

func benchCalls() []event.Raw {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, benchCustomers-1)
	calls := make([]event.Raw, benchEvents)
	for i := range calls {
		user := fmt.Sprintf("customer-%05d", zipf.Uint64())
		name := []string{"Product Viewed", "Product Viewed", "Product Viewed", "Product Added", "Order Completed"}[random.IntN(5)]
		calls[i] = event.Raw{Key: user, Accepted: time.Now(), Payload: fmt.Appendf(nil,
			`{"type":"track","messageId":"%016x-%d","userId":"%s","event":"%s","timestamp":"%s","properties":{"product_id":"sku-%04d","category":"sneakers","price":%d.99,"quantity":1,"currency":"GBP","cart_id":"c-%s","revenue":%d.99},"context":{"locale":"en-GB"}}`,
			random.Uint64(), i, user, name, time.Now().UTC().Format(time.RFC3339Nano), random.IntN(1000), 10+random.IntN(90), user, 10+random.IntN(90))}
	}
	return calls
}

// benchRelay is what JetStream itself can do with these payloads, eight partitions, batches of 500.
func benchRelay(b *testing.B, calls []event.Raw) time.Duration {
	js := benchJetStream(b)
	ctx := b.Context()
	for _, name := range []string{"IN", "OUT"} {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"}}); err != nil {
			b.Fatal(err)
		}
	}
	fill, err := bus.NewWave(js.Conn())
	if err != nil {
		b.Fatal(err)
	}
	defer fill.Close()
	count := make([]int, 8)
	for i := range calls {
		p := topology.Partition(calls[i].Key, len(count))
		count[p]++
		if _, err := fill.Publish(&nats.Msg{Subject: topology.Subject("IN", p), Data: calls[i].Payload}); err != nil {
			b.Fatal(err)
		}
		if i%2000 == 1999 || i == len(calls)-1 {
			if _, err := fill.Wait(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	began := time.Now()
	errs := make(chan error, len(count))
	for p := range count {
		go func() { errs <- relayPartition(ctx, js, p, count[p]) }()
	}
	for range count {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

func relayPartition(ctx context.Context, js jetstream.JetStream, p, n int) error {
	puller, err := bus.OpenConsumer(ctx, js, "IN", topology.Subject("IN", p), fmt.Sprintf("relay-%d", p), 0, 500)
	if err != nil {
		return err
	}
	defer puller.Close()
	wave, err := bus.NewWave(js.Conn())
	if err != nil {
		return err
	}
	defer wave.Close()
	for n > 0 {
		got, err := puller.Next(ctx, 500)
		if err != nil {
			return err
		}
		for _, d := range got {
			if _, err := wave.Publish(&nats.Msg{Subject: topology.Subject("OUT", p), Data: d.Data, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("%d-%d", p, d.Sequence)}}}); err != nil {
				return err
			}
		}
		if _, err := wave.Wait(ctx); err != nil {
			return err
		}
		if err := puller.Ack(got[len(got)-1]); err != nil {
			return err
		}
		n -= len(got)
	}
	return nil
}

// benchWhole measures from the first call's append until the last one's row is in ClickHouse.
func benchWhole(b *testing.B, calls []event.Raw) time.Duration {
	js := benchJetStream(b)
	ctx := b.Context()
	c := config.Default()
	c.ClickHouse.DSN = enginetest.Database(b)
	if err := topology.Ensure(ctx, js, c.Topology); err != nil {
		b.Fatal(err)
	}
	if err := catchMails(&c, "127.0.0.1:1"); err != nil { // no one has given consent: nothing is sent
		b.Fatal(err)
	}
	store, err := openControl(ctx, js)
	if err != nil {
		b.Fatal(err)
	}
	workspace, _, err := config.Example(0)
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := applyWorkspace(ctx, store, workspace); err != nil {
		b.Fatal(err)
	}
	w, err := newWorker(ctx, workerConfig{config: c, js: js, partitions: c.Topology.Partitions, metrics: prometheus.NewRegistry(), log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer w.close()
	working, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.run(working) }()
	<-w.router.Running()
	raw, err := pipeline.NewRawLog(js, benchProducers)
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	began := time.Now()
	var producers errgroup.Group
	producers.SetLimit(benchProducers)
	for part := range slices.Chunk(calls, 1000) {
		producers.Go(func() error { return raw.Append(ctx, part) })
	}
	if err := producers.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := settle(ctx, js, c.Topology.Partitions); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return took
}
