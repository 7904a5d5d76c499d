package pipeline_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// throttled is what the metric says.
func throttled(t *pipeline.Throttle) bool {
	r := prometheus.NewRegistry()
	r.MustRegister(t)
	families, err := r.Gather()
	return err == nil && families[0].GetMetric()[0].GetGauge().GetValue() == 1
}

// The reader of the log stands still: the throttle holds back, and lets go when the reader has caught up.
func TestEventsThrottleFollowsTheCustomerChain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	throttle := pipeline.NewEventsThrottle(r.js, 2, 100, slog.New(slog.DiscardHandler))
	for i := range uint64(200) {
		r.append(i+1, i, "p", "view")
	}
	if err := throttle.Wait(t.Context()); err != nil || throttled(throttle) {
		t.Fatalf("held back by a chain that never ran: %v", err)
	}
	stop, _ := r.worker(nil)
	r.waitPosition(200)
	stop()
	for i := range uint64(101) {
		r.append(i+201, i+200, "p", "view")
	}
	waited := make(chan error, 1)
	go func() {
		for !throttled(throttle) && t.Context().Err() == nil {
			if err := throttle.Wait(t.Context()); err != nil {
				waited <- err
				return
			}
		}
	}()
	eventually(t, "it holds back", func() bool { return throttled(throttle) })
	go func() { waited <- throttle.Wait(t.Context()) }()
	stop, _ = r.worker(nil)
	defer stop()
	if err := <-waited; err != nil || throttled(throttle) {
		t.Errorf("still held back: %v", err)
	}
	if position := r.waitPosition(301).Position; position != 301 {
		t.Errorf("position %d", position)
	}
}

// A reader of the commits stands still: the chain pauses, an owner can still claim, and all goes on once the reader
// has passed. Nothing is lost on the way.
func TestCustomerPausesWhileCommitsAreFull(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	r := newRig(t, 1)
	slow, err := r.js.CreateConsumer(t.Context(), topology.Commits, jetstream.ConsumerConfig{
		Durable: "slow", AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	var throttle *pipeline.Throttle
	edit := func(c *pipeline.CustomerConfig) {
		throttle = pipeline.NewCommitsThrottle(r.js, limit, slog.New(slog.DiscardHandler))
		c.Throttle = throttle
		c.Readers = func(int) []string { return []string{"slow"} }
	}
	stop, _ := r.worker(edit)
	events := uint64(0)
	view := func() {
		r.append(events+1, events, fmt.Sprintf("p%d", events%30), "view")
		events++
	}
	eventually(t, "the chain pauses", func() bool { view(); return throttled(throttle) })
	for range 300 {
		view()
	}
	stop()
	before := r.lastCommit()
	stop, _ = r.worker(edit)
	defer stop()
	eventually(t, "another owner claims, and pauses", func() bool { return r.lastCommit().Epoch > before.Epoch && throttled(throttle) })
	if position := r.lastCommit().Position; position >= events {
		t.Fatalf("position %d: nothing is held back", position)
	}
	eventually(t, "the reader reads all, and so does the chain", func() bool {
		batch, err := slow.FetchNoWait(500)
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			if err := m.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		return r.lastCommit().Position == events
	})
	stop()
	counted := uint64(0)
	for _, p := range r.profiles() {
		counted += p.Count("view")
	}
	if counted != events {
		t.Errorf("%d views count, want %d", counted, events)
	}
}

// orders are a commit's deliveries.
func (r *rig) commitDeliveries(deliveries ...pipeline.Delivery) {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := codec.Encode(&pipeline.Commit{Epoch: 1, Deliveries: deliveries})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.js.Publish(r.t.Context(), topology.Subject(topology.Commits, 0), data); err != nil {
		r.t.Fatal(err)
	}
}

// One destination is dead, and its queue full: what finds no room ends as dropped, once, in the log and in its
// record, and the other destination gets all of its own. A crash that repeats the commits changes nothing, also
// when there is room by then.
func TestRelayDropsWhatAFullQueueRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	config := topology.DefaultConfig()
	config.Partitions, config.OutboxMessages = 1, 12
	if err := topology.Ensure(t.Context(), r.js, config); err != nil {
		t.Fatal(err)
	}
	const dead, live = 30, 10
	var dropped []string
	for i := range dead {
		d := pipeline.Delivery{Decision: fmt.Sprintf("dead%02d", i), Profile: "p", Destination: "dead", Data: event.Object(`{}`)}
		if i >= 12 {
			dropped = append(dropped, d.Decision)
		}
		if i%3 == 0 {
			r.commitDeliveries(d, pipeline.Delivery{Decision: fmt.Sprintf("live%02d", i), Profile: "p", Destination: "live", Data: event.Object(`{}`)})
		} else {
			r.commitDeliveries(d)
		}
	}
	outbox, err := r.js.Stream(t.Context(), topology.Outbox)
	if err != nil {
		t.Fatal(err)
	}
	for pass := range 3 {
		stop := r.relay()
		r.relayed(dead)
		stop()
		r.forget()
		r.loseBookmark()
		if n := len(r.stored(topology.Outbox, "OUTBOX.live")); n != live {
			t.Errorf("pass %d: the other destination has %d deliveries, want %d", pass, n, live)
		}
		want := 12
		if pass > 0 {
			want = 0 // they were taken out, and a repeat of them is known
		}
		if n := len(r.stored(topology.Outbox, "OUTBOX.dead")); n != want {
			t.Errorf("pass %d: the dead destination has %d deliveries, want %d", pass, n, want)
		}
		if err := outbox.Purge(t.Context(), jetstream.WithPurgeSubject("OUTBOX.dead")); err != nil {
			t.Fatal(err)
		}
	}
	var ends []string
	highest := uint64(0)
	records := r.stored(topology.Events, topology.Subject(topology.Events, 0))
	for _, m := range records {
		e, err := event.Decode(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Source.Ordinal <= highest || e.Source.After > highest {
			continue // as the customer chain does
		}
		highest = e.Source.Ordinal
		var properties struct{ Decision, Outcome, Reason string }
		if err := json.Unmarshal(e.Properties, &properties); err != nil {
			t.Fatal(err)
		}
		if e.Type != event.Delivery || e.Profile != "p" || e.ID != "delivery-"+properties.Decision || e.Accepted == 0 ||
			!strings.HasPrefix(e.Source.Name, "relay.") || properties.Outcome != "dropped" || properties.Reason != pipeline.QueueFull {
			t.Errorf("%+v %s", e, e.Properties)
		}
		ends = append(ends, properties.Decision)
	}
	if diff := cmp.Diff(dropped, ends); diff != "" {
		t.Errorf("ends in the log: %s", diff)
	}
	if len(records) <= len(ends) {
		t.Error("nothing was repeated: the test shows little")
	}
	kv, err := r.js.KeyValue(t.Context(), topology.Deliveries)
	if err != nil {
		t.Fatal(err)
	}
	for _, decision := range dropped {
		entry, err := kv.Get(t.Context(), decision)
		if err != nil || !strings.Contains(string(entry.Value()), `"state":"dropped","reason":"queue_full"`) {
			t.Errorf("record of %s: %s, %v", decision, entry, err)
		}
	}
}

// A full DEADLETTER refuses, and keeps what it has.
func TestDeadLettersRefuseWhenFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	config := topology.DefaultConfig()
	config.Partitions, config.DeadLetterBytes = 1, 1<<20
	if err := topology.Ensure(t.Context(), r.js, config); err != nil {
		t.Fatal(err)
	}
	l := r.rawLog(1)
	parked := 0
	for ; parked < 100; parked++ {
		if err := l.Park(t.Context(), []pipeline.DeadLetter{{Reason: "invalid", Payload: make([]byte, 64<<10), Error: "no event"}}); err != nil {
			break
		}
	}
	all := r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, "ingest"))
	if len(all) != parked || parked == 0 || parked == 100 || all[0].Sequence != 1 {
		t.Errorf("%d of %d letters are kept", len(all), parked)
	}
}

