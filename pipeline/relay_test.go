package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

func (r *rig) relay() (stop func()) {
	r.t.Helper()
	relay, err := pipeline.NewRelay(r.js, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	router.AddHandler("relay", topology.Subject(topology.Commits, r.number), relay.Subscriber(), "", bus.NewPublisher(r.js), relay.Handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := router.Close(); err != nil {
			r.t.Error(err)
		}
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// relayed waits until the relay has acknowledged a commit.
func (r *rig) relayed(commit uint64) {
	r.t.Helper()
	eventually(r.t, "all is acknowledged", func() bool {
		consumer, err := r.js.Consumer(r.t.Context(), topology.Commits, topology.Durable(pipeline.ReaderRelay, 0))
		return err == nil && consumer.CachedInfo().AckFloor.Stream == commit
	})
}

// forget has the broker forget what the relay acknowledged, as when it restarts.
func (r *rig) forget() {
	r.t.Helper()
	if err := r.js.DeleteConsumer(r.t.Context(), topology.Commits, topology.Durable(pipeline.ReaderRelay, 0)); err != nil {
		r.t.Fatal(err)
	}
}

// bookmarks is where the relay's bookmark is, and its key.
func (r *rig) bookmarks() (jetstream.KeyValue, string) {
	r.t.Helper()
	bucket, err := r.js.KeyValue(r.t.Context(), topology.Journal)
	if err != nil {
		r.t.Fatal(err)
	}
	return bucket, topology.Durable(pipeline.ReaderRelay, 0)
}

func (r *rig) loseBookmark() {
	r.t.Helper()
	bucket, key := r.bookmarks()
	if err := bucket.Delete(r.t.Context(), key); err != nil {
		r.t.Fatal(err)
	}
}

// What the broker forgets of the relay's acknowledgements, a bookmark says, if it is of this stream and not ahead of it.
func TestRelayGoesOnFromItsBookmark(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	bucket, key := r.bookmarks()
	bookmark := func() string {
		entry, err := bucket.Get(t.Context(), key)
		if err != nil {
			return err.Error()
		}
		return string(entry.Value())
	}
	place := func(commit uint64) string { return fmt.Sprintf(`"place":%d`, commit) }
	for i, step := range []struct {
		name      string
		forgotten bool
		was, is   string // in the bookmark
		from      uint64
	}{
		{name: "the first time", from: 1},
		{name: "forgotten", forgotten: true, from: 2},
		{name: "not forgotten, and an older bookmark", was: place(2), is: place(1), from: 3},
		{name: "ahead of the stream", forgotten: true, was: place(3), is: place(99), from: 1},
		{name: "of another stream", forgotten: true, was: `"stream":"`, is: `"stream":"another`, from: 1},
	} {
		if step.forgotten {
			r.forget()
		}
		if step.was != "" {
			altered := strings.Replace(bookmark(), step.was, step.is, 1)
			if altered == bookmark() {
				t.Fatalf("%s: the bookmark is %s", step.name, altered)
			}
			if _, err := bucket.PutString(t.Context(), key, altered); err != nil {
				t.Fatal(err)
			}
		}
		commit, before := uint64(i)+1, bookmark()
		r.commitDeliveries(pipeline.Delivery{Decision: fmt.Sprint("d", i), Profile: "p", Destination: "mail", Data: event.Object(`{}`)})
		stop := r.relay()
		r.relayed(commit)
		eventually(t, "the bookmark is stored", func() bool { return bookmark() != before })
		stop()
		consumer, err := r.js.Consumer(t.Context(), topology.Commits, key)
		if err != nil {
			t.Fatal(err)
		}
		if from := consumer.CachedInfo().Config.OptStartSeq; from != step.from {
			t.Errorf("%s: the relay reads on from commit %d, want %d", step.name, from, step.from)
		}
		if n := uint64(len(r.stored(topology.Outbox, "OUTBOX.mail"))); n != commit {
			t.Errorf("%s: %d deliveries, want %d", step.name, n, commit)
		}
	}
}

// A bookmark saves reading again; what leaves a partition doesn't wait for one.
func TestRelayGoesOnWithoutABookmark(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	stop := r.relay()
	defer stop()
	eventually(t, "the relay reads", func() bool {
		_, err := r.js.Consumer(t.Context(), topology.Commits, topology.Durable(pipeline.ReaderRelay, 0))
		return err == nil
	})
	if err := r.js.DeleteKeyValue(t.Context(), topology.Journal); err != nil {
		t.Fatal(err)
	}
	for commit := range uint64(2) {
		r.commitDeliveries(pipeline.Delivery{Decision: fmt.Sprint("d", commit), Profile: "p", Destination: "mail", Data: event.Object(`{}`)})
		r.relayed(commit + 1)
	}
	stop()
	if n := len(r.stored(topology.Outbox, "OUTBOX.mail")); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
}

// The relay publishes what leaves the partition, in order; what it repeats after a crash is known.
func TestRelayPublishesWhatLeavesThePartition(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	const count = 10
	var want []pipeline.Delivery
	for i := range uint64(count) {
		d := pipeline.Delivery{Trace: fmt.Sprint("trace", i), Decision: fmt.Sprint("d", i), Destination: "mail", Data: event.Object(`{"a":"b"}`), Decided: 7, NotAfter: 9}
		want = append(want, d)
		data, err := codec.Encode(&pipeline.Commit{
			Epoch: 3, Deliveries: []pipeline.Delivery{d},
			Wakes:       []pipeline.WakeUp{{Profile: fmt.Sprint("p", i%2), At: []event.Instant{8_999_999_999_123, 9_999_999_999_123}[i%2]}},
			DeadLetters: []pipeline.DeadLetter{{Reason: "failed", Error: "x", Payload: []byte("y"), Subject: "EVENTS.0", Position: i}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Commits, 0), data); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time it has lost its place
		stop := r.relay()
		r.relayed(count)
		stop()
		r.forget()
		r.loseBookmark()
	}
	var got []pipeline.Delivery
	for _, m := range r.stored(topology.Outbox, topology.Subject(topology.Outbox, "mail")) {
		var d pipeline.Delivery
		if err := json.Unmarshal(m.Data, &d); err != nil {
			t.Fatal(err)
		}
		if trace := m.Header.Get(event.HeaderTrace); trace != d.Trace {
			t.Errorf("%s travels with the trace %q, want %q", d.Decision, trace, d.Trace)
		}
		got = append(got, d)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	letters := r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, pipeline.ReaderCustomer))
	if len(letters) != count {
		t.Errorf("%d dead letters, want %d", len(letters), count)
	}
	// One schedule each: the latest replaces the others. It is as late as the broker can count.
	for profile, at := range map[string]string{"p0": "2255-03-14T15:59:59.123Z", "p1": "2262-01-01T00:00:00.000Z"} {
		all := r.stored(topology.Wakeups, topology.ScheduleSubject(0, 3, profile))
		if len(all) != 1 || string(all[0].Data) != profile || all[0].Header.Get("Nats-Schedule") != "@at "+at ||
			all[0].Header.Get("Nats-Schedule-Target") != topology.DueSubject(0) {
			t.Errorf("%s: %+v", profile, all)
		}
	}
}
