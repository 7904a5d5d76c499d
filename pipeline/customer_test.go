package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// tally is a stage that counts events and flips a segment at every fifth.
type tally struct{}

func (tally) Name() string                         { return "tally" }
func (tally) Due(p *profile.Profile) event.Instant { return 0 }
func (tally) Apply(s *pipeline.Step) {
	if s.Event == nil {
		return
	}
	if s.Event.Name == "panic" {
		panic("a stage's mistake")
	}
	s.Profile.Happens(s.Event.Name).Count++
	if n := s.Profile.Count(s.Event.Name); n%5 == 0 {
		s.Flip("fifth", n%10 == 5)
	}
}

type rig struct {
	t      *testing.T
	n      *embedded.NATS
	js     jetstream.JetStream
	number int // of the partition
	// serve may put something between the Router and the chain.
	serve func(*pipeline.Customer) (*bus.Subscriber, message.NoPublishHandlerFunc)
	// load makes the chain of a whole process; nil: accountChain.
	load func(context.Context, pipeline.Controls) (*pipeline.Chain, error)
}

func newRig(t *testing.T, partitions int) *rig {
	t.Helper()
	return newRigOn(t, enginetest.NATS(t), partitions)
}

func newRigOn(t *testing.T, n *embedded.NATS, partitions int) *rig {
	t.Helper()
	js := enginetest.Connected(t, n)
	config := topology.DefaultConfig()
	config.Partitions = partitions
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, n: n, js: js}
}

// work runs the customer chain on partition 0 until stop is called.
func (r *rig) work(cached int) (stop func()) {
	r.t.Helper()
	customer, err := pipeline.NewCustomer(pipeline.CustomerConfig{
		JetStream: r.js, CachedProfiles: cached, FoldEvery: 20 * time.Millisecond, CommitBytes: 4 << 10,
		Readers: func(int) []string { return nil },
		Log:     slog.New(slog.DiscardHandler),
		Load: func(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
			return &pipeline.Chain{Stages: []pipeline.Stage{tally{}}}, nil
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 10 * time.Second}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	router.AddConsumerHandler("customer-0", topology.Subject(topology.Events, r.number), customer.Subscriber(), customer.Handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return func() {
		if err := router.Close(); err != nil {
			r.t.Error(err)
		}
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) append(ordinal, after uint64, profile, name string, losers ...string) {
	r.t.Helper()
	e := event.Event{
		ID: fmt.Sprintf("e%d", ordinal), Type: event.Track, Name: name, Profile: profile,
		Occurred: event.Instant(1000 * ordinal), Accepted: event.Instant(1000 * ordinal),
		Source: event.Source{Name: "test", Ordinal: ordinal, After: after},
	}
	for _, loser := range losers {
		e.Joins = append(e.Joins, event.Join{Loser: loser})
	}
	data, err := e.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.js.Publish(r.t.Context(), topology.Subject(topology.Events, r.number), data); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) lastCommit() *pipeline.Commit {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), topology.Commits)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(r.t.Context(), topology.Subject(topology.Commits, r.number))
	if err != nil {
		return &pipeline.Commit{}
	}
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	commit, err := codec.Decode(m.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	return commit
}

func (r *rig) waitPosition(position uint64) *pipeline.Commit {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		commit := r.lastCommit()
		if commit.Position >= position {
			return commit
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the commits stand at position %d, want %d", commit.Position, position)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at the broker
	}
}

func (r *rig) profiles() map[string]*profile.Profile {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), topology.Profiles)
	if err != nil {
		r.t.Fatal(err)
	}
	keys, err := kv.Keys(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]*profile.Profile{}
	for _, k := range keys {
		entry, err := kv.Get(r.t.Context(), k)
		if err != nil {
			r.t.Fatal(err)
		}
		if all[k], err = profile.Decode(entry.Value()); err != nil {
			r.t.Fatal(err)
		}
	}
	return all
}

// The worker is stopped and claimed anew in the middle of its input, with a cache that holds a tenth of the
// profiles, and every event counts exactly once.
func TestCustomerCountsEachEventOnceOverManyClaims(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	const events, people = 1000, 100
	for i := range uint64(events) {
		r.append(i+1, i, fmt.Sprintf("p%d", i%people), "view")
		if i%7 == 0 {
			r.append(i+1, i, fmt.Sprintf("p%d", i%people), "view") // a repeat of the same record
		}
	}
	total := uint64(events + (events+6)/7)
	for at := uint64(100); at < total; at += 150 {
		stop := r.work(10)
		r.waitPosition(at)
		stop()
	}
	r.append(events+1, events, "last", "view") // so that the last worker claims, and folds what is left
	stop := r.work(10)
	commit := r.waitPosition(total + 1)
	stop()
	if commit.Epoch < 2 {
		t.Errorf("epoch %d: the partition was claimed only once", commit.Epoch)
	}
	got := r.profiles()
	delete(got, "last")
	if len(got) != people {
		t.Errorf("%d profiles are folded, want %d", len(got), people)
	}
	for id, p := range got {
		if p.Count("view") != events/people {
			t.Errorf("profile %s counts %d views, want %d", id, p.Count("view"), events/people)
		}
	}
}

// A record that overtook a lost one is not applied before it.
func TestCustomerWaitsForALostRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.append(1, 0, "p", "view")
	r.append(3, 2, "p", "late") // record 2 was refused on its way
	r.append(2, 1, "p", "lost") // the source repeats from there
	r.append(3, 2, "p", "late")
	stop := r.work(10)
	r.waitPosition(4)
	stop()
	p := r.profiles()["p"]
	if p.Count("view") != 1 || p.Count("lost") != 1 || p.Count("late") != 1 {
		t.Errorf("counts %v, want each once", p.Activities)
	}
}

// Records whose steps panic are parked, and what comes before, between and after them counts, also in their batch, as does
// what they say of other profiles. They cost the partition no claim: a few of them would hold up all its customers.
func TestCustomerParksRecordsThatFail(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	const rounds = 40
	for i := range uint64(rounds) {
		r.append(3*i+1, 3*i, "p", "view")
		r.append(3*i+2, 3*i+1, "p", "panic", fmt.Sprint("loser", i))
		r.append(3*i+3, 3*i+2, "q", "view")
	}
	stop := r.work(10)
	commit := r.waitPosition(3 * rounds)
	stop()
	profiles := r.profiles()
	if p, q := profiles["p"], profiles["q"]; p.Count("view") != rounds || p.Count("panic") != 0 || q.Count("view") != rounds {
		t.Errorf("counts %v and %v, want %d views each and nothing else", p.Activities, q.Activities, rounds)
	} else if len(p.Awaits) != rounds {
		t.Errorf("waits for %d profiles, want %d: %v", len(p.Awaits), rounds, p.Awaits)
	}
	if commit.Epoch != 1 {
		t.Errorf("epoch %d: the partition was claimed anew", commit.Epoch)
	}
}
