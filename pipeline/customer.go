package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// Reader names. Their durable consumers are <reader>-<partition>, or <reader>-<destination> for deliver; a sink
// reads all partitions through one consumer of its name.
const (
	ReaderNormalize  = "normalize"
	ReaderCustomer   = "customer"
	ReaderRelay      = "relay"
	ReaderDeliver    = "deliver"
	ReaderClickHouse = "clickhouse"
)

// CustomerConfig is what the customer chain's worker needs.
type CustomerConfig struct {
	JetStream jetstream.JetStream
	// Load makes the chain for what is in force, whose objects it reads. It must not change or keep the map.
	Load func(ctx context.Context, inForce Controls) (*Chain, error)
	// CommitBytes is the encoded size at which a batch is cut. Default 512 KiB.
	CommitBytes int
	// CachedProfiles bounds the profiles kept in memory per partition, and beside them those not yet folded: when there
	// are more of these, commits wait for the folds. A clean one costs its encoded bytes and some 230 more; those used
	// last, 2,000 at most, cost a few kilobytes. Default 50,000.
	CachedProfiles int
	// FoldEvery and FoldBytes begin a round of folding, whichever comes first: so long after the one before, or when
	// the commits since then are so large. The more lies between two rounds, the fewer profiles are written, each
	// once however often it changed; a takeover has to read it. Defaults 10 s and 64 MiB.
	FoldEvery time.Duration
	FoldBytes int64
	// Readers names the durable consumers that read a partition's commits: what one of them has not passed is
	// never purged.
	Readers func(partition int) []string
	// Throttle holds the chain back while COMMITS is full; nil: never.
	Throttle *Throttle
	Metrics  prometheus.Registerer
	Log      *slog.Logger

	faults faults // tests only
}

// Customer runs the customer chain: one session for each partition that it owns.
type Customer struct {
	config  CustomerConfig
	conn    *nats.Conn
	commits *CommitCodec
	metrics *customerMetrics
	purger  *purger
}

// NewCustomer prepares the chain's worker.
func NewCustomer(config CustomerConfig) (*Customer, error) {
	if config.CommitBytes == 0 {
		config.CommitBytes = 512 << 10
	}
	if config.CachedProfiles == 0 {
		config.CachedProfiles = 50_000
	}
	if config.FoldEvery == 0 {
		config.FoldEvery = 10 * time.Second
	}
	if config.FoldBytes == 0 {
		config.FoldBytes = 64 << 20
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Readers == nil {
		config.Readers = func(partition int) []string {
			return []string{topology.Durable(ReaderRelay, partition), ReaderClickHouse}
		}
	}
	commits, err := NewCommitCodec()
	if err != nil {
		return nil, err
	}
	metrics, err := newCustomerMetrics(config.Metrics)
	if err != nil {
		return nil, err
	}
	return &Customer{
		config: config, conn: config.JetStream.Conn(), commits: commits, metrics: metrics, purger: &purger{js: config.JetStream},
	}, nil
}

// Beat is the pace of the chains: a partition begins one batch in each, since a batch costs several requests, and a commit
// the same for one record as for some. Normalize's begin with the beat, the customer chain's half of one later.
const Beat = 8 * time.Millisecond

// Subscriber reads partitions of the log for this chain.
func (c *Customer) Subscriber() *bus.Subscriber {
	return bus.NewSubscriber(c.config.JetStream, bus.SubscriberConfig{
		Stream: topology.Events, Reader: ReaderCustomer, Open: c.open, Whole: true, Volatile: true, Pace: Beat, Phase: Beat / 2, Log: c.config.Log,
	})
}

// Handle runs a batch of records through the chain: the Router's handler.
func (c *Customer) Handle(m *message.Message) error {
	h := bus.From(m.Context())
	if h == nil {
		return fmt.Errorf("customer chain: message %s did not come from its subscriber", m.UUID)
	}
	p, ok := h.Session.(*partition)
	if !ok {
		return fmt.Errorf("customer chain: message %s came with a foreign session", m.UUID)
	}
	return h.Each(func(d bus.Delivery, value any) error { return p.handle(m.Context(), d, value.(*record)) })
}

type customerMetrics struct {
	records   *prometheus.CounterVec
	decisions *prometheus.CounterVec
	merges    *prometheus.CounterVec
	commits   prometheus.Counter
	bytes     prometheus.Counter
	folded    prometheus.Counter
	unfolded  *prometheus.GaugeVec
	commitAge prometheus.Histogram
	lateness  prometheus.Histogram
}

func newCustomerMetrics(r prometheus.Registerer) (*customerMetrics, error) {
	m := &customerMetrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_customer_records_total", Help: "Records of the log that the customer chain handled, by outcome.",
		}, []string{"outcome"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_decisions_total", Help: "Campaign decisions, by campaign, outcome and reason.",
		}, []string{"campaign", "outcome", "reason"}),
		merges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_merges_total", Help: "Profiles that turned out to be another one's customer, by outcome: merged, or the reason for which they stay two.",
		}, []string{"outcome"}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attune_commits_total", Help: "Commits of the customer chain.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attune_commit_bytes_total", Help: "Encoded size of the commits.",
		}),
		folded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attune_profiles_folded_total", Help: "Profiles written to the bucket.",
		}),
		unfolded: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "attune_profiles_unfolded", Help: "Profiles that lie only in commits so far, by partition.",
		}, []string{"partition"}),
		commitAge: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "attune_event_age_seconds", Help: "Time from an event's acceptance to its commit.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		lateness: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "attune_wakeup_lateness_seconds", Help: "Time from the instant a profile's wake-up was armed for to its handling; wake-ups that came to nothing are left out.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 16),
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.records, m.decisions, m.merges, m.commits, m.bytes, m.folded, m.unfolded, m.commitAge, m.lateness} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}
