package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/embedded"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// worker runs the customer chain on partition 0 over a connection of its own, until stop is called; kill takes
// its connection away.
func (r *rig) worker(edit func(*pipeline.CustomerConfig)) (stop, kill func()) {
	r.t.Helper()
	conn, err := r.n.Connect()
	if err != nil {
		r.t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	config := pipeline.CustomerConfig{
		JetStream: js, CachedProfiles: 3, FoldEvery: 5 * time.Millisecond, CommitBytes: 4 << 10,
		Readers: func(int) []string { return []string{"nobody"} }, // every commit stays, for the test to look at
		Load:    func(context.Context, pipeline.Controls) (*pipeline.Chain, error) { return tallyChain(0), nil },
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
	subscriber, handle := customer.Subscriber(), customer.Handle
	if r.serve != nil {
		subscriber, handle = r.serve(customer)
	}
	router.AddConsumerHandler("customer-0", topology.Subject(topology.Events, r.number), subscriber, handle)
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
		conn.Close()
	}), conn.Close
}

func tallyChain(version uint64) *pipeline.Chain {
	return &pipeline.Chain{Stages: []pipeline.Stage{tally{}}, Version: version}
}

// stored reads a subject from its first message on.
func (r *rig) stored(stream, subject string) (all []*jetstream.RawStreamMsg) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	for next := uint64(1); ; {
		m, err := s.GetMsg(r.t.Context(), next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, m)
		next = m.Sequence + 1
	}
}

type storedCommit struct {
	*pipeline.Commit
	sequence uint64
}

func (r *rig) commits() (all []storedCommit) {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range r.stored(topology.Commits, topology.Subject(topology.Commits, r.number)) {
		commit, err := codec.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, storedCommit{commit, m.Sequence})
	}
	return all
}

// compare runs the log's records one after another, each once, and compares facts and profiles.
func (r *rig) compare() {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	var want, got pipeline.Facts
	profiles := map[string]*profile.Profile{}
	ordinals := map[string]uint64{}
	for _, m := range r.stored(topology.Events, topology.Subject(topology.Events, r.number)) {
		e, err := event.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Source.Ordinal <= ordinals[e.Source.Name] || e.Source.After > ordinals[e.Source.Name] {
			continue
		}
		ordinals[e.Source.Name] = e.Source.Ordinal
		if profiles[e.Profile] == nil {
			profiles[e.Profile] = profile.New(e.Profile)
		}
		result, err := tallyChain(0).Apply(profiles[e.Profile], &e, m.Sequence)
		if err != nil {
			r.t.Fatal(err)
		}
		want.Events = append(want.Events, result.Facts.Events...)
		want.Changes = append(want.Changes, result.Facts.Changes...)
	}
	var traces []pipeline.Trace
	hash := pipeline.NewRunningHash(nil)
	var before storedCommit
	for i, c := range r.commits() {
		facts, err := codec.Facts(c.Commit)
		if err != nil {
			r.t.Fatal(err)
		}
		got.Events = append(got.Events, facts.Events...)
		got.Changes = append(got.Changes, facts.Changes...)
		for record, err := range pipeline.Records(c.Facts) {
			if err != nil {
				r.t.Fatal(err)
			}
			hash.Add(record.Position, record.Data)
			traces = append(traces, pipeline.Trace{Position: record.Position, Sum: pipeline.Checksum(record)})
		}
		if string(hash.Sum()) != string(c.Hash) {
			r.t.Errorf("commit %d: the running hash is broken", c.sequence)
		}
		if i > 0 && (c.Epoch < before.Epoch || c.Position < before.Position || c.Mark < before.Mark || c.Mark >= c.sequence || c.Folded < before.Folded) {
			r.t.Errorf("commit %d (epoch %d, position %d, mark %d, folded %d) after commit %d (epoch %d, position %d, mark %d, folded %d)",
				c.sequence, c.Epoch, c.Position, c.Mark, c.Folded, before.sequence, before.Epoch, before.Position, before.Mark, before.Folded)
		}
		before = c
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("facts (%d events, want %d): %.3000s", len(got.Events), len(want.Events), diff)
	}
	end, trail := r.trail()
	if diff := cmp.Diff(traces, trail, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("the trail (%d records, want %d): %.3000s", len(trail), len(traces), diff)
	}
	if end.To != before.Position || string(end.Hash) != string(before.Hash) {
		r.t.Errorf("the trail ends at position %d with the hash %x, the commits at %d with %x", end.To, end.Hash, before.Position, before.Hash)
	}
	if diff := cmp.Diff(profiles, r.profiles(), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("profiles: %.3000s", diff)
	}
}

