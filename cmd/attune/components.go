package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/pipeline/wake"
	"attune/sinks/clickhouse"
	"attune/sinks/smtp"
	"attune/stages/deliver"
	"attune/stages/normalize"
)

// worker is the pipeline of one process: every chain over every partition, and the sinks.
type worker struct {
	router     *message.Router
	clickhouse *clickhouse.Sink
	facts      *pipeline.SinkReader
	closers    []func()
}

// workerConfig is what the wiring needs.
type workerConfig struct {
	config     config.Config
	js         jetstream.JetStream
	partitions int
	metrics    prometheus.Registerer
	log        *slog.Logger
}

// handler is one line of the wiring: who reads which topic, through what.
type handler struct {
	name       string
	topic      string
	subscriber message.Subscriber
	handle     message.HandlerFunc // what it returns is published
}

// newWorker wires everything. The table of handlers reads in the order in which an event passes them.
func newWorker(ctx context.Context, c workerConfig) (_ *worker, err error) {
	w := &worker{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	definitions, err := newDefinitions(ctx, c.js, c.partitions)
	if err != nil {
		return nil, err
	}
	hash, err := vault.OpenHasher(ctx, c.js)
	if err != nil {
		return nil, err
	}
	logThrottle := pipeline.NewEventsThrottle(c.js, c.partitions, c.config.Topology.EventsLag, c.log)
	commitsThrottle := pipeline.NewCommitsThrottle(c.js, c.config.Topology.CommitsBytes, c.log)
	for _, t := range []*pipeline.Throttle{logThrottle, commitsThrottle} {
		if err := c.metrics.Register(t); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	normalizing, err := normalize.New(ctx, normalize.Config{JetStream: c.js, Partitions: c.partitions, Hash: hash, Throttle: logThrottle, Metrics: c.metrics, Log: c.log})
	if err != nil {
		return nil, err
	}
	customers, err := pipeline.NewCustomer(pipeline.CustomerConfig{JetStream: c.js, Load: definitions.chain, Throttle: commitsThrottle, Metrics: c.metrics, Log: c.log})
	if err != nil {
		return nil, err
	}
	relay, err := pipeline.NewRelay(c.js, c.log)
	if err != nil {
		return nil, err
	}
	wakes := wake.NewForwarder(c.js, time.Now, c.log)

	raw, log, due, commits := normalizing.Subscriber(), customers.Subscriber(), wakes.Subscriber(), relay.Subscriber()
	var handlers []handler
	for p := range c.partitions {
		n := strconv.Itoa(p)
		handlers = append(handlers,
			handler{"normalize-" + n, topology.Subject(topology.Raw, p), raw, normalizing.Handle},
			handler{"wake-" + n, topology.DueSubject(p), due, wakes.Handle},
			handler{"customer-" + n, topology.Subject(topology.Events, p), log, nothing(customers.Handle)},
			handler{"relay-" + n, topology.Subject(topology.Commits, p), commits, relay.Handle},
		)
	}
	deliveries, err := w.deliveries(ctx, c, definitions)
	if err != nil {
		return nil, err
	}
	if err := w.route(append(handlers, deliveries...), c); err != nil {
		return nil, err
	}
	if err := w.facing(ctx, c); err != nil {
		return nil, err
	}
	return w, nil
}

// deliveries has a handler for each destination, so that none waits for another.
func (w *worker) deliveries(ctx context.Context, c workerConfig, definitions *definitions) ([]handler, error) {
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
		handlers = append(handlers, handler{"deliver-" + name, stage.Topic(), stage.Subscriber(), stage.Handle})
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
	w.router = router
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

// facing opens the sinks that read the commits.
func (w *worker) facing(ctx context.Context, c workerConfig) (err error) {
	if w.clickhouse, err = clickhouse.Open(ctx, c.config.ClickHouse, c.log); err != nil {
		return err
	}
	w.closers = append(w.closers, func() { _ = w.clickhouse.Close() })
	if err := c.metrics.Register(w.clickhouse); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	w.facts, err = pipeline.NewSinkReader(pipeline.SinkConfig{
		JetStream: c.js, Name: pipeline.ReaderClickHouse, Sink: w.clickhouse,
		Rows: c.config.ClickHouse.BatchRows, Interval: c.config.ClickHouse.BatchInterval, Log: c.log,
	})
	return err
}

// run works until ctx ends, then finishes what is under way.
func (w *worker) run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.facts.Run(ctx)
	}()
	err := w.router.Run(ctx)
	<-ended
	return err
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
