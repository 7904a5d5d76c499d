package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// witness is a reader of the commits: none is purged before it has seen it.
type witness struct {
	name string
	mu   sync.Mutex
	seen []storedCommit
}

func (r *rig) witness() *witness {
	r.t.Helper()
	w := &witness{name: topology.Durable("witness", r.number)}
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(r.t.Context()))
	look := func() error {
		puller, err := bus.OpenConsumer(ctx, r.js, bus.Consumer{
			Stream: topology.Commits, Subject: topology.Subject(topology.Commits, r.number), Durable: w.name, From: w.last().sequence + 1, Batch: 64,
		})
		if err != nil {
			return err
		}
		defer puller.Close()
		for {
			batch, err := puller.Next(ctx, 64)
			if err != nil {
				return err
			}
			if err := w.take(codec, batch); err != nil {
				return err
			}
			if err := puller.Ack(batch[len(batch)-1]); err != nil {
				return err
			}
		}
	}
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			if err := look(); ctx.Err() == nil {
				r.t.Logf("the witness looks again: %v", err) // a busy machine
			}
		}
	})
	r.t.Cleanup(func() { stop(); work.Wait() })
	return w
}

func (w *witness) take(codec *pipeline.CommitCodec, batch []bus.Delivery) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range batch {
		commit, err := codec.Decode(d.Data)
		if err != nil {
			return err
		}
		w.seen = append(w.seen, storedCommit{commit, d.Sequence})
	}
	return nil
}

func (w *witness) commits() []storedCommit {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// last is the sequence of the newest commit seen.
func (w *witness) last() storedCommit {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return storedCommit{Commit: &pipeline.Commit{}}
	}
	return w.seen[len(w.seen)-1]
}

// world is one partition of a server that several share, its log, and who watches it.
type world struct {
	*rig
	witness     *witness
	destination string
	ordinal     uint64
	odd         uint64 // how often oddities were appended
	end         uint64 // position of the last record
	people      map[string]bool
	stopRelay   func()
	config      func(*pipeline.CustomerConfig)
	mutate      func(jetstream.JetStream) jetstream.JetStream // another protocol
}

// base is an instant in the future: what a test arms never fires.
const base = event.Instant(4_000_000_000_000)

func (r *rig) world(t *testing.T, number int) *world {
	one := *r
	one.t, one.number = t, number
	w := &world{rig: &one, destination: fmt.Sprint("mail-", number), people: map[string]bool{}}
	w.witness = w.rig.witness()
	w.stopRelay = w.relay()
	t.Cleanup(func() { w.stopRelay() })
	return w
}

func (w *world) chain(version uint64) *pipeline.Chain {
	return &pipeline.Chain{
		Stages:  []pipeline.Stage{tally{}, alarm{name: "soon", after: 7 * time.Second, times: 1}, courier{w.destination}},
		Version: version, Definitions: fmt.Sprint("v", version),
	}
}

func (w *world) readers(int) []string {
	return []string{w.witness.name, topology.Durable(pipeline.ReaderRelay, w.number)}
}

