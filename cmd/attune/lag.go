package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/topology"
)

// lag tells, when it is asked, how much each reader of a stream has still to do. It is asked of the broker, so
// every process tells the same, also of readers that stand still.
type lag struct {
	js      jetstream.JetStream
	log     *slog.Logger
	pending *prometheus.Desc
	bytes   *prometheus.Desc
	dead    *prometheus.Desc
}

// lagTimeout bounds a scrape's questions to the broker.
const lagTimeout = 3 * time.Second

func newLag(js jetstream.JetStream, log *slog.Logger) *lag {
	return &lag{
		js: js, log: log,
		pending: prometheus.NewDesc("attune_consumer_pending", "Messages that a reader is not done with yet, over all its partitions.", []string{"stream", "reader"}, nil),
		bytes:   prometheus.NewDesc("attune_stream_bytes", "What a stream holds on disk at the moment, in bytes.", []string{"stream"}, nil),
		dead:    prometheus.NewDesc("attune_dead_letters", "Dead letters that are kept at the moment.", nil, nil),
	}
}

// Describe names the metrics.
func (l *lag) Describe(out chan<- *prometheus.Desc) {
	out <- l.pending
	out <- l.bytes
	out <- l.dead
}

// readStreams are the streams that somebody must read on.
func readStreams() []string {
	return []string{topology.Raw, topology.Events, topology.Commits, topology.Wakeups, topology.Outbox}
}

// Collect asks the broker. What it can't tell is left out.
func (l *lag) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
	defer cancel()
	for _, name := range readStreams() {
		stream, err := l.js.Stream(ctx, name)
		if err != nil {
			l.log.Debug("ask for lag", "stream", name, "error", err)
			continue
		}
		out <- prometheus.MustNewConstMetric(l.bytes, prometheus.GaugeValue, float64(stream.CachedInfo().State.Bytes), name)
		readers := map[string]uint64{}
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			if info.Config.Durable == "" {
				continue // a takeover's, for a moment
			}
			reader, _, _ := strings.Cut(info.Name, "-")
			readers[reader] += info.NumPending + uint64(info.NumAckPending)
		}
		if err := consumers.Err(); err != nil {
			l.log.Debug("ask for lag", "stream", name, "error", err)
			continue
		}
		if _, ok := readers[pipeline.ReaderDeliver]; ok { // it reads past deliveries that wait for another attempt
			readers[pipeline.ReaderDeliver] = stream.CachedInfo().State.Msgs
		}
		for reader, n := range readers {
			out <- prometheus.MustNewConstMetric(l.pending, prometheus.GaugeValue, float64(n), name, reader)
		}
	}
	if stream, err := l.js.Stream(ctx, topology.DeadLetter); err == nil {
		out <- prometheus.MustNewConstMetric(l.dead, prometheus.GaugeValue, float64(stream.CachedInfo().State.Msgs))
	}
}
