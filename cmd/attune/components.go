package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/lease"
	"attune/pipeline/rollout"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/pipeline/wake"
	"attune/sinks/clickhouse"
	"attune/sinks/smtp"
	"attune/stages/deliver"
	"attune/stages/normalize"
)

// worker is the part of the pipeline that one process runs: chains over the partitions that are its own.
type worker struct {
	config   workerConfig
	lease    *lease.Worker
	router   *message.Router
	handlers int
	running  chan struct{} // closed when it works
	closers  []func()

	// What the chosen parts are made of; nil: not run here.
	raw        *pipeline.RawLog
	clickhouse *clickhouse.Sink
	facts      *pipeline.SinkReader
	audit      *auditJob
	learner    *learner
	rollout    *rollout.Runner
	guard      *guard
	teller     *teller
}

// workerConfig is what the wiring needs.
type workerConfig struct {
	config     config.Config
	only       []string // names of parts; none: all
	js         jetstream.JetStream
	partitions int
	metrics    prometheus.Registerer
	log        *slog.Logger
}

// part is one line of the wiring: what can run in a process of its own, by the name that --only gives it.
type part struct {
	name string
	// topics are shared out among the workers that run the part; none: each runs it for itself.
	topics func(c workerConfig) []string
	wire   func(w *worker, ctx context.Context, owner bus.Owner, definitions *definitions) ([]handler, error)
}

const (
	partIngest  = "ingest"
	partSink    = "sink"
	partRollout = "rollout"
	partLearn   = "learn"
)

// parts is everything that a worker can run, in the order in which an event passes.
func parts() []part {
	return []part{
		{partIngest, none, (*worker).wireIngest},
		{pipeline.ReaderNormalize, partitions, (*worker).wireNormalize},
		{pipeline.ReaderCustomer, partitions, (*worker).wireCustomer},
		{pipeline.ReaderDeliver, destinations, (*worker).wireDeliver},
		{partRollout, steers, (*worker).wireRollout},
		{partSink, func(workerConfig) []string { return []string{pipeline.ReaderClickHouse} }, (*worker).wireSink},
		{partLearn, learning, (*worker).wireLearner},
	}
}

// learning is one topic, so that one worker of all trains; none where nobody is to, or the database can't be asked.
func learning(c workerConfig) []string {
	if _, err := c.config.ClickHouse.QueryDSN(); err != nil || c.config.Learner.Every == 0 {
		return nil
	}
	return []string{learnTopic}
}

// steers are what steers decisions: segments are counted by one who can ask the database.
func steers(c workerConfig) []string {
	topics := []string{rollout.Topic, tellerTopic}
	if _, err := c.config.ClickHouse.QueryDSN(); err == nil {
		topics = append(topics, guardTopic)
	}
	return topics
}

func none(workerConfig) []string { return nil }

func destinations(c workerConfig) []string { return c.config.DestinationNames() }

func partitions(c workerConfig) []string {
	numbers := make([]string, c.partitions)
	for p := range numbers {
		numbers[p] = strconv.Itoa(p)
	}
	return numbers
}