func (w *world) put(data []byte) {
	w.t.Helper()
	ack, err := w.js.Publish(w.t.Context(), topology.Subject(topology.Events, w.number), data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.end = ack.Sequence
}

func (w *world) record(e event.Event) {
	w.t.Helper()
	if e.Type != event.Control {
		w.people[e.Profile] = true
	}
	data, err := e.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(data)
}

// event appends the next event of one customer or another.
func (w *world) event(name string) event.Event {
	w.t.Helper()
	return w.eventOf(fmt.Sprintf("p%d-%d", w.number, (w.ordinal+1)*7%12), name)
}

func (w *world) eventOf(profile, name string) event.Event {
	w.t.Helper()
	w.ordinal++
	e := event.Event{
		ID: fmt.Sprint("e", w.ordinal), Type: event.Track, Name: name, Profile: profile,
		Occurred: base + event.Instant(1000*w.ordinal), Accepted: base + event.Instant(1000*w.ordinal),
		Source: event.Source{Name: "test", Ordinal: w.ordinal, After: w.ordinal - 1},
	}
	w.record(e)
	return e
}

// events appends some, with repeats between them: the last is news, so the commits get there.
func (w *world) events(count int) {
	w.t.Helper()
	var last event.Event
	for i := range count {
		if i%5 == 1 {
			w.record(last)
		}
		last = w.event("view")
	}
}

// oddities appends a record of every other kind: overtaking, undecodable, of no source, failing, a wake-up's, and
// a control record between events.
func (w *world) oddities() {
	w.t.Helper()
	w.odd++
	ahead := event.Event{ID: "ahead", Type: event.Track, Name: "view", Profile: fmt.Sprintf("p%d-1", w.number), Accepted: base,
		Source: event.Source{Name: "test", Ordinal: w.ordinal + 9, After: w.ordinal + 8}}
	w.record(ahead)
	w.put([]byte("{"))
	ahead.Source = event.Source{}
	w.record(ahead)
	w.event("view")
	w.event("panic")
	w.events(3)
	w.record(event.Event{ID: "wake", Type: event.Wake, Profile: fmt.Sprintf("p%d-2", w.number), Accepted: base + event.Instant(1000*w.ordinal),
		Source: event.Source{Name: "wake", Ordinal: w.odd}})
	w.record(event.Event{ID: "control", Type: event.Control, Control: &event.ControlRecord{Kind: pipeline.KindDefinitions, Version: w.odd, Hash: "h"},
		Source: event.Source{Name: "control", Ordinal: w.odd}})
}

// settle appends a last event, lets a worker end in peace after it, waits for all readers and compares. It
// returns the differences.
func (w *world) settle() []string {
	w.t.Helper()
	w.event("last")
	stop := w.customer(nil)
	w.reach(w.end)
	stop()
	w.settled()
	ids := make([]string, 0, len(w.people))
	for id := range w.people {
		ids = append(ids, id)
	}
	found := w.found(w.witness, w.destination, ids)
	differences := w.expected(w.chain).diff(found)
	if len(differences) > 0 {
		for _, c := range w.witness.commits() {
			var ids []string
			for _, p := range c.Profiles {
				ids = append(ids, p.ID)
			}
			w.t.Logf("commit %d: epoch %d, position %d, mark %d, folded %d, profiles %v", c.sequence, c.Epoch, c.Position, c.Mark, c.Folded, ids)
		}
	}
	return differences
}

// settled waits until all readers have passed the commits.
func (w *world) settled() {
	w.t.Helper()
	last := w.lastSequence()
	eventually(w.t, "the witness and the relay are through", func() bool {
		relay, err := w.js.Consumer(w.t.Context(), topology.Commits, topology.Durable(pipeline.ReaderRelay, w.number))
		return err == nil && relay.CachedInfo().AckFloor.Stream >= last && w.witness.last().sequence >= last
	})
}

func (w *world) lastSequence() uint64 {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), topology.Commits)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(w.t.Context(), topology.Subject(topology.Commits, w.number))
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Sequence
}

// reach waits for a position in the commits.
func (w *world) reach(position uint64) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("partition %d is at %d", w.number, position), func() bool { return w.witness.last().Position >= position })
}

// customer runs the chain on this partition.
func (w *world) customer(edit func(*pipeline.CustomerConfig)) (stop func()) {
	w.t.Helper()
	stop, _ = w.worker(func(c *pipeline.CustomerConfig) {
		c.CommitBytes, c.FoldEvery, c.Readers = 1500, time.Millisecond, w.readers
		c.Log = slog.New(slog.NewTextHandler(w.t.Output(), nil))
		c.Load = func(_ context.Context, inForce pipeline.Controls) (*pipeline.Chain, error) {
			return w.chain(inForce[pipeline.KindDefinitions].Version), nil
		}
		if w.config != nil {
			w.config(c)
		}
		c.JetStream = w.through(c.JetStream)
		if edit != nil {
			edit(c)
		}
	})
	return stop
}

// through is the broker as the workers of this world see it.
func (w *world) through(js jetstream.JetStream) jetstream.JetStream {
	if w.mutate == nil {
		return js
	}
	return w.mutate(js)
}