// trail reads what is kept of the commits, and its last part.
func (r *rig) trail() (end pipeline.Trail, all []pipeline.Trace) {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range r.stored(topology.Trails, topology.Subject(topology.Trails, 0)) {
		next, err := codec.DecodeTrail(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if next.After != end.To || next.To <= next.After || next.Commit <= end.Commit {
			r.t.Errorf("a trail of the positions after %d up to %d (commit %d) follows one that ends at %d (commit %d)", next.After, next.To, next.Commit, end.To, end.Commit)
		}
		for trace, err := range next.All() {
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, trace)
		}
		end = *next
	}
	return end, all
}

// flow appends events of many people, some of them twice, and returns how many there are; begun tells how far
// it is.
func (r *rig) flow(count uint64, begun *atomic.Uint64) (records uint64) {
	chance := rand.New(rand.NewPCG(count, 1))
	for i := range count {
		person := fmt.Sprintf("p%d", chance.IntN(40))
		r.append(i+1, i, person, "view")
		records++
		if chance.IntN(10) == 0 {
			r.append(i+1, i, person, "view")
			records++
		}
		begun.Store(records)
	}
	return records
}

// settle appends a last event and lets a worker end in peace after it: it folds what its predecessors left in
// the commits.
func (r *rig) settle(ordinal, position uint64) {
	r.t.Helper()
	r.append(ordinal, ordinal-1, "last", "view")
	stop, _ := r.worker(nil)
	r.waitPosition(position)
	stop()
}

// The worker's connection dies again and again while events flow, and the next one goes on.
func TestCustomerSurvivesTheDeathOfItsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	chance := rand.New(rand.NewPCG(9, 10))
	var begun atomic.Uint64
	flowing := make(chan uint64, 1)
	go func() { flowing <- r.flow(3000, &begun) }()
	var total uint64
	deaths := 0
	for at := uint64(50); total == 0; at += 20 + chance.Uint64N(120) {
		stop, kill := r.worker(nil)
		select {
		case total = <-flowing:
		default:
			r.waitPosition(min(at, begun.Load()))
			time.Sleep(time.Duration(chance.IntN(3000)) * time.Microsecond) // any moment of a commit's way
			kill()
			deaths++
		}
		stop()
	}
	r.settle(3001, total+1)
	r.compare()
	if deaths < 2 {
		t.Errorf("%d deaths: the test shows little", deaths)
	}
	t.Logf("%d deaths, %d commits, %d records", deaths, len(r.commits()), total)
}

// Two workers hold themselves for the owner: only the one that claimed last commits.
func TestCustomerIsFencedByTheNextOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	var begun atomic.Uint64
	flowing := make(chan uint64, 1)
	go func() { flowing <- r.flow(2000, &begun) }()
	stopFirst, _ := r.worker(nil)
	r.waitPosition(1)
	stopSecond, _ := r.worker(nil)
	total := <-flowing
	r.waitPosition(total - 1) // the last may be a repeat, which needs no commit
	stopFirst()
	stopSecond()
	r.settle(2001, total+1)
	r.compare()
	if epoch := r.lastCommit().Epoch; epoch < 2 {
		t.Errorf("epoch %d: nobody took over", epoch)
	}
	t.Logf("%d claims, %d commits", r.lastCommit().Epoch, len(r.commits()))
}