// chosen are the parts of the given names, all where there is none. Its error lists the names.
func chosen(names []string) ([]part, error) {
	all := parts()
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, p := range all {
		known = append(known, p.name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("--only %s: there is no such part: choose among %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(p part) bool { return !slices.Contains(names, p.name) }), nil
}

// handler says who reads which topic, through what.
type handler struct {
	name       string
	topic      string
	subscriber message.Subscriber
	handle     message.HandlerFunc // what it returns is published
}

// newWorker wires the chosen parts.
func newWorker(ctx context.Context, c workerConfig) (_ *worker, err error) {
	w := &worker{config: c, running: make(chan struct{})}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	run, err := chosen(c.only)
	if err != nil {
		return nil, err
	}
	var chains []lease.Chain
	for _, p := range run {
		chains = append(chains, lease.Chain{Name: p.name, Topics: p.topics(c)})
	}
	if w.lease, err = lease.New(ctx, lease.Config{JetStream: c.js, Chains: chains, Metrics: c.metrics, Log: c.log}); err != nil {
		return nil, err
	}
	definitions, err := newDefinitions(ctx, c.js, c.partitions)
	if err != nil {
		return nil, err
	}
	var handlers []handler
	for _, p := range run {
		wired, err := p.wire(w, ctx, w.lease.Owner(p.name), definitions)
		if err != nil {
			return nil, err
		}
		handlers = append(handlers, wired...)
	}
	return w, w.route(handlers, c)
}

// wireIngest opens RAW for the HTTP server.
func (w *worker) wireIngest(ctx context.Context, _ bus.Owner, _ *definitions) (_ []handler, err error) {
	if w.raw, err = pipeline.NewRawLog(ctx, w.config.js, ingestConcurrency); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.raw.Close)
	return nil, nil
}

func (w *worker) wireNormalize(ctx context.Context, owner bus.Owner, _ *definitions) ([]handler, error) {
	c := w.config
	hash, err := vault.OpenHasher(ctx, c.js)
	if err != nil {
		return nil, err
	}
	throttle := pipeline.NewEventsThrottle(c.js, c.partitions, c.config.Topology.EventsLag, c.log)
	if err := c.metrics.Register(throttle); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	stage, err := normalize.New(ctx, normalize.Config{
		JetStream: c.js, Partitions: c.partitions, Hash: hash, Settings: c.config.Normalize, Throttle: throttle, Metrics: c.metrics, Log: c.log,
	})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, stage.Close)
	raw := stage.Subscriber().OwnedBy(owner)
	var handlers []handler
	for p := range c.partitions {
		handlers = append(handlers, handler{topology.Durable(pipeline.ReaderNormalize, p), topology.Subject(topology.Raw, p), raw, stage.Handle})
	}
	return handlers, nil
}

// wireCustomer has the customer chain, its relay and its wake-ups' forwarder, which are owned together.
func (w *worker) wireCustomer(_ context.Context, owner bus.Owner, definitions *definitions) ([]handler, error) {
	c := w.config
	throttle := pipeline.NewCommitsThrottle(c.js, c.config.Topology.CommitsBytes, c.log)
	if err := c.metrics.Register(throttle); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	customers, err := pipeline.NewCustomer(pipeline.CustomerConfig{JetStream: c.js, Load: definitions.chain, Throttle: throttle, Metrics: c.metrics, Log: c.log})
	if err != nil {
		return nil, err
	}
	relay, err := pipeline.NewRelay(c.js, c.log)
	if err != nil {
		return nil, err
	}
	wakes := wake.NewForwarder(c.js, time.Now, c.log)
	due, log, commits := wakes.Subscriber().OwnedBy(owner), customers.Subscriber().OwnedBy(owner), relay.Subscriber().OwnedBy(owner)
	var handlers []handler
	for p := range c.partitions {
		handlers = append(handlers,
			handler{topology.Durable(wake.Reader, p), topology.DueSubject(p), due, wakes.Handle},
			handler{topology.Durable(pipeline.ReaderCustomer, p), topology.Subject(topology.Events, p), log, nothing(customers.Handle)},
			handler{topology.Durable(pipeline.ReaderRelay, p), topology.Subject(topology.Commits, p), commits, relay.Handle},
		)
	}
	return handlers, nil
}

// wireDeliver has a handler for each destination, so that none waits for another.
func (w *worker) wireDeliver(ctx context.Context, owner bus.Owner, definitions *definitions) ([]handler, error) {
	c := w.config
	metrics, err := deliver.NewMetrics(c.metrics)
	if err != nil {
		return nil, err
	}
	var handlers []handler
	for _, name := range c.config.DestinationNames() {
		destination := c.config.Destinations[name]
		sender, err := smtp.New(*destination.SMTP)
		if err != nil {
			return nil, fmt.Errorf("destination %s: %w", name, err)
		}
		w.closers = append(w.closers, func() { _ = sender.Close() })
		bucket, err := state.Open(c.js.Conn(), topology.Vault)
		if err != nil {
			return nil, fmt.Errorf("destination %s: %w", name, err)
		}
		personal := vault.New(bucket)
		w.closers = append(w.closers, personal.Close)
		stage, err := deliver.New(ctx, deliver.Config{
			JetStream: c.js, Destination: name, Sender: sender, Templates: definitions, Vault: personal,
			AfterCrash: destination.AfterCrash, Now: time.Now, Metrics: metrics, Log: c.log,
		})
		if err != nil {
			return nil, fmt.Errorf("destination %s: %w", name, err)
		}
		handlers = append(handlers, handler{topology.Durable(pipeline.ReaderDeliver, name), stage.Topic(), stage.Subscriber().OwnedBy(owner), stage.Handle})
	}
	return handlers, nil
}

// route puts the handlers on Watermill's Router.
func (w *worker) route(handlers []handler, c workerConfig) error {
	quiet := withoutTrace{watermill.NewSlogLoggerWithLevelMapping(c.log, map[slog.Level]slog.Level{
		slog.LevelDebug: slog.LevelDebug - 4, slog.LevelInfo: slog.LevelDebug,
	})}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 30 * time.Second}, quiet)
	if err != nil {
		return fmt.Errorf("router: %w", err)
	}
	router.AddMiddleware(middleware.Recoverer)
	for _, h := range handlers {
		router.AddHandler(h.name, h.topic, h.subscriber, "", bus.NewPublisher(c.js), h.handle)
	}
	w.router, w.handlers = router, len(handlers)
	return nil
}

// withoutTrace drops Watermill's lines per message before their fields are collected.
type withoutTrace struct{ watermill.LoggerAdapter }

// Trace says nothing.
func (withoutTrace) Trace(string, watermill.LogFields) {}

// With keeps it that way.
func (w withoutTrace) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return withoutTrace{w.LoggerAdapter.With(fields)}
}

const (
	// clickHousePatience is how long a start waits until ClickHouse answers.
	clickHousePatience = 5 * time.Second
	// preparePatience is how long it waits until its database is prepared by a ClickHouse that answers.
	preparePatience = time.Minute
)

