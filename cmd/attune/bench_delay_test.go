package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// delayRows measure how late things happen.
func delayRows() []row {
	return []row{
		{name: "event-to-decision-p99", unit: "ms", of: ofValue, less: true, floor: 50, aim: 20, open: openDecisions},
		{name: "wake-up-lateness-p99", unit: "ms", of: ofValue, less: true, floor: 1500, aim: 600, most: 1, open: openWakes},
		{name: "takeover-after-kill", unit: "ms", of: ofValue, less: true, floor: 4000, aim: 2000, open: openTakeover},
	}
}

// observer is told of a commit, its facts, and the instant at which the broker had stored it.
type observer func(partition int, commit *pipeline.Commit, facts pipeline.Facts, stored time.Time)

// stated is a commit as it is stored: its facts are read later, where that takes time that what is measured would lack.
type stated struct {
	partition int
	stored    time.Time
	data      []byte
}

// observe tells of each commit from now on, in order, from one goroutine.
func (p *product) observe(see observer) (stop func()) {
	return p.consume(p.teller(see))
}

// record tells of each commit from now on, in order, once it is stopped.
func (p *product) record(see observer) (stop func()) {
	tell := p.teller(see)
	var all []stated
	end := p.consume(func(s stated) { all = append(all, s) })
	return func() {
		end()
		for _, s := range all {
			tell(s)
		}
	}
}

func (p *product) consume(take func(stated)) (stop func()) {
	consumer, err := p.js.OrderedConsumer(p.tb.Context(), topology.Commits, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
	if err != nil {
		p.tb.Fatal(err)
	}
	reading, err := consumer.Consume(func(m jetstream.Msg) {
		metadata, err := m.Metadata()
		if err != nil {
			p.tb.Error(err)
			return
		}
		partition, err := topology.PartitionOf(m.Subject())
		if err != nil {
			p.tb.Error(err)
			return
		}
		take(stated{partition, metadata.Timestamp, m.Data()})
	})
	if err != nil {
		p.tb.Fatal(err)
	}
	return func() { reading.Stop(); <-reading.Closed() }
}

func (p *product) teller(see observer) func(stated) {
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		p.tb.Fatal(err)
	}
	return func(s stated) {
		commit, err := codec.Decode(s.data)
		if err != nil {
			p.tb.Error(err)
			return
		}
		facts, err := codec.Facts(commit)
		if err != nil {
			p.tb.Error(err)
			return
		}
		see(s.partition, commit, facts, s.stored)
	}
}

// openDecisions measures from an event's acceptance into RAW to the commit that holds what was decided about it, while
// half of what the pipeline can take at most comes in at an even pace, whether it keeps up or not.
func openDecisions(tb testing.TB, s scale) func() (figure, figure) {
	p := openProduct(tb)
	f := newFeed(newPopulation(s.of(10_000)), zipf)
	most := p.flood(f, s.of(60_000)) // once: what it leaves to be merged and folded is no part of half the load
	return func() (figure, figure) {
		var delays []time.Duration
		from := time.Now().Add(2 * time.Second / time.Duration(s)) // by then it has settled in
		stop := p.record(func(_ int, _ *pipeline.Commit, facts pipeline.Facts, stored time.Time) {
			for _, e := range facts.Events {
				if accepted := e.Event.Accepted.Time(); accepted.After(from) {
					delays = append(delays, stored.Sub(accepted))
				}
			}
		})
		watch := startWatch()
		sent := p.pace(f, most/2, 10*time.Second/time.Duration(s))
		p.settle()
		got := watch.perSecond(sent)
		stop()
		return figure{
			value: milliseconds(percentile(delays, 0.99)), cpu: got.cpu,
			note: fmt.Sprintf("p50 %.1f ms; at %.0f events/s of at most %.0f", milliseconds(percentile(delays, 0.5)), most/2, most),
		}, figure{}
	}
}

// flood measures how many events a second the pipeline takes for good: from RAW to ClickHouse, since what decides faster
// than that falls behind with its rows.
func (p *product) flood(f *feed, n int) float64 {
	calls := make([]event.Raw, n)
	for i := range calls {
		calls[i].Key, calls[i].Payload = f.call(time.Now())
		calls[i].Accepted = time.Now()
	}
	watch := startWatch()
	var producers errgroup.Group
	const part = 1000
	for start := 0; start < n; start += part {
		producers.Go(func() error { return p.raw.Append(p.tb.Context(), calls[start:min(start+part, n)]) })
	}
	if err := producers.Wait(); err != nil {
		p.tb.Fatal(err)
	}
	p.settle()
	return watch.perSecond(n).value
}

