package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"attune/config"
)

// node is the running process: the worker and the HTTP server over their engines.
type node struct {
	engines *engines
	worker  *worker
	server  *server
	mux     *http.ServeMux
}

// ingestConcurrency is how many requests append to RAW at a time.
const ingestConcurrency = 64

// startNode wires the parts that only names, all where it is empty.
func startNode(ctx context.Context, c config.Config, only []string, e *engines, log *slog.Logger) (_ *node, err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(), newLag(e.js, log))
	n := &node{engines: e}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	n.worker, err = newWorker(ctx, workerConfig{config: c, only: only, js: e.js, partitions: c.Topology.Partitions, metrics: registry, log: log})
	if err != nil {
		return nil, err
	}
	if n.server, n.mux, err = newServer(c.Listen, n.worker.raw, c.Ingest, registry, n.checks(), log); err != nil {
		return nil, err
	}
	n.mux.Handle("GET /v1/profiles/{id}", newProfileAPI(c.API, func(ctx context.Context) (*profileReader, error) {
		return newProfileReader(ctx, e.js, c.Topology.Partitions)
	}, log))
	return n, nil
}

// checks are what readiness depends on; not on what this process owns at the moment, which may be nothing, nor on where
// rows go, unless it does nothing else: they wait, and who probes it would take away what need not.
func (n *node) checks() []check {
	checks := []check{
		{name: "nats", run: func(context.Context) error {
			if status := n.engines.conn.Status(); status != nats.CONNECTED {
				return errors.New(status.String())
			}
			return n.engines.natsHealth()
		}},
		{name: "pipeline", run: func(context.Context) error {
			select {
			case <-n.worker.running:
				return nil
			default:
				return errors.New("not running yet")
			}
		}},
	}
	if n.worker.facts != nil {
		beside := !slices.Equal(n.worker.config.only, []string{partSink})
		checks = append(checks,
			check{"clickhouse", n.worker.clickhouse.Ping, beside},
			check{"facts", func(context.Context) error { return n.worker.facts.Err() }, beside})
	}
	return checks
}

// run works until ctx ends or something fails, then drains: requests under way are answered, commits under
// way are stored. beside, if it is not nil, runs along until ctx ends.
func (n *node) run(ctx context.Context, ready func(), beside func(context.Context) error) error {
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	working, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var all errgroup.Group
	start := func(run func() error) {
		all.Go(func() error {
			err := run()
			if err != nil {
				fail(err)
			}
			return err
		})
	}
	start(func() error { return n.worker.run(working, n.server.listener.Addr().String()) })
	start(n.server.serve)
	along := make(chan struct{}) // closed when what runs along has ended: before the server that it talks to
	select {
	case <-n.worker.running:
		ready()
		if beside != nil {
			start(func() error { defer close(along); return beside(serving) })
		} else {
			close(along)
		}
	case <-serving.Done():
		close(along)
	}
	select {
	case <-serving.Done():
	case <-n.engines.clickhouseEnded():
		fail(fmt.Errorf("the embedded ClickHouse has ended: %w", n.engines.clickhouse.Err()))
	case err := <-n.engines.natsFailed(serving):
		fail(err)
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	select {
	case <-along:
	case <-stopping.Done():
	}
	err := n.server.stop(stopping)
	stopWork()
	return errors.Join(err, all.Wait(), notCanceled(context.Cause(serving)))
}

// notCanceled is nil for the ordinary end.
func notCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (n *node) close() {
	if n.server != nil {
		_ = n.server.http.Close()
	}
	if n.worker != nil {
		n.worker.close()
	}
}

// buildInfo is the metric that carries the version.
func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "attune_build_info", Help: "Always 1; the labels tell the build.",
		ConstLabels: prometheus.Labels{"version": version()},
	})
	info.Set(1)
	return info
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