// prepared has the sink's database prepared, unless ClickHouse is away: decisions don't wait for it, rows do.
func prepared(ctx context.Context, sink *clickhouse.Sink, log *slog.Logger) error {
	reaching, cancel := context.WithTimeout(ctx, clickHousePatience)
	defer cancel()
	waiting, err := reaching, sink.Reach(reaching)
	if err == nil {
		preparing, cancel := context.WithTimeout(ctx, preparePatience)
		defer cancel()
		waiting, err = preparing, sink.Prepare(preparing)
	}
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		log.Warn("start without ClickHouse: rows wait until it answers", "error", err)
		return nil
	}
	return err
}

// wireSink opens the sinks that read the commits, and has what they hold audited by who owns them.
func (w *worker) wireSink(ctx context.Context, owner bus.Owner, definitions *definitions) (_ []handler, err error) {
	c := w.config
	if w.clickhouse, err = clickhouse.New(c.config.ClickHouse, c.log); err != nil {
		return nil, err
	}
	w.closers = append(w.closers, func() { _ = w.clickhouse.Close() })
	if err := prepared(ctx, w.clickhouse, c.log); err != nil {
		return nil, err
	}
	if err := c.metrics.Register(w.clickhouse); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	w.facts, err = pipeline.NewSinkReader(pipeline.SinkConfig{
		JetStream: c.js, Name: pipeline.ReaderClickHouse, Sink: w.clickhouse, Owner: owner,
		Rows: c.config.ClickHouse.BatchRows, Interval: c.config.ClickHouse.BatchInterval, Log: c.log,
	})
	if err != nil || c.config.Audit.Every == 0 {
		return nil, err
	}
	dsn, err := c.config.ClickHouse.QueryDSN()
	if err != nil {
		return nil, err
	}
	metrics, err := newAuditMetrics(c.metrics)
	if err != nil {
		return nil, err
	}
	w.audit = &auditJob{
		auditor: auditor{dsn: dsn, store: definitions.store, settings: c.config.Audit, declared: c.config.Normalize.OpenFields}, every: c.config.Audit.Every,
		sink: w.clickhouse, owner: owner, metrics: metrics, log: c.log,
	}
	return nil, nil
}

// wireLearner has what trains models on a schedule.
func (w *worker) wireLearner(ctx context.Context, owner bus.Owner, definitions *definitions) (_ []handler, err error) {
	if len(learning(w.config)) == 0 {
		return nil, nil
	}
	dsn, err := w.config.config.ClickHouse.QueryDSN()
	if err != nil {
		return nil, err
	}
	w.learner, err = newLearner(ctx, w.config, owner, definitions, dsn)
	return nil, err
}

// wireRollout prepares customers for definitions that are staged, and watches the sizes of segments.
func (w *worker) wireRollout(_ context.Context, owner bus.Owner, definitions *definitions) (_ []handler, err error) {
	c := w.config
	w.teller = &teller{store: definitions.store, owner: owner, log: c.log}
	w.guard = &guard{definitions: definitions, owner: owner, sizes: segmentSizes(c.config.ClickHouse), log: c.log}
	w.rollout, err = rollout.New(rollout.Config{
		JetStream: c.js, Store: definitions.store, Partitions: c.partitions, Plan: definitions.plan, Rate: c.config.Rollout.Rate,
		Older: olderEvents(c.config.ClickHouse), BeforeSwitch: w.guard.beforeSwitch,
		Throttle: pipeline.NewEventsThrottle(c.js, c.partitions, c.config.Topology.EventsLag, c.log), Owner: owner, Log: c.log,
	})
	return nil, err
}

// run joins the other workers and works until ctx ends; then it hands over and finishes what is under way. listen
// is the process's HTTP address, for those who look.
func (w *worker) run(ctx context.Context, listen string) error {
	if err := w.lease.Start(ctx, listen); err != nil {
		return err
	}
	defer w.lease.Close()
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	cancel := context.AfterFunc(ctx, func() {
		defer stop()
		if err := w.lease.Leave(working); err != nil { // the others learn it from the heartbeat's end
			w.config.log.Warn("leave", "error", err)
		}
	})
	defer cancel()
	var all errgroup.Group
	if w.facts != nil {
		all.Go(func() error { w.facts.Run(working); return nil })
	}
	if w.audit != nil {
		all.Go(func() error { return w.audit.run(working) })
	}
	if w.learner != nil {
		all.Go(func() error { return w.learner.run(working) })
	}
	if w.rollout != nil {
		all.Go(func() error { w.rollout.Run(working); return nil })
		all.Go(func() error { w.guard.run(working); return nil })
		all.Go(func() error { w.teller.run(working); return nil })
	}
	if w.handlers > 0 { // a Router without any ends at once
		all.Go(func() error { defer stop(); return w.router.Run(working) })
		select {
		case <-w.router.Running():
		case <-working.Done():
		}
	}
	close(w.running)
	<-working.Done()
	return all.Wait()
}

func (w *worker) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
	w.closers = nil
}

// nothing makes a handler that publishes nothing one that could.
func nothing(handle message.NoPublishHandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) { return nil, handle(m) }
}
