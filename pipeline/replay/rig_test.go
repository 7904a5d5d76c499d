package replay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// tally counts events, flips a segment at every fifth, owes a step an hour after each third, and fails where it
// is told to. A spoiled one states something else at one event.
type tally struct{ spoiled string }

func (tally) Name() string { return "tally" }

func (tally) Due(p *profile.Profile) event.Instant {
	if len(p.Waits) == 0 {
		return 0
	}
	return p.Waits[0].Due
}

func (y tally) Apply(s *pipeline.Step) {
	if s.Event == nil {
		w := s.Profile.Waits[0]
		s.Profile.Waits = s.Profile.Waits[1:]
		s.Decide(pipeline.Decision{ID: w.Cause, Campaign: "reminder", Outcome: pipeline.Suppressed, Reason: "test"})
		return
	}
	s.Profile.Happens(s.Event.Name).Count++ // before it fails: the profile is half changed then
	if s.Event.Name == "panic" {
		panic("a stage's mistake")
	}
	n := s.Profile.Count(s.Event.Name)
	if n%5 == 0 {
		s.Flip("fifth", (n%10 == 5) != (s.Event.ID == y.spoiled))
	}
	if n%3 == 0 {
		s.Profile.Waits = append(s.Profile.Waits, profile.Wait{Campaign: "reminder", Due: s.Now.Add(time.Hour), Cause: s.Event.ID})
	}
}

type rig struct {
	t       *testing.T
	js      jetstream.JetStream
	spoiled string
	ordinal uint64
}

func newRig(t *testing.T, edit func(*topology.Config)) *rig {
	t.Helper()
	js := enginetest.JetStream(t)
	config := topology.DefaultConfig()
	config.Partitions = 1
	if edit != nil {
		edit(&config)
	}
	if err := topology.Ensure(t.Context(), js, config); err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, js: js}
}

func (r *rig) load(_ context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
	record := inForce[pipeline.KindDefinitions]
	return &pipeline.Chain{Stages: []pipeline.Stage{tally{spoiled: r.spoiled}}, Version: record.Version, Definitions: record.Hash}, nil
}

// work runs the customer chain until stop is called.
func (r *rig) work(edit func(*pipeline.CustomerConfig)) (stop func()) {
	r.t.Helper()
	config := pipeline.CustomerConfig{
		JetStream: r.js, CachedProfiles: 5, FoldEvery: 5 * time.Millisecond, CommitBytes: 4 << 10, Load: r.load,
		Readers: func(int) []string { return []string{"nobody"} }, // every commit stays
	}
	if edit != nil {
		edit(&config)
	}
	customer, err := pipeline.NewCustomer(config)
	if err != nil {
		r.t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	router.AddConsumerHandler("customer-0", topology.Subject(topology.Events, 0), customer.Subscriber(), customer.Handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) publish(e event.Event) uint64 {
	r.t.Helper()
	data, err := e.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.put(topology.Subject(topology.Events, 0), data)
}

func (r *rig) put(subject string, data []byte) uint64 {
	r.t.Helper()
	ack, err := r.js.Publish(r.t.Context(), subject, data)
	if err != nil {
		r.t.Fatal(err)
	}
	return ack.Sequence
}

// flow appends events of 40 people, with all that a log may hold in between: repeats, wake-ups, records that
// can't be used, and such that make a stage fail. It returns the position of the last one that leads to a commit.
func (r *rig) flow(count int) (last uint64) {
	r.t.Helper()
	chance := rand.New(rand.NewPCG(r.ordinal, 5))
	for range count {
		r.ordinal++
		e := event.Event{
			ID: fmt.Sprint("e", r.ordinal), Type: event.Track, Name: "view", Profile: fmt.Sprint("p", chance.IntN(40)),
			Occurred: event.Instant(r.ordinal) * 60_000, Accepted: event.Instant(r.ordinal) * 60_000,
			Source: event.Source{Name: "test", Ordinal: r.ordinal, After: r.ordinal - 1},
		}
		repeats := 0
		switch chance.IntN(20) {
		case 0:
			repeats = 1
		case 1:
			e.Type, e.Name, e.ID = event.Wake, "", ""
		case 2:
			r.put(topology.Subject(topology.Events, 0), []byte("not an event"))
		case 3:
			e.Profile = "nobody-knows-me"
			e.Type, e.Name, e.ID = event.Wake, "", ""
		}
		if r.ordinal%300 == 200 {
			e.Name, e.Type = "panic", event.Track
		}
		last = r.publish(e)
		for range repeats {
			r.publish(e) // alone in a batch it leads to no commit
		}
	}
	return last
}

// run works off what is appended, over the given number of restarts.
func (r *rig) run(count, restarts int, edit func(*pipeline.CustomerConfig)) {
	r.t.Helper()
	for range restarts + 1 {
		last := r.flow(count / (restarts + 1))
		stop := r.work(edit)
		r.wait(last)
		stop()
	}
}

func (r *rig) stream(name string) jetstream.Stream {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// wait until the newest commit is at a position or behind it.
func (r *rig) wait(position uint64) {
	r.t.Helper()
	commits := r.stream(topology.Commits)
	eventually(r.t, fmt.Sprint("a commit at position ", position), func() bool {
		m, err := commits.GetLastMsgForSubject(r.t.Context(), topology.Subject(topology.Commits, 0))
		if err != nil {
			return false
		}
		return decode(r.t, m.Data).Position >= position
	})
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func codec(t *testing.T) *pipeline.CommitCodec {
	t.Helper()
	c, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func decode(t *testing.T, data []byte) *pipeline.Commit {
	t.Helper()
	commit, err := codec(t).Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return commit
}

func (r *rig) try(from *replay.State) (*replay.Report, *replay.State, error) {
	r.t.Helper()
	replayer, err := replay.New(replay.Config{JetStream: r.js, Load: r.load, Verify: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return replayer.Partition(r.t.Context(), 0, from)
}

func (r *rig) replay(from *replay.State) (*replay.Report, *replay.State) {
	r.t.Helper()
	report, state, err := r.try(from)
	if err != nil {
		r.t.Fatal(err)
	}
	return report, state
}

// equal replays all of it and expects no difference.
func (r *rig) equal() *replay.Report {
	r.t.Helper()
	report, _ := r.replay(nil)
	if !report.Equal() || report.Hash == "" || report.Hash != report.Recorded || report.Facts == 0 || report.Unknown != 0 || report.Missing != 0 {
		r.t.Fatalf("report %+v, first difference %+v", report, report.First)
	}
	return report
}

// purge lets the worker purge all commits that state anything. What is folded a stored commit must say, so records
// that state nothing follow.
func (r *rig) purge() {
	r.t.Helper()
	stop := r.work(func(c *pipeline.CustomerConfig) { c.Readers = func(int) []string { return nil } })
	commits := r.stream(topology.Commits)
	before, err := commits.Info(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "only commits that state nothing are left", func() bool {
		r.ordinal++
		r.wait(r.publish(event.Event{
			Type: event.Wake, Profile: "nobody-knows-me", Accepted: event.Instant(r.ordinal) * 60_000,
			Source: event.Source{Name: "test", Ordinal: r.ordinal, After: r.ordinal - 1},
		}))
		info, err := commits.Info(r.t.Context())
		return err == nil && info.State.FirstSeq > before.State.LastSeq+1
	})
	stop()
}
