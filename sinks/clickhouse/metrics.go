package clickhouse

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	rows    *prometheus.CounterVec
	seconds prometheus.Histogram
	retries prometheus.Counter
}

func newMetrics() metrics {
	return metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_clickhouse_rows_total", Help: "Rows that ClickHouse acknowledged; repeats of a batch count again.",
		}, []string{"table"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "attune_clickhouse_insert_duration_seconds", Help: "Duration of one attempt at one table's insert.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attune_clickhouse_retries_total", Help: "Attempts that failed and were repeated.",
		}),
	}
}

// Describe makes the sink a prometheus.Collector of its own metrics.
func (s *Sink) Describe(ch chan<- *prometheus.Desc) {
	s.metrics.rows.Describe(ch)
	s.metrics.seconds.Describe(ch)
	s.metrics.retries.Describe(ch)
}

// Collect makes the sink a prometheus.Collector of its own metrics.
func (s *Sink) Collect(ch chan<- prometheus.Metric) {
	s.metrics.rows.Collect(ch)
	s.metrics.seconds.Collect(ch)
	s.metrics.retries.Collect(ch)
}
