package lease

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	owned     *prometheus.GaugeVec
	takeovers *prometheus.CounterVec
	chains    []Chain
}

func newMetrics(r prometheus.Registerer, chains []Chain) (*metrics, error) {
	m := &metrics{
		owned: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "attune_partitions_owned", Help: "Topics (partitions, destinations, sinks) that this worker owns, by chain.",
		}, []string{"chain"}),
		takeovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_takeovers_total", Help: "Topics taken over from a worker that had died or did not let go, by chain.",
		}, []string{"chain"}),
		chains: chains,
	}
	for _, c := range chains {
		if len(c.Topics) > 0 {
			m.owned.WithLabelValues(c.Name)
			m.takeovers.WithLabelValues(c.Name)
		}
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.owned, m.takeovers} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) own(count map[string]int) {
	for _, c := range m.chains {
		if len(c.Topics) > 0 {
			m.owned.WithLabelValues(c.Name).Set(float64(count[c.Name]))
		}
	}
}
