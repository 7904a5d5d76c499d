package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/topology"
)

// A partition that has lost what steers it is told again.
func TestTeller(t *testing.T) {
	t.Parallel()
	i := install(t, 2)
	if _, _, err := i.definitions.store.Apply(t.Context(), pipeline.KindStock, []byte("{}"), time.Now()); err != nil {
		t.Fatal(err)
	}
	log, err := i.js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	subject := topology.Subject(topology.Events, 1)
	if err := log.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	x := &teller{store: i.definitions.store, log: slog.New(slog.DiscardHandler)}
	var work sync.WaitGroup
	work.Go(func() { x.run(ctx) })
	defer work.Wait()
	defer stop()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := log.GetLastMsgForSubject(t.Context(), subject); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it was never told")
		}
	}
}
