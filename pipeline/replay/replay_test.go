package replay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline"
	"attune/pipeline/control"
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
	conn, err := enginetest.NATS(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
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
// can't be used, and such that make a stage fail.
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
		switch chance.IntN(20) {
		case 0:
			r.publish(e) // and again below
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

// wait until the newest commit is at a position, or a repeat before it.
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

// However the log was worked off, over restarts and in whatever batches, a replay of it gives the same bytes.
func TestReplayEqualsTheRun(t *testing.T) {
	t.Parallel()
	hashes := map[string]bool{}
	for _, test := range []struct {
		restarts int
		bytes    int
	}{{0, 512 << 10}, {7, 1}, {4, 3000}} {
		r := newRig(t, nil)
		r.run(840, test.restarts, func(c *pipeline.CustomerConfig) { c.CommitBytes = test.bytes })
		report := r.equal()
		if report.Whole != report.Facts || report.Parked < 10 {
			t.Errorf("%d of %d facts compared byte for byte, %d records parked", report.Whole, report.Facts, report.Parked)
		}
		if test.restarts == 7 {
			continue // other parts of the flow
		}
		r.purge()
		if purged := r.equal(); purged.Hash != report.Hash || purged.Facts != report.Facts || purged.Whole != 0 {
			t.Errorf("after the purge: %+v, before: %+v", purged, report)
		}
		hashes[report.Hash] = true
	}
	if len(hashes) != 2 {
		t.Errorf("%d hashes of two logs", len(hashes))
	}
}

// A stage that decides one event otherwise than it did is found, and the event named, whether the commits are
// still there or not.
func TestReplayFindsAnotherDecision(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(3000, 1, func(c *pipeline.CustomerConfig) { c.CommitBytes = 64 << 10 })
	var position uint64
	var want event.Event
	r.each(func(sequence uint64, commit *pipeline.Commit) {
		for record, err := range pipeline.Records(commit.Facts) {
			if err != nil {
				t.Fatal(err)
			}
			facts, err := codec(t).DecodeFacts(record)
			if err != nil {
				t.Fatal(err)
			}
			if position == 0 && record.Position > 1500 && len(facts.Changes) > 0 {
				position, want = record.Position, facts.Events[0].Event
			}
		}
	})
	r.spoiled = want.ID
	for _, purged := range []bool{false, true} {
		report, _ := r.replay(nil)
		first := report.First
		if report.Equal() || first == nil || first.Position != position || first.Event != want.ID || first.Profile != want.Profile || report.Differences != 1 {
			t.Fatalf("purged %t: report %+v, first %+v, want one at %d", purged, report, first, position)
		}
		if first.Replayed == nil || (first.Recorded == nil) != purged {
			t.Errorf("purged %t: recorded %v, replayed %v", purged, first.Recorded, first.Replayed)
		}
		if !purged && first.Recorded.Changes[0].Entered == first.Replayed.Changes[0].Entered {
			t.Errorf("both sides show the same: %+v", first)
		}
		if !purged {
			r.spoiled = "" // the worker decides as before
			r.purge()
			r.spoiled = want.ID
		}
	}
}

// each visits the commits.
func (r *rig) each(visit func(sequence uint64, commit *pipeline.Commit)) {
	r.t.Helper()
	s := r.stream(topology.Commits)
	for next := uint64(1); ; next++ {
		m, err := s.GetMsg(r.t.Context(), next, jetstream.WithGetMsgSubject(topology.Subject(topology.Commits, 0)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return
		}
		if err != nil {
			r.t.Fatal(err)
		}
		next = m.Sequence
		visit(next, decode(r.t, m.Data))
	}
}

// Commits that were changed afterwards are found: a fact, a fact that is not there any more, a hash.
func TestReplayFindsAnotherCommit(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*pipeline.Commit) (position uint64){
		"a byte": func(c *pipeline.Commit) (position uint64) {
			for record := range pipeline.Records(c.Facts) {
				record.Data[len(record.Data)/2] ^= 1
				return record.Position
			}
			return 0
		},
		"a record less": func(c *pipeline.Commit) (position uint64) {
			facts := c.Facts
			c.Facts = nil
			for record := range pipeline.Records(facts) {
				if position == 0 {
					position = record.Position
					continue
				}
				c.Facts = pipeline.AppendRecordFacts(c.Facts, record.Position, record.Data)
			}
			return position
		},
		"the hash": func(c *pipeline.Commit) uint64 { c.Hash[31] ^= 1; return c.Position },
	} {
		for _, trail := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", with its trail ", trail), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				r.run(600, 0, nil)
				var position uint64
				var rewritten [][]byte
				r.each(func(sequence uint64, commit *pipeline.Commit) {
					if position == 0 && commit.Position > 300 && len(commit.Facts) > 0 {
						position = change(commit)
					}
					data, err := codec(t).Encode(commit)
					if err != nil {
						t.Fatal(err)
					}
					rewritten = append(rewritten, data)
				})
				purge := []string{topology.Commits}
				if !trail {
					purge = append(purge, topology.Trails)
				}
				for _, name := range purge {
					if err := r.stream(name).Purge(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				for _, data := range rewritten {
					r.put(topology.Subject(topology.Commits, 0), data)
				}
				report, _ := r.replay(nil)
				if report.Equal() || report.First == nil || report.First.Position != position {
					t.Errorf("report %+v, first %+v, want a difference at %d", report, report.First, position)
				}
			})
		}
	}
}

