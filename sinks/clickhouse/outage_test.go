package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

// patience bounds every wait for something that is expected to happen.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// feed appends commits of 40 events until ctx ends, a few hundred a second, and returns how many there are.
func feed(ctx context.Context, js jetstream.JetStream, fed *atomic.Int64) (commits int, err error) {
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		return 0, err
	}
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for i := uint64(1); ctx.Err() == nil; i++ {
		<-pace.C
		b := numbered(i, 40, 0)
		b.Parts[0].Profiles = nil
		commit := pipeline.Commit{Epoch: 1, Position: i}
		for _, e := range b.Parts[0].Facts.Events {
			record, err := e.Event.Encode()
			if err != nil {
				return 0, err
			}
			facts, err := codec.AppendFacts(nil, record, &pipeline.Facts{Events: []pipeline.Enriched{e}})
			if err != nil {
				return 0, err
			}
			commit.Facts = pipeline.AppendRecordFacts(commit.Facts, e.Position, facts)
		}
		flips, err := codec.AppendFacts(nil, nil, &pipeline.Facts{Changes: b.Parts[0].Facts.Changes, Decisions: b.Parts[0].Facts.Decisions})
		if err != nil {
			return 0, err
		}
		commit.Facts = pipeline.AppendRecordFacts(commit.Facts, i, flips)
		data, err := codec.Encode(&commit)
		if err != nil {
			return 0, err
		}
		if _, err := js.Publish(context.WithoutCancel(ctx), topology.Subject(topology.Commits, 0), data); err != nil {
			return 0, err
		}
		commits++
		fed.Add(int64(len(data)))
	}
	return commits, nil
}

// ClickHouse is killed with -9 in the midst of the inserts and stays away, while the pipeline commits on: the broker
// keeps what is not written, this process does not. Then it comes back and everything is there once, in the roll-up
// too.
func TestAnOutageOfClickHouse(t *testing.T) {
	if testing.Short() {
		t.Skip("a server of its own, killed twice")
	}
	js := enginetest.JetStream(t)
	layout := topology.DefaultConfig()
	layout.Partitions = 1
	if err := topology.Ensure(t.Context(), js, layout); err != nil {
		t.Fatal(err)
	}
	settings := embedded.ClickHouseConfig{Library: enginetest.Library(t), Dir: t.TempDir(), MaxMemory: 2 << 30, NoFsync: true}
	start := func() *embedded.ClickHouse {
		server, err := embedded.StartClickHouse(t.Context(), settings)
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	server := start()
	defer func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	config := configFor(server.DSN())
	config.HTTP = server.HTTPURL()
	b := &bench{config: config, Sink: open(t, config)}
	reader, err := pipeline.NewSinkReader(pipeline.SinkConfig{
		JetStream: js, Name: pipeline.ReaderClickHouse, Sink: b.Sink, Rows: 2000, Interval: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	reading, stopReading := context.WithCancel(t.Context())
	feeding, stopFeeding := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer stopReading()
	defer stopFeeding()
	work.Go(func() { reader.Run(reading) })
	var fed atomic.Int64
	var commits int
	var feedErr error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		commits, feedErr = feed(feeding, js, &fed)
	}()

	rows := func() float64 { return metric(t, b.Sink, "attune_clickhouse_rows_total", "events") }
	retries := func() float64 { return metric(t, b.Sink, "attune_clickhouse_retries_total", "") }
	for range 2 {
		before := rows()
		eventually(t, "facts arrive", func() bool { return rows() > before+2000 })
		process, err := os.FindProcess(server.PID())
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-server.Done()
		tried, at, memory := retries(), fed.Load(), liveHeap()
		eventually(t, "the sink tries again and again, and the pipeline goes on", func() bool { return retries() >= tried+10 && fed.Load() > at+12<<20 })
		info, err := consumerInfo(t.Context(), js)
		if err != nil {
			t.Fatal(err)
		}
		if held := info.Delivered.Stream - info.AckFloor.Stream; held > 1000 || info.NumPending < held {
			t.Errorf("%d commits are in the reader's hands, %d still at the broker", held, info.NumPending)
		}
		if grown := liveHeap() - memory; grown > 48<<20 {
			t.Errorf("the heap has grown by %d MiB while %d MiB were committed", grown>>20, (fed.Load()-at)>>20)
		}
		server = start()
		if server.DSN() != config.DSN {
			t.Fatalf("the server came back at %s", server.HTTPURL())
		}
	}
	stopFeeding()
	<-ended
	if feedErr != nil {
		t.Fatal(feedErr)
	}
	eventually(t, "the sink has caught up", func() bool {
		info, err := consumerInfo(t.Context(), js)
		return err == nil && info.AckFloor.Stream == uint64(commits)
	})
	stopReading()
	work.Wait()
	events := 40 * commits
	for sql, want := range map[string]string{
		"SELECT count(), uniqExact(event_id) FROM events":                     fmt.Sprintf("%d\t%d", events, events),
		"SELECT sum(events) FROM events_per_hour":                             fmt.Sprint(events),
		"SELECT count(), uniqExact(decision_id) FROM decisions":               fmt.Sprintf("%d\t%d", events/5, events/5),
		"SELECT count(), uniqExact(event_id) FROM messages":                   fmt.Sprintf("%d\t%d", events/4, events/4),
		"SELECT count(), uniqExact(partition, sequence) FROM segment_changes": fmt.Sprintf("%d\t%d", events/5, events/5),
	} {
		dsn, err := config.QueryDSN()
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t, dsn, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	t.Logf("%d commits of 40 events, %d MiB; %.0f retries", commits, fed.Load()>>20, retries())
}

func consumerInfo(ctx context.Context, js jetstream.JetStream) (*jetstream.ConsumerInfo, error) {
	consumer, err := js.Consumer(ctx, topology.Commits, pipeline.ReaderClickHouse)
	if err != nil {
		return nil, err
	}
	return consumer.CachedInfo(), nil
}

// liveHeap is what lives on the heap, the broker's too, in bytes.
func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
