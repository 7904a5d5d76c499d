package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	wakeups "attune/pipeline/wake"
)

// forward runs the forwarder of partition 0 until stop is called.
func (r *rig) forward() (stop func()) {
	r.t.Helper()
	f := wakeups.NewForwarder(r.js, time.Now, slog.New(slog.DiscardHandler))
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	router.AddHandler("wake-0", topology.DueSubject(0), f.Subscriber(), "", bus.NewPublisher(r.js), f.Handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			r.t.Error(err)
		}
	})
}

// happened appends an event that is accepted now.
func (r *rig) happened(ordinal uint64, id string) event.Instant {
	r.t.Helper()
	at := event.At(time.Now())
	e := event.Event{
		ID: fmt.Sprintf("e%d", ordinal), Type: event.Track, Name: "view", Profile: id, Occurred: at, Accepted: at,
		Source: event.Source{Name: "test", Ordinal: ordinal, After: ordinal - 1},
	}
	data, err := e.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.js.Publish(r.t.Context(), topology.Subject(topology.Events, 0), data); err != nil {
		r.t.Fatal(err)
	}
	return at
}

// decided are the decisions in the commits, by the event that they wait for.
func (r *rig) decided() map[string]pipeline.Decision {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]pipeline.Decision{}
	for _, c := range r.commits() {
		facts, err := codec.Facts(c.Commit)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, d := range facts.Decisions {
			if _, twice := all[d.ID]; twice {
				r.t.Errorf("%s is decided twice", d.ID)
			}
			all[d.ID] = d
		}
	}
	return all
}

// When the broker fires a schedule it purges the schedule's subject without looking at what is there: a replacement
// that was published in that moment goes too. (Package wake has a test in which the broker does so by itself.) Here
// it is purged by hand, when nothing else could wake the customer any more. The wait is honoured all the same: the
// fired wake-up arms again.
func TestAWaitOutlivesThePurgeOfItsWakeUp(t *testing.T) {
	t.Parallel()
	const wait = 700 * time.Millisecond
	r := newRig(t, 1)
	registry := prometheus.NewRegistry()
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		c.Metrics = registry
		c.Load = func(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
			return &pipeline.Chain{Stages: []pipeline.Stage{alarm{name: "cart", after: wait}}}, nil
		}
	})
	defer stop()
	stopRelay := r.relay()
	defer stopRelay()
	schedules := func() []*jetstream.RawStreamMsg { return r.stored(topology.Wakeups, "WAKE.at.>") }
	r.happened(1, "p")
	eventually(t, "a wake-up is armed", func() bool { return len(schedules()) == 1 })
	eventually(t, "it fires", func() bool { return len(r.stored(topology.Wakeups, topology.DueSubject(0))) == 1 })
	second := r.happened(2, "p")
	eventually(t, "another one is armed in its place", func() bool { return len(schedules()) == 1 })
	wakes, err := r.js.Stream(t.Context(), topology.Wakeups)
	if err != nil {
		t.Fatal(err)
	}
	if err := wakes.Purge(t.Context(), jetstream.WithPurgeSubject(schedules()[0].Subject)); err != nil {
		t.Fatal(err)
	}
	if len(schedules()) != 0 {
		t.Fatal("the replacement is still there")
	}
	stopForwarder := r.forward()
	defer stopForwarder()
	eventually(t, "the second wait is decided without any further event", func() bool { _, ok := r.decided()["e2#0"]; return ok })
	if at := r.decided()["e2#0"].At; at != second.Add(wait) {
		t.Errorf("decided at %s, want its own instant %s", at, second.Add(wait))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "attune_wakeup_lateness_seconds" {
			// The first came when nothing was due any more: only the second is counted.
			if h := f.GetMetric()[0].GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() <= 0 || h.GetSampleSum() > patience.Seconds() {
				t.Errorf("lateness: %d wake-ups, %f s", h.GetSampleCount(), h.GetSampleSum())
			}
			return
		}
	}
	t.Error("lateness is not measured")
}
