package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/profile"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/normalize"
)

const mergingPartitions = 3

func accountChain(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
	return &pipeline.Chain{Stages: []pipeline.Stage{account{}}}, nil
}

// whole runs normalizing, the customer chain and the relay over all partitions, as one process that has its fate.
func (r *rig) whole(f *fate) (stop func()) {
	r.t.Helper()
	log := slog.New(slog.DiscardHandler)
	hash, err := vault.OpenHasher(r.t.Context(), r.js)
	if err != nil {
		r.t.Fatal(err)
	}
	normalizing, err := normalize.New(r.t.Context(), normalize.Config{JetStream: f.js, Partitions: mergingPartitions, Hash: hash, Log: log})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(normalizing.Close)
	load := accountChain
	if r.load != nil {
		load = r.load
	}
	config := pipeline.CustomerConfig{
		JetStream: f.js, CachedProfiles: 5, FoldEvery: 5 * time.Millisecond, CommitBytes: 4 << 10, Log: log, Load: load,
		Readers: func(int) []string { return []string{"nobody"} }, // every commit stays, for the test to look at
	}
	config.FailAt(f.strike)
	customers, err := pipeline.NewCustomer(config)
	if err != nil {
		r.t.Fatal(err)
	}
	relay, err := pipeline.NewRelay(f.js, log)
	if err != nil {
		r.t.Fatal(err)
	}
	relay.FailAt(f.strike)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	raw, records, commits := normalizing.Subscriber(), customers.Subscriber(), relay.Subscriber()
	publisher := bus.NewPublisher(f.js)
	for p := range mergingPartitions {
		n := strconv.Itoa(p)
		router.AddHandler("normalize-"+n, topology.Subject(topology.Raw, p), raw, "", publisher, normalizing.Handle)
		router.AddConsumerHandler("customer-"+n, topology.Subject(topology.Events, p), records, customers.Handle)
		router.AddHandler("relay-"+n, topology.Subject(topology.Commits, p), commits, "", publisher, relay.Handle)
	}
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			r.t.Error(err)
		}
	})
}

// quiet tells whether nothing is under way any more.
func (r *rig) quiet() bool {
	before := r.ends()
	for _, c := range []struct{ stream, reader string }{
		{topology.Raw, pipeline.ReaderNormalize}, {topology.Events, pipeline.ReaderCustomer}, {topology.Commits, pipeline.ReaderRelay},
	} {
		for p := range mergingPartitions {
			last := before[topology.Subject(c.stream, p)]
			if last == 0 {
				continue
			}
			consumer, err := r.js.Consumer(r.t.Context(), c.stream, topology.Durable(c.reader, p))
			if err != nil || consumer.CachedInfo().AckFloor.Stream < last {
				return false
			}
		}
	}
	return maps.Equal(before, r.ends()) // what was read last may have led to more
}

// ends are the last sequences by subject.
func (r *rig) ends() map[string]uint64 {
	r.t.Helper()
	ends := map[string]uint64{}
	for _, name := range []string{topology.Raw, topology.Events, topology.Commits} {
		stream, err := r.js.Stream(r.t.Context(), name)
		if err != nil {
			r.t.Fatal(err)
		}
		for p := range mergingPartitions {
			last, err := stream.GetLastMsgForSubject(r.t.Context(), topology.Subject(name, p))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				r.t.Fatal(err)
			}
			ends[last.Subject] = last.Sequence
		}
	}
	return ends
}

// household is a person with their devices, and a second account.
type household struct {
	user    string
	devices int
	views   uint64
}

func (h *household) device(n int) string { return fmt.Sprintf("%s-d%d", h.user, n) }

