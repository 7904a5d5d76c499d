package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	wakeups "attune/pipeline/wake"
	"attune/stages/normalize"
)

const (
	clusterPartitions = 4
	clusterPeople     = 60
	clusterWait       = time.Second // of the campaign that each event triggers
)

// visits counts events, waits after each and then orders a mail.
type visits struct{ alarm }

func (v visits) Apply(s *pipeline.Step) {
	if s.Event != nil {
		tally{}.Apply(s)
	}
	v.alarm.Apply(s)
	for _, d := range s.Decisions {
		s.Deliver(pipeline.Delivery{Decision: strings.ReplaceAll(d.ID, "#", "-"), Campaign: d.Campaign, Destination: "mail", Data: event.Object("{}")})
	}
}

func visitChain() *pipeline.Chain {
	return &pipeline.Chain{Stages: []pipeline.Stage{visits{alarm{name: "visit", after: clusterWait}}}}
}

// clusterRig is the pipeline, from RAW to OUTBOX and a sink, over a cluster that keeps everything three times.
type clusterRig struct {
	t       *testing.T
	cluster *enginetest.Cluster
	js      jetstream.JetStream
	sink    ledger
}

func newClusterRig(t *testing.T) *clusterRig {
	t.Helper()
	r := &clusterRig{t: t, cluster: enginetest.NATSCluster(t, 3)}
	r.js = r.connect()
	config := topology.DefaultConfig()
	config.Partitions, config.Replicas = clusterPartitions, 3
	if err := topology.Ensure(t.Context(), r.js, config); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *clusterRig) connect() jetstream.JetStream {
	r.t.Helper()
	conn, err := r.cluster.Connect()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	return js
}