// A conflict in the bucket: what is older there is overwritten, what is newer stays.
func TestCustomerFoldsOverWhatIsOlder(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) { c.FoldEvery = time.Hour })
	for i, id := range []string{"older", "newer", "deleted"} {
		r.append(uint64(i+1), uint64(i), id, "view")
	}
	r.waitPosition(3)
	kv, err := r.js.KeyValue(t.Context(), topology.Profiles)
	if err != nil {
		t.Fatal(err)
	}
	for id, applied := range map[string]uint64{"older": 0, "newer": 1000, "deleted": 1000} {
		encoded := profile.Encode(&profile.Profile{ID: id, Applied: applied})
		if _, err := kv.Put(t.Context(), id, encoded); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	stop()
	want := map[string]uint64{"older": 1, "newer": 1000, "deleted": 3}
	got := map[string]uint64{}
	for id, p := range r.profiles() {
		got[id] = p.Applied
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A control record closes the batch before it. Where its object is missing the partition waits, also over a
// new claim, and goes on when the object is there.
func TestCustomerWaitsForTheObjectOfAControlRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	store, err := control.Open(t.Context(), r.js, 1)
	if err != nil {
		t.Fatal(err)
	}
	object := []byte("definitions")
	for i := range uint64(9) {
		r.append(i+1, i, "p", "view") // the fifth flips
	}
	if _, changed, err := store.Apply(t.Context(), pipeline.KindDefinitions, object, time.UnixMilli(1)); err != nil || !changed {
		t.Fatalf("apply: %v, %v", changed, err)
	}
	for i := range uint64(9) {
		r.append(i+10, i+9, "p", "view")
	}
	kv, err := r.js.KeyValue(t.Context(), topology.Objects)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context(), control.Hash(object)); err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	edit := func(c *pipeline.CustomerConfig) {
		c.Load = func(ctx context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
			record := inForce[pipeline.KindDefinitions]
			if record.Version == 0 {
				return tallyChain(0), nil
			}
			if _, err := store.Object(ctx, record.Hash); err != nil {
				if errors.Is(err, control.ErrNoObject) {
					refused.Add(1)
				}
				return nil, err
			}
			return tallyChain(record.Version), nil
		}
	}
	for range 2 {
		stop, _ := r.worker(edit)
		r.waitPosition(9)
		refused.Store(0)
		eventually(t, "the object was asked for again and again", func() bool { return refused.Load() >= 3 })
		if c := r.lastCommit(); c.Position != 9 || len(c.Controls) != 0 {
			t.Errorf("without its object the partition stands at %d with %v in force", c.Position, c.Controls)
		}
		stop()
	}
	stop, _ := r.worker(edit)
	eventually(t, "the object was asked for", func() bool { return refused.Load() > 3 })
	if _, err := kv.Put(t.Context(), control.Hash(object), object); err != nil {
		t.Fatal(err)
	}
	r.waitPosition(19)
	stop()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	versions := map[uint64]uint64{}
	for _, c := range r.commits() {
		if inForce := c.Controls[pipeline.KindDefinitions].Version; (c.Position >= 10) != (inForce == 1) {
			t.Errorf("commit up to %d has version %d in force", c.Position, inForce)
		}
		facts, err := codec.Facts(c.Commit)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range facts.Changes {
			versions[change.Position] = change.Version
		}
	}
	if diff := cmp.Diff(map[uint64]uint64{5: 0, 11: 1, 16: 1}, versions); diff != "" { // the record itself is 10
		t.Errorf("flips by position, and their versions: %s", diff)
	}
	// Once in force, its loss keeps the next owner from claiming.
	if err := kv.Purge(t.Context(), control.Hash(object)); err != nil {
		t.Fatal(err)
	}
	before := r.lastCommit().Epoch
	refused.Store(0)
	stop, _ = r.worker(edit)
	eventually(t, "the object was asked for again and again", func() bool { return refused.Load() >= 3 })
	stop()
	if after := r.lastCommit().Epoch; after != before {
		t.Errorf("%d claims without being able to decide", after-before)
	}
}