// What is erased from the log is missing, and hides nothing else.
func TestReplayCountsWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(900, 0, nil)
	r.spoiled = "e880"
	before := r.equal().Facts
	for _, purged := range []bool{false, true} {
		if purged {
			r.purge()
		}
		// All of one customer's events go; what only woke them stays.
		gone := r.erase("p7")
		if purged {
			gone = r.erase("p8")
		}
		if gone < 5 {
			t.Fatalf("only %d records of the customer", gone)
		}
		report, _ := r.replay(nil)
		if !report.Equal() || report.Missing < uint64(gone) || report.Facts+report.Missing != before || len(report.Gone) == 0 {
			t.Errorf("purged %t: report %+v, first %+v; want at least %d missing, and %d with the facts", purged, report, report.First, gone, before)
		}
	}
}

// erase deletes the events of one customer, as an erasure does.
func (r *rig) erase(id string) (n int) {
	r.t.Helper()
	s := r.stream(topology.Events)
	info, err := s.Info(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
		m, err := s.GetMsg(r.t.Context(), sequence)
		if err != nil {
			continue // gone already
		}
		e, err := event.Decode(m.Data)
		if err != nil || e.Profile != id || e.Type != event.Track {
			continue
		}
		if err := s.SecureDeleteMsg(r.t.Context(), sequence); err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

// A snapshot and the rest are the whole, also when what came before it has aged out.
func TestReplayGoesOnFromASnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *topology.Config) { c.EventsAge = time.Hour })
	store, err := control.Open(t.Context(), r.js, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Apply(t.Context(), pipeline.KindDefinitions, []byte("one"), time.UnixMilli(1)); err != nil {
		t.Fatal(err)
	}
	r.run(500, 1, nil)
	first, state := r.replay(nil)
	if !first.Equal() {
		t.Fatalf("report %+v", first)
	}
	kept := save(t, r.js, state)
	if _, _, err := store.Apply(t.Context(), pipeline.KindDefinitions, []byte("two"), time.UnixMilli(2)); err != nil {
		t.Fatal(err)
	}
	r.run(500, 1, nil)
	whole := r.equal()
	for _, purged := range []bool{false, true} {
		if purged {
			r.purge() // adds records
			whole = r.equal()
		}
		rest, after := r.replay(open(t, r.js, kept))
		if !rest.Equal() || rest.Hash != whole.Hash || rest.Facts+first.Facts != whole.Facts || rest.Records+first.Records != whole.Records || rest.Unknown+rest.Missing != 0 {
			t.Errorf("purged %t: rest %+v, first %+v, whole %+v", purged, rest, first, whole)
		}
		_, end := r.replay(nil)
		if diff := cmp.Diff(end, after); diff != "" {
			t.Errorf("purged %t: states by one way and by two: %.2000s", purged, diff)
		}
	}
	// A tampered state is no secret either.
	spoiled := open(t, r.js, kept)
	delete(spoiled.Profiles, "p3")
	if report, _ := r.replay(spoiled); report.Equal() {
		t.Error("a snapshot that lacks a profile makes no difference")
	}
}

// Without the beginning of the log and without a snapshot there is nothing to compare, and it says what to do.
func TestReplayNeedsTheBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(100, 0, nil)
	_, state := r.replay(nil)
	info, err := r.stream(topology.Events).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	aged := info.Config
	aged.MaxAge = 100 * time.Millisecond
	aged.Duplicates = aged.MaxAge
	if _, err := r.js.UpdateStream(t.Context(), aged); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log has aged out", func() bool {
		info, err := r.stream(topology.Events).Info(t.Context())
		return err == nil && info.State.Msgs == 0
	})
	if report, _ := r.replay(state); !report.Equal() || report.Records != 0 {
		t.Errorf("nothing happened since the snapshot: %+v", report)
	}
	_, _, err = r.try(nil)
	if !errors.Is(err, replay.ErrAged) || !strings.Contains(err.Error(), "--from FILE") {
		t.Errorf("error %v", err)
	}
	aged.MaxAge = time.Minute // what comes now stays
	if _, err := r.js.UpdateStream(t.Context(), aged); err != nil {
		t.Fatal(err)
	}
	stop := r.work(nil)
	r.wait(r.flow(50))
	stop()
	if report, _ := r.replay(state); !report.Equal() || report.Facts < 30 || report.Missing != 0 {
		t.Errorf("from the snapshot: %+v, first %+v", report, report.First)
	}
}

// The commits are purged in the middle of a replay, which has compared with them so far and had no trail yet: it
// goes on with the trail, whose beginning tells of what has passed.
func TestReplayOutlivesAPurge(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(900, 5, nil) // each worker ends with a trail of its own
	trails := r.stream(topology.Trails)
	var kept [][]byte
	for sequence := uint64(1); sequence <= 6; sequence++ {
		m, err := trails.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, m.Data)
	}
	if err := trails.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	purge := sync.OnceFunc(func() {
		for _, data := range kept {
			r.put(topology.Subject(topology.Trails, 0), data)
		}
		r.purge()
	})
	replayer, err := replay.New(replay.Config{JetStream: r.js, Load: r.load, Verify: true, Progress: func(_ int, position, _ uint64) {
		if position > 400 {
			purge()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := replayer.Partition(t.Context(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Equal() || report.Unknown+report.Missing != 0 || report.Hash != report.Recorded || report.Whole == 0 || report.Whole == report.Facts {
		t.Errorf("report %+v, first %+v", report, report.First)
	}
}
