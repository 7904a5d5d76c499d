package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/topology"
)

// importing is an import of so many contacts into an installation.
type importing struct {
	*installed
	importCommand
	said chan string // on stderr, line by line
}

func newImporting(t *testing.T, contacts int, data string, more ...string) *importing {
	t.Helper()
	i := &importing{said: make(chan string, 100)}
	i.installed = install(t, 2, append(more, `clickhouse: {dsn: "clickhouse://nowhere:9000/"}`, fmt.Sprintf("data_dir: %q", data))...)
	rows := []byte("id,optin\n")
	for n := range contacts {
		rows = fmt.Appendf(rows, "%d,yes\n", n)
	}
	i.importCommand = importCommand{File: filepath.Join(data, "contacts.csv"), Mapping: "contacts", Encoding: "utf-8", NoWait: true, target: target{Config: i.file}}
	if err := os.WriteFile(i.File, rows, 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

// Write takes what is said on stderr.
func (i *importing) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		i.said <- line
	}
	return len(p), nil
}

// begin runs the import until stop, and returns its end.
func (i *importing) begin() (end chan error, stop func()) {
	ctx, cancel := context.WithCancel(i.t.Context())
	end = make(chan error, 1)
	go func() { end <- i.Run(ctx, streams{in: strings.NewReader(""), out: &bytes.Buffer{}, err: i}) }()
	return end, cancel
}

func (i *importing) complete() {
	i.t.Helper()
	end, stop := i.begin()
	defer stop()
	if err := <-end; err != nil {
		i.t.Fatal(err)
	}
}

// stored are the messages of RAW and the different calls in them.
func (i *importing) stored() (messages, calls int) {
	i.t.Helper()
	stream, err := i.js.Stream(i.t.Context(), topology.Raw)
	if err != nil {
		i.t.Fatal(err)
	}
	different := map[string]bool{}
	for n := uint64(1); n <= stream.CachedInfo().State.LastSeq; n++ {
		m, err := stream.GetMsg(i.t.Context(), n)
		if err != nil {
			i.t.Fatal(err)
		}
		messages++
		for _, call := range pipeline.RawCalls(m.Header, m.Data) {
			different[string(call)] = true
		}
	}
	return messages, len(different)
}

// A batch shares its moment, so its calls share messages; --restart needs no folder of an earlier import.
func TestImportPacksItsCalls(t *testing.T) {
	t.Parallel()
	i := newImporting(t, 500, t.TempDir())
	i.Restart = true
	i.complete()
	if messages, calls := i.stored(); calls != 500 || messages > 20 {
		t.Errorf("%d calls are in %d messages", calls, messages)
	}
}

// A full RAW makes an import wait and say so, once; with room it goes on to its end.
func TestImportWaitsForRoom(t *testing.T) {
	t.Parallel()
	i := newImporting(t, 3000, t.TempDir())
	i.limitRaw(200 << 10)
	end, stop := i.begin()
	defer stop()
	select {
	case line := <-i.said:
		if !strings.Contains(line, "Waiting until the log takes more") || !strings.Contains(line, pipeline.ErrRawFull.Error()) {
			t.Errorf("it says %q", line)
		}
	case err := <-end:
		t.Fatal("it has ended:", err)
	}
	i.limitRaw(64 << 20)
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	if _, calls := i.stored(); calls != 3000 {
		t.Errorf("%d calls are stored", calls)
	}
	if len(i.said) > 0 {
		t.Errorf("it says more: %q", <-i.said)
	}
}

func (i *importing) limitRaw(size int64) {
	i.t.Helper()
	stream, err := i.js.Stream(i.t.Context(), topology.Raw)
	if err != nil {
		i.t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	c.MaxBytes = size
	if _, err := i.js.UpdateStream(i.t.Context(), c); err != nil {
		i.t.Fatal(err)
	}
}

// What was stopped goes on where it was, in the target that has the beginning; another with the same data folder gets all.
func TestImportResumesInItsTarget(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	staging := newImporting(t, 3000, data)
	staging.limitRaw(200 << 10)
	end, stop := staging.begin()
	<-staging.said // the first batches are stored
	stop()
	if err := <-end; err == nil {
		t.Fatal("it was not stopped")
	}
	if kept, err := filepath.Glob(filepath.Join(data, "imports", "*.json")); err != nil || len(kept) != 1 {
		t.Fatalf("checkpoints %v, %v", kept, err)
	}
	production := newImporting(t, 3000, data)
	production.complete()
	if _, calls := production.stored(); calls != 3000 {
		t.Errorf("the other target has %d calls", calls)
	}
	for len(staging.said) > 0 {
		<-staging.said
	}
	staging.limitRaw(64 << 20)
	staging.complete()
	close(staging.said)
	if line := <-staging.said; !strings.Contains(line, "going on where it stopped") {
		t.Errorf("it says %q", line)
	}
	if _, calls := staging.stored(); calls != 3000 {
		t.Errorf("the target has %d calls", calls)
	}
}

// There is always something new to read: what was there is waited for all the same, and nothing else.
func TestSettleUnderTraffic(t *testing.T) {
	t.Parallel()
	i := install(t, 1)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	done := make(chan error, 3)
	for stream, reader := range map[string]string{
		topology.Raw: topology.Durable(pipeline.ReaderNormalize, 0), topology.Events: topology.Durable(pipeline.ReaderCustomer, 0), topology.Commits: pipeline.ReaderClickHouse,
	} {
		consumer, err := i.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{Durable: reader, AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		before := i.next(ctx, stream, consumer)
		traffic, end := context.WithCancel(ctx)
		defer func() { end(); <-done }()
		go func() { // one is always unread
			for traffic.Err() == nil && before != nil {
				after := i.next(traffic, stream, consumer)
				if err := before.Ack(); err != nil {
					break
				}
				before = after
			}
			done <- nil
		}()
	}
	if err := settle(ctx, i.js, 1); err != nil {
		t.Error(err)
	}
}

// next appends a message and reads it; nil: the context has ended.
func (i *installed) next(ctx context.Context, stream string, consumer jetstream.Consumer) jetstream.Msg {
	if _, err := i.js.Publish(ctx, topology.Subject(stream, 0), []byte("x")); err != nil {
		return nil
	}
	m, err := consumer.Next(jetstream.FetchContext(ctx))
	if err != nil {
		return nil
	}
	return m
}
