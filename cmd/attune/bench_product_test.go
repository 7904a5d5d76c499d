package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
	"attune/stages/ingest"
)

// product is everything that `attune run` runs, over a broker in this process and the test binary's ClickHouse,
// with the example workspace in force. Nobody has given consent, so nothing is sent.
type product struct {
	tb     testing.TB
	js     jetstream.JetStream
	server *server
	raw    *pipeline.RawLog
}

const benchKey = "bench"

// openProduct starts it, and skips where ClickHouse can't be had. It works until the test ends.
func openProduct(tb testing.TB) *product {
	c := config.Default()
	c.ClickHouse.DSN = enginetest.Database(tb)
	if _, alone := tb.(*testing.B); alone { // as attune dev has it; tests run beside others
		if err := enginetest.ClickHouse(tb).GiveWay(); err != nil {
			tb.Log(err)
		}
	}
	p := &product{tb: tb, js: benchJetStream(tb)}
	if err := p.start(c); err != nil {
		tb.Fatal(err)
	}
	return p
}

// prepare makes the streams and brings the example workspace into force.
func (p *product) prepare(c topology.Config) error {
	ctx := p.tb.Context()
	c.Partitions = benchPartitions
	if err := topology.Ensure(ctx, p.js, c); err != nil {
		return err
	}
	store, err := openControl(ctx, p.js)
	if err != nil {
		return err
	}
	_, err = applyWorkspace(ctx, p.js, store, exampleWorkspace(p.tb), false)
	return err
}

// start has a worker run all parts, and calls come in over HTTP.
func (p *product) start(c config.Config) error {
	if err := p.prepare(c.Topology); err != nil {
		return err
	}
	if err := catchMails(&c, "127.0.0.1:1"); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	if _, err := p.work(c, registry); err != nil {
		return err
	}
	if err := p.serve(c.Ingest, registry); err != nil {
		return err
	}
	p.decided() // every partition has its owner
	p.passed(topology.Commits, pipeline.ReaderClickHouse)
	return nil
}

// work has a worker run some parts, all where none is named, until the test ends or stop is called.
func (p *product) work(c config.Config, metrics *prometheus.Registry, only ...string) (stop func(), err error) {
	w, err := newWorker(p.tb.Context(), workerConfig{
		config: c, only: only, js: p.js, partitions: benchPartitions, metrics: metrics, log: benchLog(p.tb),
	})
	if err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(context.WithoutCancel(p.tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.run(working, "") }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			p.tb.Error(err)
		}
		w.close()
	})
	p.tb.Cleanup(stop)
	return stop, nil
}

// serve takes calls over HTTP into RAW until the test ends.
func (p *product) serve(c ingest.Config, metrics *prometheus.Registry) (err error) {
	ctx := p.tb.Context()
	if p.raw, err = pipeline.NewRawLog(ctx, p.js, ingestConcurrency); err != nil {
		return err
	}
	p.tb.Cleanup(p.raw.Close)
	c.WriteKeys = []ingest.WriteKey{{Name: benchKey, Key: benchKey}}
	if p.server, _, err = newServer("127.0.0.1:0", p.raw, c, metrics, nil, benchLog(p.tb)); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.server.serve() }()
	p.tb.Cleanup(func() {
		if err := errors.Join(p.server.stop(context.WithoutCancel(ctx)), <-ended); err != nil {
			p.tb.Error(err)
		}
	})
	return nil
}

// settle waits until everything that was taken in is in ClickHouse.
func (p *product) settle() {
	if err := settle(p.tb.Context(), p.js, benchPartitions); err != nil {
		p.tb.Fatal(err)
	}
}

// decided waits until everything that was taken in has passed the customer chain.
func (p *product) decided() {
	for partition := range benchPartitions {
		p.passed(topology.Raw, topology.Durable(pipeline.ReaderNormalize, partition))
	}
	for partition := range benchPartitions {
		p.passed(topology.Events, topology.Durable(pipeline.ReaderCustomer, partition))
	}
}

// passed waits until a reader has acknowledged everything that is there.
func (p *product) passed(stream, reader string) {
	for {
		consumer, err := p.js.Consumer(p.tb.Context(), stream, reader)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) { // which is being claimed at the moment
			p.tb.Fatal(err)
		}
		if err == nil && consumer.CachedInfo().NumPending == 0 && consumer.CachedInfo().NumAckPending == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// requests are the feed's next n calls as the requests of a server-side client, byte by byte, and the same calls one
// by one.
func requests(f *feed, n int) (all, calls [][]byte) {
	const batch = 100
	for start := 0; start < n; start += batch {
		var body bytes.Buffer
		body.WriteString(`{"batch":[`)
		for i := start; i < min(start+batch, n); i++ {
			if i > start {
				body.WriteByte(',')
			}
			_, call := f.call(time.Now())
			calls = append(calls, call)
			body.Write(call)
		}
		body.WriteString(`]}`)
		request, err := http.NewRequest(http.MethodPost, "http://attune.example/v1/batch", &body)
		if err != nil {
			panic(err) // the address is a constant
		}
		request.SetBasicAuth(benchKey, "")
		request.Header.Set("Content-Type", "application/json")
		var wire bytes.Buffer
		_ = request.Write(&wire) // to a buffer
		all = append(all, wire.Bytes())
	}
	return all, calls
}

// post sends requests over so many connections, each of which waits for its answer before the next, as leanly as a
// client can: it shares these two cores with what is measured.
func (p *product) post(all [][]byte, connections int) error {
	queue := make(chan []byte, len(all))
	for _, r := range all {
		queue <- r
	}
	close(queue)
	var clients errgroup.Group
	for range connections {
		clients.Go(func() error { return client(p.tb.Context(), p.server.listener.Addr().String(), queue) })
	}
	return clients.Wait()
}

func client(ctx context.Context, address string, queue <-chan []byte) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for request := range queue {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("ingest answered %s: %s", answer.Status, said)
		}
	}
	return nil
}
