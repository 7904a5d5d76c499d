package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// halfway publishes the first half of what a commit led to, and dies.
type halfway struct {
	*bus.Publisher
	f *fate
}

func (p halfway) Publish(topic string, messages ...*message.Message) error {
	if err := p.Publisher.Publish(topic, messages[:len(messages)/2]...); err != nil {
		return err
	}
	if len(messages) > 1 {
		if err := p.f.strike(halfSent); err != nil {
			return err
		}
	}
	return p.Publisher.Publish(topic, messages[len(messages)/2:]...)
}

// halfSent is between two outputs of one commit, where the Router and not the relay is at work.
const halfSent = pipeline.Points

// relayOf runs a relay that has its fate.
func (w *world) relayOf(f *fate, wrap func(bus.Session) bus.Session) (stop func()) {
	w.t.Helper()
	relay, err := pipeline.NewRelay(f.js, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	relay.FailAt(f.strike)
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		w.t.Fatal(err)
	}
	router.AddHandler("relay", topology.Subject(topology.Commits, w.number), relay.SubscriberThrough(wrap), "", halfway{bus.NewPublisher(f.js), f},
		func(m *message.Message) ([]*message.Message, error) {
			unwrap(m)
			return relay.Handle(m)
		})
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) relayed() bool {
	relay, err := w.js.Consumer(w.t.Context(), topology.Commits, topology.Durable(pipeline.ReaderRelay, w.number))
	return err == nil && relay.CachedInfo().AckFloor.Stream >= w.witness.last().sequence
}

// committed lets a worker go through a log while no relay is there.
func (w *world) committed() {
	w.t.Helper()
	w.stopRelay()
	w.events(30)
	w.oddities()
	w.events(10)
	stop := w.customer(nil)
	w.reach(w.end)
	stop()
	last := w.lastSequence()
	eventually(w.t, "the witness has seen all", func() bool { return w.witness.last().sequence >= last })
}

// A relay dies at every point, in every way; the next one publishes what it left, and nothing twice.
func TestRelayDiesAtEveryPoint(t *testing.T) {
	t.Parallel()
	r := newRig(t, 64)
	number := 0
	points := []pipeline.Point{halfSent}
	for at := pipeline.OutputsSent; at < pipeline.RangeCollected; at++ {
		points = append(points, at)
	}
	for _, at := range points {
		for how := range deaths {
			mine, name := number, "half sent"
			number++
			if at != halfSent {
				name = at.String()
			}
			t.Run(fmt.Sprintf("%s/%s", name, how), func(t *testing.T) {
				t.Parallel()
				w := r.world(t, mine)
				w.committed()
				f := w.fate(at, 1, how, nil)
				stop := w.relayOf(f, asItIs)
				t.Cleanup(func() { f.goOn(); stop() })
				eventually(t, "the relay dies", f.happened)
				if how == stumbled {
					eventually(t, "it goes on", w.relayed)
				}
				if how != stopped && how != slept {
					stop()
				}
				w.stopRelay = w.relay()
				if how == stopped {
					f.goOn()
					stop() // or the two would take the commits from each other
				}
				eventually(t, "the next one is through", w.relayed)
				f.goOn()
				stop()
				for _, difference := range w.settle() {
					// What slept may publish an older wake-up over a newer one of the same profile: it is a hint, and re-arms.
					if late := how == stopped || how == slept; !late || !strings.HasPrefix(difference, "armed wake-up") {
						t.Error(difference)
					}
				}
			})
		}
	}
}

// Outputs that the broker refuses are not lost; a relay that acknowledges before they are confirmed loses them.
func TestRelayKeepsWhatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	for number, name := range []string{"all parts", "acknowledged before the outputs are confirmed"} {
		t.Run(name, func(t *testing.T) { // one after another: they share the stream that refuses
			w := r.world(t, number)
			w.committed()
			r.limitDeadLetters(t, 1)
			f := w.fate(0, 0, cut, nil)
			refused := make(chan struct{})
			refuse := sync.OnceFunc(func() { close(refused) })
			stop := w.relayOf(f, func(s bus.Session) bus.Session {
				return around{Session: s, commit: func(ctx context.Context, last uint64, ack func() error) error {
					if number == 1 {
						if err := ack(); err != nil {
							return err
						}
						ack = func() error { return nil }
					}
					err := s.Commit(ctx, last, ack)
					if err != nil {
						refuse()
					}
					return err
				}}
			})
			<-refused
			stop()
			r.limitDeadLetters(t, -1)
			w.stopRelay = w.relay()
			differences := w.settle()
			if whole := number == 0; whole != (len(differences) == 0) {
				t.Errorf("%d differences: %v", len(differences), differences)
			}
		})
	}
}

// limitDeadLetters lets the stream take so many messages in all.
func (r *rig) limitDeadLetters(t *testing.T, most int64) {
	t.Helper()
	stream, err := r.js.Stream(t.Context(), topology.DeadLetter)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgs, config.Discard = most, jetstream.DiscardNew
	if _, err := r.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}
