package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

const (
	// TTL is how old a heartbeat is when its worker is taken for dead, and how long the broker keeps it. It counts in seconds.
	TTL = 2 * time.Second
	// beatEvery leaves room for heartbeats that get lost.
	beatEvery = 500 * time.Millisecond
	// term is how long the worker itself believes in a heartbeat: less, so that it has let go before others take over.
	term = TTL - beatEvery/2
	// patience is how long a new owner waits for one that lives and does not let go; then it takes the topic, and
	// the fences tell the two apart.
	patience = 30 * time.Second
)

// Why a topic must be let go.
var (
	// ErrHandedOver: another worker is to have it, or this one is leaving.
	ErrHandedOver = errors.New("the topic is handed over to another worker")
	// ErrLost: no heartbeat was confirmed in time, or another worker has taken the topic.
	ErrLost = errors.New("the lease is lost")
)

// Chain is what a worker takes part in. Its topics are shared out among all workers that serve them; a chain
// without topics runs in each worker for itself.
type Chain struct {
	Name   string
	Topics []string // the last tokens of the subjects: partitions' numbers, destinations, a sink's name
}

// Config is what a worker brings along.
type Config struct {
	JetStream jetstream.JetStream
	Chains    []Chain
	Metrics   prometheus.Registerer
	Log       *slog.Logger
}

// Worker takes part in the sharing: Start joins, Leave begins to hand over, Close ends it. It is safe for
// concurrent use.
type Worker struct {
	config  Config
	member  Member
	bucket  jetstream.KeyValue
	metrics *metrics

	mu      sync.Mutex
	units   map[Topic]*unit
	beaten  time.Time // when the newest confirmed heartbeat was sent; zero: the lease is lost
	leases  int       // how often the lease was gained
	leaving bool
	closed  bool
	expiry  *time.Timer

	changed chan struct{} // what only the sharing goroutine does about it
	closing chan struct{}
	once    sync.Once
	stop    context.CancelFunc
	beating sync.WaitGroup
	sharing sync.WaitGroup
}

// unit is one topic of a chain, as this worker sees it. Several readers may hold it: what is owned together has
// the same last token.
type unit struct {
	granted bool
	grants  chan struct{} // closed when it is granted
	holds   map[*hold]struct{}
	waiting time.Time // since when it is this worker's, and another holds it
}

type hold struct{ end context.CancelCauseFunc }

func (u *unit) grant() {
	if !u.granted {
		u.granted = true
		close(u.grants)
	}
}

func (u *unit) revoke(cause error) {
	if u.granted {
		u.granted = false
		u.grants = make(chan struct{})
	}
	for h := range u.holds {
		h.end(cause)
	}
}

// New prepares a worker with a name of its own. The bucket must exist.
func New(ctx context.Context, config Config) (*Worker, error) {
	bucket, err := config.JetStream.KeyValue(ctx, topology.Leases)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Leases, err)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this host: %w", err)
	}
	w := &Worker{
		config: config, bucket: bucket, units: map[Topic]*unit{},
		member:  Member{ID: strings.ToLower(rand.Text()[:10]), Host: host, PID: os.Getpid(), Chains: map[string][]string{}},
		changed: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	for _, c := range config.Chains {
		w.member.Chains[c.Name] = c.Topics
		for _, name := range c.Topics {
			w.units[Topic{c.Name, name}] = &unit{grants: make(chan struct{}), holds: map[*hold]struct{}{}}
		}
	}
	if w.metrics, err = newMetrics(config.Metrics, config.Chains); err != nil {
		return nil, err
	}
	return w, nil
}

// ID is the worker's name in the bucket.
func (w *Worker) ID() string { return w.member.ID }

// Start joins: from now on topics come to this worker. It returns when its first heartbeat is stored, which says
// where the worker's HTTP server listens. The worker goes on when ctx ends, until it is closed.
func (w *Worker) Start(ctx context.Context, listen string) error {
	w.member.Listen, w.member.Started = listen, time.Now().UTC()
	if err := w.beat(ctx); err != nil {
		return err
	}
	ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	w.beating.Go(func() { w.keepBeating(ctx) })
	w.sharing.Go(func() { w.keepSharing(ctx) })
	return nil
}

// Leave begins to hand everything over: what this worker holds ends now, and others may have it as soon as it
// is released. After a Close it does nothing.
func (w *Worker) Leave(ctx context.Context) error {
	w.mu.Lock()
	closed := w.closed
	w.leaving = true
	for _, u := range w.units {
		u.revoke(ErrHandedOver)
	}
	w.mu.Unlock()
	if closed {
		return nil
	}
	w.notify()
	return w.beat(ctx)
}

// Close gives back what was released and takes the heartbeat away. It needs a Leave before, or what is still
// held is taken over as from the dead. Closing twice, or without a Start, is fine.
func (w *Worker) Close() {
	w.once.Do(func() {
		if w.stop == nil {
			return
		}
		close(w.closing)
		w.sharing.Wait()
		w.stop()
		w.beating.Wait()
		w.mu.Lock()
		w.closed = true
		w.lose()
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), TTL)
		defer cancel()
		// If it fails the key expires soon.
		_ = w.bucket.Purge(ctx, memberPrefix+w.member.ID, jetstream.PurgeTTL(5*TTL))
	})
}

// Owner is a chain's part, for its subscribers. The worker must have the chain.
func (w *Worker) Owner(chain string) bus.Owner { return owner{w, chain} }

type owner struct {
	worker *Worker
	chain  string
}

// Own waits until the topic is this worker's.
func (o owner) Own(ctx context.Context, topic string) (context.Context, func(), error) {
	w := o.worker
	u := w.units[Topic{o.chain, topic[strings.LastIndexByte(topic, '.')+1:]}]
	if u == nil {
		return nil, nil, fmt.Errorf("own %s: this worker does not serve it in the chain %s", topic, o.chain)
	}
	for {
		held, release, granted := w.tryOwn(ctx, u)
		if release != nil {
			return held, release, nil
		}
		select {
		case <-granted:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// tryOwn holds the unit if it is granted; else it returns what will be closed when it is.
func (w *Worker) tryOwn(ctx context.Context, u *unit) (held context.Context, release func(), granted <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	if !u.granted {
		return nil, nil, u.grants
	}
	held, end := context.WithCancelCause(ctx)
	h := &hold{end}
	u.holds[h] = struct{}{}
	return held, func() {
		end(nil)
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(u.holds, h)
		if !u.granted && len(u.holds) == 0 {
			w.notify()
		}
	}, nil
}

// notify lets the sharing goroutine look again.
func (w *Worker) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
