package pipeline_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// around is a session with something put around it.
type around struct {
	bus.Session
	begin  func(inner bus.Session)
	start  func() uint64
	commit func(ctx context.Context, last uint64, ack func() error) error
}

func (a around) Begin(ctx context.Context, batch []bus.Delivery) ([]any, error) {
	if a.begin != nil {
		a.begin(a.Session)
	}
	return a.Session.Begin(ctx, batch)
}

func (a around) Start() uint64 {
	if a.start != nil {
		return a.start()
	}
	return a.Session.Start()
}

func (a around) Commit(ctx context.Context, last uint64, ack func() error) error {
	if a.commit != nil {
		return a.commit(ctx, last, ack)
	}
	return a.Session.Commit(ctx, last, ack)
}

// unwrap gives a handler the session that it knows.
func unwrap(m *message.Message) {
	h := bus.From(m.Context())
	if a, ok := h.Session.(around); ok {
		h.Session = a.Session
	}
}

// around runs the workers of this world with something around their sessions and before their handler.
func (w *world) around(wrap func(bus.Session) bus.Session, before func(*message.Message)) {
	w.serve = func(c *pipeline.Customer) (*bus.Subscriber, message.NoPublishHandlerFunc) {
		return c.SubscriberThrough(wrap), func(m *message.Message) error {
			unwrap(m)
			if before != nil {
				before(m)
			}
			return c.Handle(m)
		}
	}
}

func asItIs(s bus.Session) bus.Session { return s }

// meddler is the broker with other consumers than those that were asked for.
type meddler struct {
	jetstream.JetStream
	change func(ctx context.Context, js jetstream.JetStream, stream string, c *jetstream.ConsumerConfig) error
}

func (m meddler) CreateConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if err := m.change(ctx, m.JetStream, stream, &c); err != nil {
		return nil, err
	}
	return m.JetStream.CreateConsumer(ctx, stream, c)
}

// noFence takes the compare-and-set off the commits, on their way to the broker: the header gets another name of the
// same length.
func noFence(sent []byte) []byte {
	changed := bytes.Clone(sent)
	for rest := changed; ; {
		at := bytes.Index(rest, []byte("HPUB "+topology.Commits+"."))
		if at < 0 {
			return changed
		}
		rest = rest[at+5:]
		if h := bytes.Index(rest, []byte(jetstream.ExpectedLastSubjSeqHeader)); h >= 0 {
			rest[h] = 'X'
		}
	}
}

// The protocol without one of its parts: the comparison with the oracle must see it, or the tests of the whole
// protocol would show nothing.
func TestCustomerWithoutAPartOfTheProtocol(t *testing.T) {
	t.Parallel()
	const tries = 3 // a busy machine may let a mutation pass once
	r := newRig(t, 32)
	for number, c := range []struct {
		name string
		at   pipeline.Point
		how  death
		wire func([]byte) []byte
		edit func(*world)
	}{
		{name: "all parts", at: pipeline.CommitEncoded, how: slept, wire: bytes.Clone, edit: func(w *world) { w.around(asItIs, nil) }},
		{name: "commits without compare-and-set", at: pipeline.CommitEncoded, how: slept, wire: noFence},
		{name: "a mark ahead of the folds", at: pipeline.CommitEncoded, how: cut, edit: func(w *world) {
			w.mutate = func(js jetstream.JetStream) jetstream.JetStream {
				return meddler{js, func(_ context.Context, _ jetstream.JetStream, stream string, c *jetstream.ConsumerConfig) error {
					if stream == topology.Commits && c.Durable == "" { // the tail begins at the claim
						c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverLastPolicy, 0
					}
					return nil
				}}
			}
		}},
		{name: "eviction before the fold", at: pipeline.CommitEncoded, how: cut, edit: func(w *world) {
			w.config = func(c *pipeline.CustomerConfig) { c.FoldEvery, c.CachedProfiles = time.Hour, 1000 }
			w.around(func(s bus.Session) bus.Session { return around{Session: s, begin: pipeline.Evict} }, nil)
		}},
		{name: "input acknowledged before its commit is stored", at: pipeline.CommitEncoded, how: closed, edit: func(w *world) {
			w.around(func(s bus.Session) bus.Session {
				return around{Session: s, start: func() uint64 { return 0 }, commit: func(ctx context.Context, last uint64, ack func() error) error {
					if err := ack(); err != nil {
						return err
					}
					return s.Commit(ctx, last, func() error { return nil })
				}}
			}, nil)
		}},
		{name: "no look at the sources", at: pipeline.CommitEncoded, how: cut, edit: func(w *world) { w.around(asItIs, pipeline.AsNews) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			whole := number == 0
			var differences []string
			for try := 0; try < tries && len(differences) == 0 && (try == 0 || !whole); try++ {
				w := r.world(t, number+10*try)
				if c.edit != nil {
					c.edit(w)
				}
				differences = w.ordeal(w.fate(c.at, 1, c.how, c.wire))
			}
			if whole != (len(differences) == 0) {
				t.Errorf("%d differences: %v", len(differences), differences)
			}
			for _, difference := range differences {
				t.Logf("%.100s", difference)
			}
		})
	}
}
