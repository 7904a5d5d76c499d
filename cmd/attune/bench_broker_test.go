package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

// benchJetStream is a server of its own, in this process, with a connection that needs no socket.
func benchJetStream(tb testing.TB) jetstream.JetStream { return connected(tb, enginetest.NATS(tb)) }

// connected is a connection of its own to a server.
func connected(tb testing.TB, server *embedded.NATS) jetstream.JetStream {
	conn, err := server.Connect(connectOptions()...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(conn.Close)
	js, err := newJetStream(conn)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// freshStream makes a stream <name>.* anew.
func freshStream(tb testing.TB, js jetstream.JetStream, name string) {
	_ = js.DeleteStream(tb.Context(), name) // it may not be there
	if _, err := js.CreateStream(tb.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"}}); err != nil {
		tb.Fatal(err)
	}
}

// gate holds a router's handlers at the first message of each partition, so that a feed can be filled, and the
// clock started, before any of it is worked on.
type gate struct {
	mu   sync.RWMutex
	held atomic.Int64
}

// close must be called while the handlers are idle.
func (g *gate) close() { g.mu.Lock() }
func (g *gate) open()  { g.mu.Unlock() }

func (g *gate) through(handle message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		if !g.mu.TryRLock() {
			g.held.Add(1)
			g.mu.RLock()
			g.held.Add(-1)
		}
		g.mu.RUnlock()
		return handle(m)
	}
}

// ready waits until a handler stands at the gate for each partition that has a record in the span.
func (g *gate) ready(ctx context.Context, s span) error {
	want := 0
	for _, n := range s.counts {
		want += min(n, 1)
	}
	for g.held.Load() < int64(want) {
		if err := ctx.Err(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// startRouter runs handlers on the Router as the product wires it, until the test ends or stop is called.
func startRouter(tb testing.TB, js jetstream.JetStream, handlers []handler) (stop func()) {
	w := &worker{}
	if err := w.route(handlers, workerConfig{js: js, log: benchLog(tb)}); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.router.Run(ctx) }()
	<-w.router.Running()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(stop)
	return stop
}

// benchLog shows what goes wrong: a measurement with a warning in it is worth nothing.
func benchLog(tb testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