// work runs every chain over every partition, wired as the program wires them, until stop is called.
func (r *clusterRig) work() (stop func()) {
	r.t.Helper()
	js, log := r.connect(), slog.New(slog.NewTextHandler(testWriter{r.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	hash, err := vault.OpenHasher(r.t.Context(), js)
	if err != nil {
		r.t.Fatal(err)
	}
	normalizing, err := normalize.New(r.t.Context(), normalize.Config{JetStream: js, Partitions: clusterPartitions, Hash: hash, Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(normalizing.Close)
	customers, err := pipeline.NewCustomer(pipeline.CustomerConfig{
		JetStream: js, CachedProfiles: 5, FoldEvery: 100 * time.Millisecond, CommitBytes: 16 << 10, Log: log,
		Readers: func(int) []string { return []string{"nobody"} }, // every commit stays, for the test to look at
		Load:    func(context.Context, pipeline.Controls) (*pipeline.Chain, error) { return visitChain(), nil },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	relay, err := pipeline.NewRelay(js, log)
	if err != nil {
		r.t.Fatal(err)
	}
	wakes := wakeups.NewForwarder(js, time.Now, log)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	raw, due, records, commits := normalizing.Subscriber(), wakes.Subscriber(), customers.Subscriber(), relay.Subscriber()
	publisher := bus.NewPublisher(js)
	for p := range clusterPartitions {
		n := strconv.Itoa(p)
		router.AddHandler("normalize-"+n, topology.Subject(topology.Raw, p), raw, "", publisher, normalizing.Handle)
		router.AddHandler("wake-"+n, topology.DueSubject(p), due, "", publisher, wakes.Handle)
		router.AddConsumerHandler("customer-"+n, topology.Subject(topology.Events, p), records, customers.Handle)
		router.AddHandler("relay-"+n, topology.Subject(topology.Commits, p), commits, "", publisher, relay.Handle)
	}
	reader, err := pipeline.NewSinkReader(pipeline.SinkConfig{JetStream: js, Name: "sink", Sink: &r.sink, Interval: 50 * time.Millisecond, Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { reader.Run(ctx) })
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			r.t.Error(err)
		}
		cancel()
		work.Wait()
	}
}

// testWriter puts log lines into the test's own log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// send appends calls of all people again and again until stop is closed, each until it is acknowledged, as an
// honest client does, and returns how many there were.
func (r *clusterRig) send(stop <-chan struct{}) (calls int) {
	raw, err := pipeline.NewRawLog(r.t.Context(), r.connect(), 1)
	if err != nil {
		r.t.Error(err)
		return 0
	}
	defer raw.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var batch []event.Raw
		for range 10 {
			person := fmt.Sprintf("u%d", calls%clusterPeople)
			batch = append(batch, event.Raw{Key: person, Accepted: time.Now(), Payload: fmt.Appendf(nil,
				`{"type":"track","event":"view","messageId":"m%d","userId":"%s","properties":{"n":%d}}`, calls, person, calls)})
			calls++
		}
		for raw.Append(r.t.Context(), batch) != nil && r.t.Context().Err() == nil {
			<-tick.C
		}
		select {
		case <-stop:
			return calls
		case <-tick.C:
		}
	}
}

// info is what a stream's leader says.
func (r *clusterRig) info(stream string) *jetstream.StreamInfo {
	s, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}

// position is how far the partitions of the log are applied, all together.
func (r *clusterRig) position() (sum uint64) {
	s, err := r.js.Stream(r.t.Context(), topology.Commits)
	if err != nil {
		return 0
	}
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for p := range clusterPartitions {
		m, err := s.GetLastMsgForSubject(r.t.Context(), topology.Subject(topology.Commits, p))
		if err != nil {
			continue
		}
		if commit, err := codec.Decode(m.Data); err == nil {
			sum += commit.Position
		}
	}
	return sum
}

// stored reads a whole stream. Every replica must be current: any of them may answer.
func (r *clusterRig) stored(stream string) (all []*nats.Msg) {
	r.t.Helper()
	eventually(r.t, "stream "+stream+" is read", func() bool { // a consumer may be made before anyone serves it
		var err error
		if all, err = r.read(stream); err != nil && !errors.Is(err, bus.ErrConsumerGone) {
			r.t.Fatal(err)
		}
		return err == nil
	})
	return all
}

func (r *clusterRig) read(stream string) (all []*nats.Msg, err error) {
	last := r.info(stream).State.LastSeq
	consumer, err := r.js.CreateConsumer(r.t.Context(), stream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
	if err != nil {
		return nil, err
	}
	puller, err := bus.NewPuller(r.js.Conn(), stream, consumer.CachedInfo().Name, 500)
	if err != nil {
		return nil, err
	}
	defer puller.Close()
	for sequence := uint64(0); sequence < last; {
		batch, err := puller.Next(r.t.Context(), 500)
		if err != nil {
			return nil, err
		}
		for _, d := range batch {
			m := &nats.Msg{Subject: d.Subject, Data: d.Data, Header: nats.Header{}}
			m.Header.Set("sequence", strconv.FormatUint(d.Sequence, 10))
			all = append(all, m)
			sequence = d.Sequence
		}
	}
	return all, nil
}

func sequenceOf(m *nats.Msg) uint64 {
	n, _ := strconv.ParseUint(m.Header.Get("sequence"), 10, 64)
	return n
}

// oracle runs the log's records up to the given positions one after another, each once, in one goroutine, without commits,
// caches or claims. A wake-up that comes again changes nothing, and may be there unread when the work is stopped.
type oracle struct {
	facts    map[string]pipeline.Facts // by subject of the log
	profiles map[string]*profile.Profile
}

func (r *clusterRig) oracle(upTo map[string]uint64) oracle {
	r.t.Helper()
	o := oracle{facts: map[string]pipeline.Facts{}, profiles: map[string]*profile.Profile{}}
	ordinals := map[string]uint64{}
	for _, m := range r.stored(topology.Events) {
		e, err := event.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		partition := strings.TrimPrefix(m.Subject, topology.Events+".")
		if sequenceOf(m) > upTo[partition] {
			continue
		}
		source := m.Subject + " " + e.Source.Name
		if e.Source.Ordinal <= ordinals[source] || e.Source.After > ordinals[source] {
			continue
		}
		ordinals[source] = e.Source.Ordinal
		if o.profiles[e.Profile] == nil {
			o.profiles[e.Profile] = profile.New(e.Profile)
		}
		result, err := visitChain().Apply(o.profiles[e.Profile], &e, sequenceOf(m))
		if err != nil {
			r.t.Fatal(err)
		}
		facts := o.facts[partition]
		facts.Events = append(facts.Events, result.Facts.Events...)
		facts.Changes = append(facts.Changes, result.Facts.Changes...)
		facts.Decisions = append(facts.Decisions, result.Facts.Decisions...)
		o.facts[partition] = facts
	}
	return o
}

// committed reads the commits: their facts and how far they go, by partition, checked against the running hash.
func (r *clusterRig) committed() (facts map[string]pipeline.Facts, upTo map[string]uint64, epochs uint64) {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	facts, upTo = map[string]pipeline.Facts{}, map[string]uint64{}
	hashes := map[string][]byte{}
	last := map[string]uint64{}
	for _, m := range r.stored(topology.Commits) {
		commit, err := codec.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		some, err := codec.Facts(commit)
		if err != nil {
			r.t.Fatal(err)
		}
		partition := strings.TrimPrefix(m.Subject, topology.Commits+".")
		all := facts[partition]
		all.Events = append(all.Events, some.Events...)
		all.Changes = append(all.Changes, some.Changes...)
		all.Decisions = append(all.Decisions, some.Decisions...)
		facts[partition] = all
		hash := pipeline.NewRunningHash(hashes[partition])
		for record, err := range pipeline.Records(commit.Facts) {
			if err != nil {
				r.t.Fatal(err)
			}
			hash.Add(record.Position, record.Data)
		}
		hashes[partition] = hash.Sum()
		if string(hashes[partition]) != string(commit.Hash) {
			r.t.Errorf("commit %d: the running hash is broken", sequenceOf(m))
		}
		last[partition], upTo[partition] = commit.Epoch, commit.Position
	}
	for _, epoch := range last {
		epochs += epoch
	}
	return facts, upTo, epochs
}

func (r *clusterRig) folded() map[string]*profile.Profile {
	r.t.Helper()
	all := map[string]*profile.Profile{}
	for _, m := range r.stored("KV_" + topology.Profiles) {
		if len(m.Data) == 0 {
			continue // a deletion's marker
		}
		p, err := profile.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		all[p.ID] = p
	}
	return all
}

// A node of the cluster that leads what the customer chain works on is killed with -9 under load and comes back.
// Everything is kept three times, so nothing is lost, and nothing is doubled by who takes over.
func TestClusterLosesANodeUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers for half a minute")
	}
	r := newClusterRig(t)
	stop := r.work()
	enough := make(chan struct{})
	sent := make(chan int, 1)
	go func() { sent <- r.send(enough) }()
	eventually(t, "events flow", func() bool { return r.position() > 1000 })
	node := r.cluster.Node(r.info(topology.Commits).Cluster.Leader)
	began := time.Now()
	r.cluster.Kill(node)
	var at uint64
	eventually(t, "another node leads the commits", func() bool {
		info := r.info(topology.Commits)
		at = r.position()
		return info != nil && info.Cluster.Leader != "" && r.cluster.Node(info.Cluster.Leader) != node
	})
	eventually(t, "events flow without the node", func() bool { return r.position() > at+1000 })
	t.Logf("a node was killed, and 1000 records later %s had passed", time.Since(began))
	r.cluster.Start(node)
	at = r.position()
	eventually(t, "events flow while the node catches up", func() bool { return r.position() > at+500 })
	close(enough)
	calls := <-sent
	eventually(t, "every call is decided, and every mail ordered", func() bool {
		outbox := r.info(topology.Outbox)
		return outbox != nil && outbox.State.Msgs >= uint64(calls)
	})
	eventually(t, "every replica is current", func() bool {
		for _, stream := range []string{topology.Events, topology.Commits, topology.Outbox, "KV_" + topology.Profiles} {
			info := r.info(stream)
			if info == nil || len(info.Cluster.Replicas) != 2 || slices.ContainsFunc(info.Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current || p.Lag > 0 }) {
				return false
			}
		}
		return true
	})
	eventually(t, "the sink has every commit", func() bool {
		commits := r.sink.commits()
		return len(commits) > 0 && uint64(len(commits)) == r.info(topology.Commits).State.LastSeq
	})
	stop()
	r.verify(calls)
}

func (r *clusterRig) verify(calls int) {
	r.t.Helper()
	got, upTo, epochs := r.committed()
	want := r.oracle(upTo)
	if diff := cmp.Diff(want.facts, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("facts: %.3000s", diff)
	}
	if diff := cmp.Diff(want.profiles, r.folded(), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("profiles: %.3000s", diff)
	}
	events, decisions, sinked := map[string]int{}, map[string]int{}, map[string]int{}
	order := map[string]int{} // the last call of each person
	for _, facts := range got {
		for _, e := range facts.Events {
			events[e.Event.ID]++
			n, _ := strconv.Atoi(strings.TrimPrefix(e.Event.ID, "m"))
			if before, seen := order[e.Event.Profile]; seen && n <= before {
				r.t.Errorf("call %d of %s comes after %d", n, e.Event.Profile, before)
			}
			order[e.Event.Profile] = n
		}
		for _, d := range facts.Decisions {
			decisions[d.ID]++
		}
	}
	for _, b := range r.sink.batches {
		for _, part := range b.Parts {
			for _, e := range part.Facts.Events {
				sinked[e.Event.ID]++
			}
		}
	}
	for name, all := range map[string]map[string]int{"events": events, "decisions": decisions, "events in the sink": sinked} {
		if len(all) != calls {
			r.t.Errorf("%d %s for %d calls", len(all), name, calls)
		}
		for id, n := range all {
			if n != 1 {
				r.t.Errorf("%s: %s is there %d times", name, id, n)
			}
		}
	}
	for _, wrong := range r.sink.wrong {
		r.t.Error(wrong)
	}
	if n := r.info(topology.Outbox).State.Msgs; n != uint64(calls) {
		r.t.Errorf("%d mails were ordered for %d calls", n, calls)
	}
	if len(order) != clusterPeople {
		r.t.Errorf("%d profiles for %d people", len(order), clusterPeople)
	}
	r.t.Logf("%d calls, %d claims of %d partitions", calls, epochs, clusterPartitions)
}
