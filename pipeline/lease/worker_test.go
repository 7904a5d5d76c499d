package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bound limits every wait for something that is expected to happen.
const bound = 20 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", bound, what)
		}
	}
}

// house is a broker and everyone who reads topics there.
type house struct {
	t      *testing.T
	n      *embedded.NATS
	topics []string

	mu      sync.Mutex
	holders map[string][]string // who reads a topic, as the readers themselves say
	taken   map[string]time.Time
	clashes int // how often two read the same topic
}

func newHouse(t *testing.T, partitions int) *house {
	t.Helper()
	h := &house{t: t, n: enginetest.NATS(t), holders: map[string][]string{}, taken: map[string]time.Time{}}
	_, js := h.connect(h.n.URL())
	if err := topology.Ensure(t.Context(), js, topology.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	for p := range partitions {
		h.topics = append(h.topics, fmt.Sprint(p))
	}
	return h
}

func (h *house) connect(url string) (*nats.Conn, jetstream.JetStream) {
	h.t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		h.t.Fatal(err)
	}
	return conn, js
}

// tenant is a worker with a reader for each topic.
type tenant struct {
	h       *house
	worker  *Worker
	conn    *nats.Conn
	metrics *prometheus.Registry
	lost    chan error // why topics had to be let go

	end     context.CancelFunc
	readers sync.WaitGroup
}

// join adds a worker over a connection of its own. Its readers take linger to let go of a topic.
func (h *house) join(url string, linger time.Duration) *tenant {
	h.t.Helper()
	_, js := h.connect(url)
	return h.joinBy(js, linger)
}

func (h *house) joinBy(js jetstream.JetStream, linger time.Duration) *tenant {
	h.t.Helper()
	x := &tenant{h: h, conn: js.Conn(), metrics: prometheus.NewRegistry(), lost: make(chan error, 1000)}
	var err error
	x.worker, err = New(h.t.Context(), Config{
		JetStream: js, Chains: []Chain{{Name: "ingest"}, {Name: "customer", Topics: h.topics}}, Metrics: x.metrics,
		Log: slog.New(slog.NewTextHandler(h.t.Output(), nil)),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := x.worker.Start(h.t.Context(), "127.0.0.1:8080"); err != nil {
		h.t.Fatal(err)
	}
	var ctx context.Context
	ctx, x.end = context.WithCancel(context.Background())
	for _, name := range h.topics {
		x.readers.Go(func() { x.read(ctx, "EVENTS."+name, linger) })
	}
	h.t.Cleanup(x.leave)
	return x
}

// read holds a topic whenever it may, as a subscriber does.
func (x *tenant) read(ctx context.Context, topic string, linger time.Duration) {
	for {
		held, release, err := x.worker.Owner("customer").Own(ctx, topic)
		if err != nil {
			return
		}
		x.h.enter(topic, x.worker.ID())
		<-held.Done()
		if ctx.Err() == nil {
			x.lost <- context.Cause(held)
		}
		time.Sleep(linger) // what is under way is committed
		x.h.exit(topic, x.worker.ID())
		release()
	}
}

func (h *house) enter(topic, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holders[topic] = append(h.holders[topic], id)
	h.taken[topic] = time.Now()
	if len(h.holders[topic]) > 1 {
		h.clashes++
	}
}

func (h *house) exit(topic, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holders[topic] = slices.DeleteFunc(h.holders[topic], func(x string) bool { return x == id })
}

// leave is the orderly end: hand over, stop the readers, close. Twice is fine.
func (x *tenant) leave() {
	if err := x.worker.Leave(context.Background()); err != nil && !x.conn.IsClosed() {
		x.h.t.Error(err)
	}
	x.end()
	x.readers.Wait()
	x.worker.Close()
}

// owned counts the topics that are read by exactly one, by worker.
func (h *house) owned() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	count := map[string]int{}
	for _, ids := range h.holders {
		if len(ids) == 1 {
			count[ids[0]]++
		}
	}
	return count
}

func (h *house) await(what string, want map[*tenant]int) {
	h.t.Helper()
	eventually(h.t, what, func() bool {
		got := h.owned()
		for x, n := range want {
			if got[x.worker.ID()] != n {
				return false
			}
			delete(got, x.worker.ID())
		}
		return len(got) == 0
	})
}

func (h *house) peaceful() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clashes > 0 {
		h.t.Errorf("two workers read the same topic %d times", h.clashes)
	}
}

// metric is what a metric says of the only chain with topics; -1 when there is no such metric.
// waits tells whether a topic is to be this worker's as soon as another one lets go.
func (x *tenant) waits() bool {
	x.worker.mu.Lock()
	defer x.worker.mu.Unlock()
	for _, u := range x.worker.units {
		if !u.waiting.IsZero() {
			return true
		}
	}
	return false
}

