package main

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"attune/stages/enrich"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/profile"
	"attune/pipeline/state"
	"attune/pipeline/topology"
)

// customers is a broker with a workspace in force, a population of customers with a history in the bucket, and
// at times a worker of the customer chain over it.
type customers struct {
	tb         testing.TB
	server     *embedded.NATS
	js         jetstream.JetStream
	chain      *pipeline.Chain // with the definitions in force
	population *population
	foldEvery  time.Duration
	gate       gate
	stop       func()
}

func openCustomers(tb testing.TB, s scale, workspace *config.Workspace, n int) *customers {
	// Ten times as often as the product: a run is a few seconds, and folding is to go on in it.
	c := &customers{tb: tb, server: enginetest.NATS(tb), population: newPopulation(s.of(n)), foldEvery: time.Second}
	if s != full {
		c.foldEvery = 20 * time.Millisecond
	}
	c.js = connected(tb, c.server)
	t := topology.DefaultConfig()
	t.Partitions = benchPartitions
	if err := topology.Ensure(tb.Context(), c.js, t); err != nil {
		tb.Fatal(err)
	}
	store, err := openControl(tb.Context(), c.js)
	if err != nil {
		tb.Fatal(err)
	}
	applied, err := applyWorkspace(tb.Context(), c.js, store, workspace, false)
	if err != nil {
		tb.Fatal(err)
	}
	if c.chain, err = workspace.Chain(applied.record.Version, enrich.DefaultModels()); err != nil {
		tb.Fatal(err)
	}
	if err := c.settleIn(topology.Profiles); err != nil {
		tb.Fatal(err)
	}
	return c
}

// settleIn gives every customer one of a few histories, and stores the profiles in a bucket as a fold would have.
func (c *customers) settleIn(name string) error {
	histories := make([]*profile.Profile, 64)
	for i := range histories {
		var err error
		if histories[i], err = history(c.chain); err != nil {
			return err
		}
	}
	bucket, err := state.Open(c.js.Conn(), name)
	if err != nil {
		return err
	}
	defer bucket.Close()
	const part = 5000
	writes := make([]state.Write, 0, part)
	for i, id := range c.population.ids {
		p := *histories[i%len(histories)]
		p.ID, p.Applied = id, 0 // the log of this run has not reached it yet
		if writes = append(writes, state.Write{Key: id, Value: profile.Encode(&p)}); len(writes) < part && i < len(c.population.ids)-1 {
			continue
		}
		if _, conflicts, err := bucket.Put(c.tb.Context(), writes); err != nil || len(conflicts) > 0 {
			return fmt.Errorf("store profiles: %d conflicts, %w", len(conflicts), err)
		}
		writes = writes[:0]
	}
	return nil
}

// history is a customer after half an hour of ten events, of which nothing is due soon.
func history(chain *pipeline.Chain) (*profile.Profile, error) {
	past := newFeed(newPopulation(1), each)
	p := profile.New("")
	for i := range 10 {
		_, e := past.next(time.Now().Add(-30*time.Minute + time.Duration(i)*time.Minute))
		if _, err := chain.Apply(p, &e, uint64(i+1)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// start runs a worker, with nothing in its caches, that keeps as many profiles in memory as given; 0: its default. Nobody else reads
// the commits, so they are purged once they are folded and their trail is kept.
func (c *customers) start(cached int) {
	ctx := c.tb.Context()
	definitions, err := newDefinitions(ctx, c.js, benchPartitions)
	if err != nil {
		c.tb.Fatal(err)
	}
	chain, err := pipeline.NewCustomer(pipeline.CustomerConfig{
		JetStream: c.js, Load: definitions.chain, CachedProfiles: cached / benchPartitions * 3 / 2, // partitions are not even
		FoldEvery: c.foldEvery, Readers: func(int) []string { return nil }, Metrics: prometheus.NewRegistry(), Log: benchLog(c.tb),
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	subscriber := chain.Subscriber()
	var handlers []handler
	for p := range benchPartitions {
		handlers = append(handlers, handler{"customer-" + strconv.Itoa(p), topology.Subject(topology.Events, p), subscriber, c.gate.through(nothing(chain.Handle))})
	}
	c.stop = startRouter(c.tb, c.js, handlers)
}

// fill appends to the log while the worker, if there is one, stands at the gate.
func (c *customers) fill(f *feed, n int) span {
	s, err := f.fill(c.tb.Context(), c.js, topology.Events, n)
	if err != nil {
		c.tb.Fatal(err)
	}
	return s
}

// warm takes one record of everyone through the worker, so that all profiles are in memory, and folded.
func (c *customers) warm(f *feed) {
	everyone := newFeed(c.population, each)
	everyone.ordinal = f.ordinal
	s := c.fill(everyone, len(c.population.ids))
	f.ordinal = everyone.ordinal
	if err := s.read(c.tb.Context(), c.js, topology.Events, pipeline.ReaderCustomer); err != nil {
		c.tb.Fatal(err)
	}
	if err := c.folded(c.tb.Context()); err != nil {
		c.tb.Fatal(err)
	}
}

// folded waits until nothing has been written to the bucket for two rounds of folding.
func (c *customers) folded(ctx context.Context) error {
	newest, since := uint64(0), time.Now()
	for time.Since(since) < 2*c.foldEvery {
		stream, err := c.js.Stream(ctx, "KV_"+topology.Profiles)
		if err != nil {
			return err
		}
		if last := stream.CachedInfo().State.LastSeq; last != newest {
			newest, since = last, time.Now()
		}
		time.Sleep(c.foldEvery / 20)
	}
	return nil
}

// relay takes the span through the raw relay.
func (c *customers) relay(s span) figure {
	freshStream(c.tb, c.js, "OUT")
	f, err := rawRelay(c.tb.Context(), c.js, topology.Events, "OUT", s)
	if err != nil {
		c.tb.Fatal(err)
	}
	if err := c.js.DeleteStream(c.tb.Context(), "OUT"); err != nil {
		c.tb.Fatal(err)
	}
	return f
}

// run opens the gate and measures until the last record of the span is committed; the CPU time, until its profiles
// are folded too.
func (c *customers) run(s span) figure {
	if err := c.gate.ready(c.tb.Context(), s); err != nil {
		c.gate.open()
		c.tb.Fatal(err)
	}
	if err := c.folded(c.tb.Context()); err != nil { // what a worker found unfolded when it began
		c.gate.open()
		c.tb.Fatal(err)
	}
	watch := startWatch()
	c.gate.open()
	if err := s.read(c.tb.Context(), c.js, topology.Events, pipeline.ReaderCustomer); err != nil {
		c.tb.Fatal(err)
	}
	f := watch.perSecond(s.events)
	if err := c.folded(c.tb.Context()); err != nil {
		c.tb.Fatal(err)
	}
	return watch.total(f, s.events)
}

// exampleWorkspace is the one that `attune dev` runs, its waits as they are written.
func exampleWorkspace(tb testing.TB) *config.Workspace {
	workspace, _, err := config.Example(0)
	if err != nil {
		tb.Fatal(err)
	}
	return workspace
}