// pace appends events at an even rate for so long, and returns how many. None waits for the ones before it.
func (p *product) pace(f *feed, perSecond float64, long time.Duration) (sent int) {
	const beat = 5 * time.Millisecond
	var all errgroup.Group
	tick := time.NewTicker(beat)
	defer tick.Stop()
	began := time.Now()
	for at := began; at.Sub(began) < long; at = at.Add(beat) {
		for time.Now().Before(at) {
			<-tick.C
		}
		due := int(perSecond*at.Add(beat).Sub(began).Seconds()) - sent
		calls := make([]event.Raw, due)
		for i := range calls {
			calls[i].Key, calls[i].Payload = f.call(at)
			calls[i].Accepted = at // when it should have been sent: a producer that lags counts as well
		}
		sent += due
		all.Go(func() error { return p.raw.Append(p.tb.Context(), calls) })
	}
	if err := all.Wait(); err != nil {
		p.tb.Fatal(err)
	}
	return sent
}

// openWakes has 100,000 carts abandoned nearly an hour ago, whose wake-ups are pending; the delay is from the instant that
// each was asked for to the commit that holds its decision.
func openWakes(tb testing.TB, s scale) func() (figure, figure) {
	p := openProduct(tb)
	return func() (figure, figure) {
		return p.lateness(s, "Product Added", func(facts pipeline.Facts) (at []event.Instant) {
			for _, d := range facts.Decisions {
				if d.Campaign == "cart-abandonment" { // which waits for an hour
					at = append(at, d.At)
				}
			}
			return at
		}), figure{}
	}
}

// lateness has an event of each of 100,000 customers lie nearly an hour back, so that what becomes due an hour after it is
// pending. A fifth of it falls due within some seconds; the delay is from the instants that facts state to their commit.
func (p *product) lateness(s scale, name string, stated func(pipeline.Facts) []event.Instant) figure {
	n := s.of(100_000)
	soon := n / 5
	lead, spread := 25*time.Second, 15*time.Second
	if s != full {
		lead, spread = 1500*time.Millisecond, 300*time.Millisecond
	}
	done := make(chan struct{})
	var delays []time.Duration
	stop := p.observe(func(_ int, _ *pipeline.Commit, facts pipeline.Facts, stored time.Time) {
		for _, at := range stated(facts) {
			if delays = append(delays, stored.Sub(at.Time())); len(delays) == soon {
				close(done)
			}
		}
	})
	defer stop()
	first := time.Now().Add(lead)
	f := newFeed(newPopulation(n), each)
	if _, err := fill(p.tb.Context(), p.js, topology.Events, n, func(i int) (int, event.Event) {
		due := first.Add(time.Hour / 2)
		if i < soon {
			due = first.Add(spread * time.Duration(i) / time.Duration(soon))
		}
		partition, e := f.next(due.Add(-time.Hour))
		e.Name = name
		return partition, e
	}); err != nil {
		p.tb.Fatal(err)
	}
	if err := p.armed(p.tb.Context(), n, first); err != nil {
		p.tb.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		p.tb.Fatalf("%d of %d were stated within 2 minutes", len(delays), soon)
	}
	return figure{
		value: milliseconds(percentile(delays, 0.99)),
		note:  fmt.Sprintf("p50 %.0f ms; %d pending, %.0f a second due", milliseconds(percentile(delays, 0.5)), n, float64(soon)/spread.Seconds()),
	}
}

// armed waits until so many wake-ups are pending, which must be before the first of them is due.
func (p *product) armed(ctx context.Context, n int, due time.Time) error {
	for {
		stream, err := p.js.Stream(ctx, topology.Wakeups)
		if err != nil {
			return err
		}
		pending := stream.CachedInfo().State.Msgs
		switch {
		case pending >= uint64(n):
			return nil
		case time.Now().After(due):
			return fmt.Errorf("only %d of %d wake-ups were armed before the first was due", pending, n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