func (x *tenant) metric(name string) float64 {
	x.h.t.Helper()
	families, err := x.metrics.Gather()
	if err != nil {
		x.h.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 && f.GetMetric()[0].GetLabel()[0].GetValue() == "customer" {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return -1
}

func TestWorkersShareJoinAndLeave(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	first := h.join(h.n.URL(), 0)
	h.await("the only worker has all", map[*tenant]int{first: 8})
	second := h.join(h.n.URL(), 0)
	h.await("two have half each", map[*tenant]int{first: 4, second: 4})
	third := h.join(h.n.URL(), 5*time.Millisecond)
	eventually(t, "three have two or three each", func() bool {
		got := h.owned()
		return len(got) == 3 && got[first.worker.ID()]+got[second.worker.ID()]+got[third.worker.ID()] == 8 &&
			slices.Min([]int{got[first.worker.ID()], got[second.worker.ID()], got[third.worker.ID()]}) == 2
	})
	began := time.Now()
	second.leave()
	h.await("two have half each again", map[*tenant]int{first: 4, third: 4})
	if took := time.Since(began); took >= TTL {
		t.Errorf("the others had what was handed over after %s: no better than waiting for the heartbeat's end", took)
	}
	for len(third.lost) > 0 {
		if err := <-third.lost; !errors.Is(err, ErrHandedOver) {
			t.Errorf("a topic was let go because %v", err)
		}
	}
	h.peaceful()

	_, js := h.connect(h.n.URL())
	p, err := Look(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	workers := p.Workers()
	if len(workers) != 2 || workers[0].ID != first.worker.ID() || workers[0].PID == 0 || workers[0].Listen != "127.0.0.1:8080" || workers[0].Chains["ingest"] != nil {
		t.Errorf("the bucket shows the workers %+v", workers)
	}
	for _, name := range h.topics {
		if holder, ok := p.Holder(Topic{"customer", name}); !ok || !slices.Contains(h.holders["EVENTS."+name], holder.ID) {
			t.Errorf("the bucket says that %s is held by %q, %v", name, holder.ID, ok)
		}
	}
	if n := first.metric("attune_partitions_owned"); n != 4 {
		t.Errorf("the metric says that %g partitions are owned, want 4", n)
	}
	if n := first.metric("attune_takeovers_total"); n != 0 {
		t.Errorf("%g takeovers where all was handed over", n)
	}
}

// What a living worker still holds is waited for.
func TestNewOwnerWaitsUntilTheFormerHasLetGo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	slow := h.join(h.n.URL(), 300*time.Millisecond)
	h.await("the only worker has all", map[*tenant]int{slow: 4})
	other := h.join(h.n.URL(), 0)
	h.await("two have half each", map[*tenant]int{slow: 2, other: 2})
	slow.leave()
	h.await("the other one has all", map[*tenant]int{other: 4})
	h.peaceful()
}

func TestDeadWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	dying, living := h.join(h.n.URL(), 0), h.join(h.n.URL(), 0)
	h.await("two have half each", map[*tenant]int{dying: 4, living: 4})
	died := time.Now()
	dying.conn.Close()
	eventually(t, "the living one has all", func() bool { return h.owned()[living.worker.ID()] == 8 })
	if took := time.Since(died); took > patience { // so long a live owner is waited for
		t.Errorf("taken over after %s: the death went unnoticed", took)
	} else {
		t.Logf("taken over after %s", took)
	}
	if n := living.metric("attune_takeovers_total"); n != 4 {
		t.Errorf("%g takeovers are counted, want 4", n)
	}
}

// A broker that was killed may bring heartbeats back that had expired, and never drop them again: their workers are dead
// all the same, and what they claimed is taken over.
func TestDeadStayDead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	_, js := h.connect(h.n.URL())
	put := func(key, value string) {
		t.Helper()
		if _, err := js.Publish(t.Context(), "$KV."+topology.Leases+"."+key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("worker.dead", `{"id":"dead","host":"gone","chains":{"customer":["0","1","2","3"]}}`)
	for _, name := range h.topics {
		put("claim.customer."+name, "dead")
	}
	first := h.join(h.n.URL(), 0)
	h.await("the only one who lives has all", map[*tenant]int{first: 4})
	put("worker.dies", `{"id":"dies","host":"gone","chains":{"customer":["0","1","2","3"]}}`)
	h.await("the living make room for another one", map[*tenant]int{first: 2})
	h.await("who is dead", map[*tenant]int{first: 4})
	p, err := Look(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	if workers := p.Workers(); len(workers) != 1 || workers[0].ID != first.worker.ID() {
		t.Errorf("the bucket shows the workers %+v", workers)
	}
	if n := first.metric("attune_takeovers_total"); n != 4 {
		t.Errorf("%g takeovers are counted, want 4", n)
	}
}

// Whoever reads the bucket while a heartbeat is being replaced misses neither it nor its successor: a worker that lives is
// shown, and none that joins takes over what it holds.
func TestNobodyWhoLivesIsMissed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	_, js := h.connect(h.n.URL())
	put := func(key, value string) error {
		_, err := js.Publish(t.Context(), "$KV."+topology.Leases+"."+key, []byte(value))
		return err
	}
	for _, name := range h.topics {
		if err := put("claim.customer."+name, "lives"); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := put("worker.lives", `{"id":"lives","host":"here","chains":{"customer":["0","1","2","3"]}}`); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer beating.Wait()
	defer close(stop)
	missed := 0
	for range 300 {
		p, err := Look(t.Context(), js)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.Members["lives"]; !ok {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("300 times the bucket is read, and %d times a worker that lives is not there", missed)
	}
	for range 10 {
		x := h.join(h.n.URL(), 0)
		eventually(t, "it waits for what the other one holds, or takes it", func() bool { return x.waits() || x.metric("attune_takeovers_total") > 0 })
		if n := x.metric("attune_takeovers_total"); n > 0 {
			t.Errorf("one that joins takes %g topics over from one that lives", n)
		}
		x.leave()
	}
}

// What the broker has not dropped is taken away, unless its worker has beaten again meanwhile.
func TestHeartbeatsOfTheDeadAreTakenAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1)
	_, js := h.connect(h.n.URL())
	w, err := New(t.Context(), Config{JetStream: js})
	if err != nil {
		t.Fatal(err)
	}
	s := &sharing{w: w, picture: newPicture()}
	s.picture.now = time.Now()
	for _, id := range []string{"dead", "back"} {
		revision, err := w.bucket.PutString(t.Context(), memberPrefix+id, "{}")
		if err != nil {
			t.Fatal(err)
		}
		s.picture.beats[id] = beat{s.picture.now.Add(-2 * graveAge), revision}
	}
	if _, err := w.bucket.PutString(t.Context(), memberPrefix+"back", "{}"); err != nil {
		t.Fatal(err)
	}
	s.bury(t.Context())
	if len(s.picture.graves()) > 0 {
		t.Errorf("it will be tried again and again: %v", s.picture.graves())
	}
	if _, err := w.bucket.Get(t.Context(), memberPrefix+"dead"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("the dead one's heartbeat: error %v", err)
	}
	if _, err := w.bucket.Get(t.Context(), memberPrefix+"back"); err != nil {
		t.Errorf("the heartbeat of the one who is back: %v", err)
	}
}

// A worker that hears and says nothing for longer than its lease, like one that is stopped, lets go by itself,
// and takes part again when it is back.
func TestSilencedWorkerLetsGoAndComesBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 8)
	line := newLine(t, strings.TrimPrefix(h.n.URL(), "nats://"))
	silent, other := h.join("nats://"+line.address(), 0), h.join(h.n.URL(), 0)
	h.await("two have half each", map[*tenant]int{silent: 4, other: 4})
	mend := line.cut()
	for range 4 {
		select {
		case err := <-silent.lost:
			if !errors.Is(err, ErrLost) && !errors.Is(err, ErrHandedOver) { // it may have handed some to the other at first
				t.Errorf("a topic was let go because %v", err)
			}
		case <-time.After(bound):
			t.Fatal("the silenced worker holds its topics")
		}
	}
	eventually(t, "the other one has all", func() bool { return h.owned()[other.worker.ID()] == 8 })
	mend()
	h.await("two have half each again", map[*tenant]int{silent: 4, other: 4})
}

