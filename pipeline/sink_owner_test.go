package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/lease"
	"attune/pipeline/topology"
)

// Of two processes one reads for the sink, in peace; when it leaves, the other goes on where it was.
func TestSinkReaderIsOwnedByOne(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var both ledger // each range once, whoever wrote it
	start := func(log *bytes.Buffer) (stop func()) {
		worker, err := lease.New(t.Context(), lease.Config{JetStream: r.js, Chains: []lease.Chain{{Name: "sink", Topics: []string{"sink"}}}})
		if err != nil {
			t.Fatal(err)
		}
		reader, err := pipeline.NewSinkReader(pipeline.SinkConfig{
			JetStream: r.js, Name: "sink", Sink: &both, Interval: 10 * time.Millisecond, Owner: worker.Owner("sink"), Log: slog.New(slog.NewTextHandler(log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := worker.Start(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); reader.Run(ctx) }()
		return func() {
			if err := worker.Leave(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			cancel()
			<-done
			worker.Close()
		}
	}
	var logs [2]bytes.Buffer
	stopFirst := start(&logs[0])
	r.commit(1, 4)
	eventually(t, "the first process writes", func() bool { return len(both.commits()) == 4 })
	stopSecond := start(&logs[1])
	r.commit(5, 4)
	eventually(t, "one of the two writes", func() bool { return len(both.commits()) == 8 })
	stopFirst()
	r.commit(9, 4)
	eventually(t, "the second process goes on", func() bool { return len(both.commits()) == 12 })
	stopSecond()
	both.check(t, r, 12)
	for i := range logs {
		if logs[i].Len() > 0 {
			t.Errorf("the processes got in each other's way: %s", &logs[i])
		}
	}
}

// Why the sink stands still is told while it does, under an owner too: until it takes a batch, or reads again where it only
// could not read.
func TestSinkReaderTellsWhyItStandsStill(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	worker, err := lease.New(t.Context(), lease.Config{JetStream: r.js, Chains: []lease.Chain{{Name: "sink", Topics: []string{"sink"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	var broken atomic.Bool
	sink := ledger{fail: func(bool) error {
		if broken.Load() {
			return errors.New("the table is gone")
		}
		return nil
	}}
	var log bytes.Buffer
	reader, err := pipeline.NewSinkReader(pipeline.SinkConfig{
		JetStream: r.js, Name: "sink", Sink: &sink, Interval: 10 * time.Millisecond, Owner: worker.Owner("sink"), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); reader.Run(ctx) }()

	r.commit(1, 4)
	eventually(t, "it writes", func() bool { return len(sink.commits()) == 4 })
	if err := r.js.DeleteConsumer(t.Context(), topology.Commits, "sink"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it can't read", func() bool { return errors.Is(reader.Err(), bus.ErrConsumerGone) })
	eventually(t, "it reads again", func() bool { return reader.Err() == nil })
	broken.Store(true)
	r.commit(5, 4)
	eventually(t, "it can't write", func() bool { return reader.Err() != nil && strings.Contains(reader.Err().Error(), "the table is gone") })
	broken.Store(false)
	eventually(t, "it writes again", func() bool { return reader.Err() == nil && len(sink.commits()) == 8 })
	cancel()
	<-done
	if !strings.Contains(log.String(), "the table is gone") {
		t.Errorf("the log does not say why the sink stopped: %s", &log)
	}
	sink.check(t, r, 8)
}
