package main

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

func normalizeRows() []row {
	return []row{{name: "normalize", against: againstRelay, unit: "events/s", of: ofRatio, floor: 0.4, aim: 0.6, open: openNormalize}}
}

// openNormalize is the normalize stage as a worker of its own, which finds calls in RAW as ingest leaves them there, makes
// events of known and of new customers' and is done when all of them are in the log; its start counts too.
func openNormalize(tb testing.TB, s scale) func() (figure, figure) {
	c := config.Default()
	p := &product{tb: tb, js: benchJetStream(tb)}
	if err := p.prepare(c.Topology); err != nil {
		tb.Fatal(err)
	}
	raw, err := pipeline.NewRawLog(tb.Context(), p.js, ingestConcurrency)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(raw.Close)
	f := newFeed(newPopulation(s.of(100_000)), zipf)
	n := s.of(100_000)
	var turns turns
	return func() (figure, figure) {
		return turns.run(func() figure {
			p.empty(topology.Events)
			const request = 100
			for range n / request {
				calls, now := make([]event.Raw, request), time.Now()
				for i := range calls {
					calls[i].Key, calls[i].Payload = f.call(now)
					calls[i].Accepted = now
				}
				if err := raw.Append(tb.Context(), calls); err != nil {
					tb.Fatal(err)
				}
			}
			watch := startWatch()
			stop, err := p.work(c, prometheus.NewRegistry(), pipeline.ReaderNormalize)
			if err != nil {
				tb.Fatal(err)
			}
			for partition := range benchPartitions {
				p.passed(topology.Raw, topology.Durable(pipeline.ReaderNormalize, partition))
			}
			got := watch.perSecond(n)
			stop()
			return got
		}, func() figure { return relayOf(tb, p.js, f, n) })
	}
}
