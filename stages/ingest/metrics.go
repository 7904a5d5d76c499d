package ingest

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	events   *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// The outcomes of an event.
const (
	outcomeAccepted = "accepted" // in the log
	outcomeParked   = "parked"   // in the dead letters
	outcomeRefused  = "refused"  // told 400
	outcomeFailed   = "failed"   // right, but not stored: told 429 or 503
)

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_ingest_requests_total",
			Help: "HTTP requests to ingest, by route and status code.",
		}, []string{"route", "code"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_ingest_events_total",
			Help: "Events that reached ingest, by type and outcome (accepted, parked, refused, failed).",
		}, []string{"type", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "attune_ingest_duration_seconds",
			Help:    "Time from a request's first byte to its reply, the log's acknowledgement included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // 0.5 ms to 8.2 s
		}, []string{"route"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.events, m.duration} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("ingest: register metrics: %w", err)
		}
	}
	return m, nil
}

// count adds n events of a kind; an unknown kind has one label for all.
func (m *metrics) count(kind, outcome string, n int) {
	if n == 0 {
		return
	}
	if kind == "" {
		kind = "unknown"
	}
	m.events.WithLabelValues(kind, outcome).Add(float64(n))
}