// deaf loses the answers to some of what it publishes.
type deaf struct {
	jetstream.JetStream
	loses func(subject string) bool
}

func (d deaf) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, m, opts...)
	if err == nil && d.loses(m.Subject) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return ack, err
}

// One confirmation that never comes, as while the bucket gets another leader, costs no topic.
func TestALostConfirmationCostsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	_, js := h.connect(h.n.URL())
	var beats atomic.Int32
	x := h.joinBy(deaf{js, func(subject string) bool {
		return strings.HasPrefix(subject, "$KV."+topology.Leases+"."+memberPrefix) && beats.Add(1)%4 == 3
	}}, 0)
	h.await("the worker has all", map[*tenant]int{x: 4})
	eventually(t, "three confirmations were lost", func() bool { return beats.Load() > 12 })
	select {
	case err := <-x.lost:
		t.Errorf("a topic was let go: %v", err)
	default:
	}
}

// A worker alone that was silent for too long goes on by itself, also when no one has taken anything meanwhile.
func TestLoneWorkerComesBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 4)
	line := newLine(t, strings.TrimPrefix(h.n.URL(), "nats://"))
	lone := h.join("nats://"+line.address(), 0)
	h.await("the only worker has all", map[*tenant]int{lone: 4})
	mend := line.cut()
	h.await("nobody has any", nil)
	if got := lone.metric("attune_partitions_owned"); got != 0 {
		t.Errorf("the metric says that it owns %g", got)
	}
	mend()
	h.await("the only worker has all again", map[*tenant]int{lone: 4})
}

func TestOwnRefusesForeignTopics(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 1)
	x := h.join(h.n.URL(), 0)
	if _, _, err := x.worker.Owner("customer").Own(t.Context(), "EVENTS.7"); err == nil || !strings.Contains(err.Error(), "EVENTS.7") {
		t.Errorf("error %v, want one that names EVENTS.7", err)
	}
}
