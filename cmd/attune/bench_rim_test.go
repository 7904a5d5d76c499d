package main

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/topology"
	"attune/stages/ingest"
)

// rimRows measure what faces the outside, and all of it from end to end.
func rimRows() []row {
	return []row{
		{name: "ingest-http", against: "PublishAsync of the same calls", unit: "events/s", of: ofRatio, floor: 0.4, aim: 0.6, open: openIngest},
		{name: "clickhouse-sink", against: "bare clickhouse-go insert of the same rows", unit: "rows/s", of: ofRatio, floor: 0.6, aim: 0.8, open: openSink},
		// Peers on such a machine: correct ordered keyed state 8,500/s; deduplicated into ClickHouse 31,400/s, without state.
		{name: "end-to-end", against: againstRelay + ", one hop", unit: "events/s", of: ofValue, floor: 8_500, aim: 31_400, open: openEndToEnd},
	}
}

// openIngest takes batches of 100 calls over eight connections, acknowledged once RAW has stored them.
func openIngest(tb testing.TB, s scale) func() (figure, figure) {
	const connections = 8
	js := benchJetStream(tb)
	t := topology.DefaultConfig()
	t.Partitions = benchPartitions
	if err := topology.Ensure(tb.Context(), js, t); err != nil {
		tb.Fatal(err)
	}
	p := &product{tb: tb, js: js}
	if err := p.serve(ingest.DefaultConfig(), prometheus.NewRegistry()); err != nil {
		tb.Fatal(err)
	}
	f := newFeed(newPopulation(s.of(100_000)), zipf)
	var turns turns
	return func() (figure, figure) {
		n := s.of(200_000)
		all, calls := requests(f, n)
		return turns.run(func() figure {
			p.empty(topology.Raw)
			watch := startWatch()
			if err := p.post(all, connections); err != nil {
				tb.Fatal(err)
			}
			return watch.perSecond(n)
		}, func() figure {
			p.empty(topology.Raw)
			watch := startWatch()
			for i, call := range calls {
				if _, err := js.PublishAsync(topology.IngestSubject+"."+fmt.Sprint(i%1000), call); err != nil {
					tb.Fatal(err)
				}
			}
			<-js.PublishAsyncComplete()
			return watch.perSecond(n)
		})
	}
}

func (p *product) empty(stream string) {
	s, err := p.js.Stream(p.tb.Context(), stream)
	if err == nil {
		err = s.Purge(p.tb.Context())
	}
	if err != nil {
		p.tb.Fatal(err)
	}
}

// openEndToEnd measures from the first request to the last row in ClickHouse: calls over HTTP in batches of 100,
// normalized, through the customer chain, into its tables, with the relay and the wake-ups that they lead to. There are as
// many as the peers were given.
func openEndToEnd(tb testing.TB, s scale) func() (figure, figure) {
	p := openProduct(tb)
	population := newPopulation(s.of(100_000))
	f := newFeed(population, zipf)
	var turns turns
	return func() (figure, figure) {
		n := s.of(300_000)
		return turns.run(func() figure {
			all, _ := requests(f, n)
			watch := startWatch()
			if err := p.post(all, 8); err != nil {
				tb.Fatal(err)
			}
			p.settle()
			return watch.perSecond(n)
		}, func() figure { return relayOf(tb, p.js, f, n) })
	}
}