// A process that does everything dies at every point, while visitors turn out to be customers, customers to be others, and
// devices change hands: every person ends as one profile that has each of their events once, and a replay of the logs
// says the same.
func TestMergingSurvivesDeathAtEveryPoint(t *testing.T) { // not beside the others: it waits for whole lives of a process
	r := newRig(t, mergingPartitions)
	chance := rand.New(rand.NewPCG(5, 8))
	var people []*household
	for i := range 12 {
		people = append(people, &household{user: fmt.Sprint("u", i), devices: 4})
	}
	calls := 0
	call := func(kind string, fields map[string]any) {
		calls++
		fields["type"], fields["messageId"] = kind, fmt.Sprint("m", calls)
		data, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Raw, chance.IntN(mergingPartitions)), data); err != nil {
			t.Fatal(err)
		}
	}
	happen := func() {
		h := people[chance.IntN(len(people))]
		device := h.device(chance.IntN(h.devices))
		switch dice := chance.IntN(20); {
		case dice < 12:
			h.views++
			call("track", map[string]any{"event": "view", "anonymousId": device})
		case dice < 15:
			h.views++
			call("track", map[string]any{"event": "view", "userId": h.user})
		case dice < 17:
			h.views++
			call("track", map[string]any{"event": "view", "userId": h.user + "-second"})
		case dice < 18: // parked, and ties all the same
			call("track", map[string]any{"event": "panic", "userId": h.user, "anonymousId": device})
		case dice < 19:
			call("alias", map[string]any{"userId": h.user, "previousId": h.user + "-second"})
		default:
			call("identify", map[string]any{"userId": h.user, "anonymousId": device})
		}
	}
	deaths := 0
	for at := range pipeline.RangeCollected {
		for _, how := range []death{cut, closed} {
			for range 8 {
				happen()
			}
			f := r.fate(at, 1+chance.IntN(3), how, nil)
			stop := r.whole(f)
			for range 8 {
				happen()
			}
			eventually(t, "the process dies or is through", func() bool { return f.happened() || r.quiet() })
			if !f.spare() {
				deaths++
			}
			stop()
		}
	}
	for _, h := range people { // whatever was left open
		for n := range h.devices {
			call("identify", map[string]any{"userId": h.user, "anonymousId": h.device(n)})
		}
		call("track", map[string]any{"event": "other", "userId": h.user + "-second"})
		call("alias", map[string]any{"userId": h.user, "previousId": h.user + "-second"})
	}
	stop := r.whole(r.fate(0, 0, cut, nil))
	eventually(t, "everything comes to its end", r.quiet)
	stop()
	t.Logf("%d deaths, %d calls", deaths, calls)
	if deaths < int(pipeline.RangeCollected) {
		t.Errorf("%d deaths: the test shows little", deaths)
	}
	r.compareHouseholds(people)
	r.compareReplay()
}

func (r *rig) compareHouseholds(people []*household) {
	profiles := r.profiles()
	tombstones := 0
	for id, p := range profiles {
		if p.Into != "" {
			tombstones++
			if p.Orders.Count > 0 || p.Count("view") > 0 {
				r.t.Errorf("%s goes on in %s and keeps %d views", id, p.Into, p.Count("view"))
			}
		}
	}
	stated := map[string]int{}
	of := map[string]map[string]bool{} // profiles by user
	for _, facts := range r.facts() {
		for _, e := range facts.Events {
			stated[e.Event.ID]++
			if user := strings.TrimSuffix(e.Event.User, "-second"); user != "" {
				id := e.Event.Profile
				for profiles[id] != nil && profiles[id].Into != "" {
					id = profiles[id].Into
				}
				if of[user] == nil {
					of[user] = map[string]bool{}
				}
				of[user][id] = true
			}
		}
	}
	for id, times := range stated {
		if times != 1 {
			r.t.Errorf("event %s is stated %d times", id, times)
		}
	}
	for _, h := range people {
		if len(of[h.user]) != 1 {
			r.t.Errorf("%s is %d profiles at the end", h.user, len(of[h.user]))
		}
		for id := range of[h.user] {
			p := profiles[id]
			if p.Count("view") != h.views || p.Orders.Count != h.views+p.Count("other") || len(p.Awaits) > 0 {
				r.t.Errorf("%s has %d views and %d orders, want %d and %d; awaits %v", h.user, p.Count("view"), p.Orders.Count, h.views, h.views+p.Count("other"), p.Awaits)
			}
		}
	}
	r.t.Logf("%d profiles, of which %d went on in another one", len(profiles), tombstones)
}

func (r *rig) compareReplay() {
	replayer, err := replay.New(replay.Config{JetStream: r.js, Load: accountChain, Verify: true})
	if err != nil {
		r.t.Fatal(err)
	}
	profiles := r.profiles()
	for number := range mergingPartitions {
		report, state, err := replayer.Partition(r.t.Context(), number, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if !report.Equal() || report.Unknown > 0 || report.Missing > 0 || report.Facts == 0 {
			r.t.Errorf("replay of partition %d: %+v, first %+v", number, report, report.First)
		}
		for id, encoded := range state.Profiles {
			if stored := profiles[id]; stored == nil || !bytes.Equal(profile.Encode(stored), encoded) {
				r.t.Errorf("partition %d: the replay has another %s", number, id)
			}
		}
	}
}
