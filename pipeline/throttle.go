package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"attune/pipeline/topology"
)

const (
	// throttleEvery is how often the broker is asked, at most, whatever the number of sessions.
	throttleEvery = 500 * time.Millisecond
	// throttlePatience is how long an answer is waited for, by all sessions; throttlePause, how long none is asked for after
	// that. A reader without a leader, whose node died, would stop the chain otherwise.
	throttlePatience = time.Second
	throttlePause    = 10 * time.Second
	// throttleAsks is how many partitions are asked for at a time.
	throttleAsks = 32
)

// Throttle holds a chain back, between two batches, while too much of what it writes waits for its readers. It is
// what keeps a stream that must not refuse within its bound. A nil one holds nobody back. It is safe for
// concurrent use: the sessions of a chain share one. It is also the prometheus.Collector of its metric.
type Throttle struct {
	stream  string
	limit   uint64
	unit    string
	waiting func(ctx context.Context) (uint64, error)
	log     *slog.Logger
	gauge   prometheus.Gauge

	mu   sync.Mutex
	next time.Time // when it is asked again
	over bool
}

// NewEventsThrottle holds normalizing back while more records than the limit wait, in any partition, for the customer
// chain. A partition that no customer chain has ever read holds nobody back.
func NewEventsThrottle(js jetstream.JetStream, partitions int, limit uint64, log *slog.Logger) *Throttle {
	known := make([]uint64, partitions)
	return newThrottle(topology.Events, limit, "records of a partition", log, func(ctx context.Context) (uint64, error) {
		var asking errgroup.Group // many at a time: one after another, hundreds would take longer than they may
		asking.SetLimit(throttleAsks)
		for p := range known {
			asking.Go(func() error {
				consumer, err := js.Consumer(ctx, topology.Events, topology.Durable(ReaderCustomer, p))
				switch {
				case err == nil:
					info := consumer.CachedInfo()
					known[p] = info.NumPending + uint64(info.NumAckPending)
				case !errors.Is(err, jetstream.ErrConsumerNotFound): // just being claimed: as before
					return err
				}
				return nil
			})
		}
		if err := asking.Wait(); err != nil {
			return 0, err
		}
		return slices.Max(known), nil
	})
}

// NewCommitsThrottle holds the customer chain back while more bytes of commits than the limit wait for a reader.
// Commits go when all have passed, they are folded and their trail is stored, which is seconds later: the limit must leave
// room for that, in all partitions together.
func NewCommitsThrottle(js jetstream.JetStream, limit uint64, log *slog.Logger) *Throttle {
	return newThrottle(topology.Commits, limit, "bytes", log, func(ctx context.Context) (uint64, error) {
		stream, err := js.Stream(ctx, topology.Commits)
		if err != nil {
			return 0, err
		}
		return stream.CachedInfo().State.Bytes, nil
	})
}

func newThrottle(stream string, limit uint64, unit string, log *slog.Logger, waiting func(context.Context) (uint64, error)) *Throttle {
	return &Throttle{
		stream: stream, limit: limit, unit: unit, waiting: waiting, log: log,
		gauge: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "attune_throttled", Help: "1 while whoever writes to the stream pauses, because too much of it waits for its readers.",
			ConstLabels: prometheus.Labels{"stream": stream},
		}),
	}
}

// Describe names the metric.
func (t *Throttle) Describe(out chan<- *prometheus.Desc) { t.gauge.Describe(out) }

// Collect tells the metric.
func (t *Throttle) Collect(out chan<- prometheus.Metric) { t.gauge.Collect(out) }

// Wait returns as soon as the chain may go on; its error is the context's.
func (t *Throttle) Wait(ctx context.Context) error {
	if t == nil {
		return nil
	}
	for t.full(ctx) {
		select {
		case <-time.After(throttleEvery):
		case <-ctx.Done():
			return fmt.Errorf("wait for the readers of %s: %w", t.stream, ctx.Err())
		}
	}
	return ctx.Err()
}

// full asks the broker, or remembers its last answer. While it gives none, nothing changes.
func (t *Throttle) full(ctx context.Context) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().Before(t.next) {
		return t.over
	}
	t.next = time.Now().Add(throttleEvery)
	ctx, cancel := context.WithTimeout(ctx, throttlePatience)
	defer cancel()
	n, err := t.waiting(ctx)
	if err != nil {
		t.next = time.Now().Add(throttlePause)
		t.log.Debug("ask what waits", "stream", t.stream, "error", err)
		return t.over
	}
	if over := n > t.limit; over != t.over {
		t.over = over
		if over {
			t.gauge.Set(1)
			t.log.Warn("paused until its readers catch up", "stream", t.stream, "waiting", n, "limit", t.limit, "unit", t.unit)
		} else {
			t.gauge.Set(0)
			t.log.Info("goes on, its readers have caught up", "stream", t.stream)
		}
	}
	return t.over
}