// There were more commits than there may be before the first was folded: what is folded during the pause is stated, and
// goes. The chain goes on without anybody's help.
func TestCustomerStatesWhatIsFoldedWhileItPauses(t *testing.T) {
	t.Parallel()
	const limit = 16 << 10
	r := newRig(t, 1)
	var throttle *pipeline.Throttle
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		throttle = pipeline.NewCommitsThrottle(r.js, limit, slog.New(slog.DiscardHandler))
		c.Throttle, c.CachedProfiles, c.FoldEvery = throttle, 1000, 6*time.Second
		c.Readers = func(int) []string { return nil }
	})
	defer stop()
	events := uint64(0)
	view := func() {
		r.append(events+1, events, fmt.Sprintf("p%d", events%30), "view")
		events++
	}
	eventually(t, "the chain pauses", func() bool { view(); return throttled(throttle) })
	for range 100 {
		view()
	}
	before := r.lastCommit()
	if before.Position >= events {
		t.Error("it does not pause: the test shows nothing")
	}
	r.waitPosition(events)
}

// A pause in which nothing can go costs no more than a commit or two.
func TestCustomerStatesEachMarkOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	var throttle *pipeline.Throttle
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) { // whose one reader does not read
		throttle = pipeline.NewCommitsThrottle(r.js, 16<<10, slog.New(slog.DiscardHandler))
		c.Throttle, c.CachedProfiles, c.FoldEvery = throttle, 1000, 50*time.Millisecond
	})
	defer stop()
	var looks atomic.Int64 // of the chain, how much there is
	sub, err := r.js.Conn().Subscribe("$JS.API.STREAM.INFO."+topology.Commits, func(*nats.Msg) { looks.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	events := uint64(0)
	eventually(t, "the chain pauses", func() bool {
		events++
		r.append(events, events-1, fmt.Sprintf("p%d", events%30), "view")
		return throttled(throttle)
	})
	before := looks.Load()
	eventually(t, "it has looked often", func() bool { return looks.Load() >= before+8 })
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	marks := 0
	for _, m := range r.stored(topology.Commits, topology.Subject(topology.Commits, 0)) {
		commit, err := codec.Decode(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if commit.After == commit.Position {
			marks++
		}
	}
	if marks > 4 { // the claim, what was due, and what a round was at
		t.Errorf("%d commits state nothing but a mark", marks)
	}
}

// A partition of which no record comes any more holds commits that others wait for: they go too.
func TestAnIdlePartitionLetsItsCommitsGo(t *testing.T) {
	t.Parallel()
	const limit = 8 << 10
	r := newRig(t, 1)
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		c.Throttle = pipeline.NewCommitsThrottle(r.js, limit, slog.New(slog.DiscardHandler))
		c.CachedProfiles, c.FoldEvery = 1000, time.Hour
		c.Readers = func(int) []string { return nil }
	})
	defer stop()
	commits, err := r.js.Stream(t.Context(), topology.Commits)
	if err != nil {
		t.Fatal(err)
	}
	held := func() uint64 {
		info, err := commits.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Bytes
	}
	events := uint64(0)
	eventually(t, "there are too many", func() bool {
		events++
		r.append(events, events-1, fmt.Sprintf("p%d", events%30), "view")
		return held() > limit
	})
	eventually(t, "they are gone", func() bool { return held() < limit })
}