// Commits go once they are folded and every reader has passed them; the last one stays.
func TestCustomerPurgesWhatNobodyNeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	readers := map[string]jetstream.Consumer{}
	for _, name := range []string{"swift", "slow"} {
		consumer, err := r.js.CreateConsumer(t.Context(), topology.Commits, jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		readers[name] = consumer
	}
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		c.Readers = func(int) []string { return []string{"swift", "slow"} }
	})
	defer stop()
	for i := range uint64(200) {
		r.append(i+1, i, fmt.Sprintf("p%d", i%30), "view")
	}
	r.waitPosition(200)
	all := r.commits()
	if len(all) < 6 || all[0].sequence != 1 {
		t.Fatalf("%d commits from %d on", len(all), all[0].sequence)
	}
	pass := func(name string, upTo uint64) {
		t.Helper()
		for {
			m, err := readers[name].Next(jetstream.FetchMaxWait(patience))
			if err != nil {
				t.Fatal(err)
			}
			if meta, err := m.Metadata(); err != nil {
				t.Fatal(err)
			} else if meta.Sequence.Stream == upTo {
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	last := all[len(all)-1].sequence
	pass("swift", last)
	pass("slow", 3)
	next := uint64(200)
	commit := func() { // what is folded, a stored commit must say
		t.Helper()
		next, last = next+1, last+1
		r.append(next, next-1, "other", "view")
		r.waitPosition(next)
		pass("swift", last)
	}
	eventually(t, "commits are purged", func() bool { commit(); return r.commits()[0].sequence > 3 })
	if first := r.commits()[0].sequence; first != 4 {
		t.Errorf("the oldest commit is %d, though the slow reader stands at 3", first)
	}
	eventually(t, "only the last commit is left", func() bool { commit(); pass("slow", last); return len(r.commits()) == 1 })
	if left := r.commits(); left[0].sequence != last || left[0].Position != next {
		t.Errorf("commit %d is left, want %d", left[0].sequence, last)
	}
	stop()
	if end, traces := r.trail(); end.To != next || uint64(len(traces)) != next {
		t.Errorf("%d records up to position %d have a trail, want %d", len(traces), end.To, next)
	}
	// The next owner reads all of it from there and from the bucket.
	stop, _ = r.worker(nil)
	r.append(next+1, next, "p1", "view")
	r.waitPosition(next + 1)
	stop()
	if p := r.profiles()["p1"]; p.Count("view") != 8 {
		t.Errorf("p1 counts %v, want 8 views", p.Activities)
	}
}

// hoard is a stage that keeps what the event says: a profile that grows.
type hoard struct{}

func (hoard) Name() string                         { return "hoard" }
func (hoard) Due(p *profile.Profile) event.Instant { return 0 }
func (hoard) Apply(s *pipeline.Step) {
	if len(s.Event.Properties) == 0 {
		return
	}
	if s.Profile.Traits == nil {
		s.Profile.Traits = map[string]profile.Trait{}
	}
	s.Profile.Traits[s.Event.ID] = profile.Trait{Value: s.Event.Properties}
}

func (r *rig) appendProperties(ordinal uint64, id string, size int) {
	r.t.Helper()
	e := event.Event{
		ID: fmt.Sprintf("e%d", ordinal), Type: event.Track, Name: "x", Profile: id,
		Source: event.Source{Name: "test", Ordinal: ordinal, After: ordinal - 1},
	}
	if size > 0 {
		e.Properties = event.Object(`{"x":"` + strings.Repeat("x", size) + `"}`)
	}
	data, err := e.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.js.Publish(r.t.Context(), topology.Subject(topology.Events, 0), data); err != nil {
		r.t.Fatal(err)
	}
}

func smallRig(t *testing.T, maxPayload int32) *rig {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir(), MaxPayload: maxPayload})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return newRigOn(t, n, 1)
}

// journal collects log lines.
type journal struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(p)
}

func (j *journal) has(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Contains(j.lines.String(), text)
}

func TestCustomerSaysThatACommitIsTooLarge(t *testing.T) {
	t.Parallel()
	r := smallRig(t, 32<<10)
	for i := range uint64(20) {
		r.appendProperties(i+1, "p", 4<<10)
	}
	var log journal
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		c.CommitBytes = 1 << 20
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	eventually(t, "the log says what to do", func() bool {
		return log.has("max_payload of 32768") && log.has("raise it")
	})
	if position := r.lastCommit().Position; position >= 20 {
		t.Errorf("position %d", position)
	}
	stop()
	stop, _ = r.worker(func(c *pipeline.CustomerConfig) { c.CommitBytes = 8 << 10 }) // as the log says
	r.waitPosition(20)
	stop()
}

// Small events of customers of whom much is known: it is the profiles that fill the commit.
func TestCustomerCutsByTheSizeOfTheProfiles(t *testing.T) {
	t.Parallel()
	const people, rounds, limit = 100, 4, 16 << 10
	r := smallRig(t, 64<<10)
	edit := func(c *pipeline.CustomerConfig) {
		c.CommitBytes = limit
		c.Load = func(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
			return &pipeline.Chain{Stages: []pipeline.Stage{hoard{}}}, nil
		}
	}
	ordinal := uint64(0)
	round := func(size int) {
		t.Helper()
		for i := range people {
			ordinal++
			r.appendProperties(ordinal, fmt.Sprintf("p%d", i), size)
		}
		stop, _ := r.worker(edit) // reads them from the bucket, or from the commits above the mark
		r.waitPosition(ordinal)
		stop()
	}
	for range rounds {
		round(1 << 10)
	}
	round(0)
	round(0)
	for _, m := range r.stored(topology.Commits, topology.Subject(topology.Commits, r.number)) {
		if len(m.Data) > limit+8<<10 { // one record beyond the cut, with its profile
			t.Errorf("commit %d has %d bytes, want about %d", m.Sequence, len(m.Data), limit)
		}
	}
	for id, p := range r.profiles() {
		if len(p.Traits) != rounds {
			t.Errorf("%s keeps %d traits, want %d", id, len(p.Traits), rounds)
		}
	}
}
