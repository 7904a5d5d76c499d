package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"attune/config"
	"attune/pipeline/bus"
	"attune/pipeline/embedded"
	"attune/pipeline/topology"
)

// engines are the NATS and ClickHouse that this process works with: its own, or the configured ones.
type engines struct {
	conn *nats.Conn
	js   jetstream.JetStream

	folder     *embedded.Dir // held while an embedded engine runs
	nats       *embedded.NATS
	clickhouse *embedded.ClickHouse
}

// startEngines starts what the configuration leaves to this process, in the data folder, and connects to the
// rest; ClickHouse only where it is wanted. It fills in the configuration's ClickHouse addresses.
func startEngines(ctx context.Context, c *config.Config, wantClickHouse bool, progress io.Writer, log *slog.Logger) (*engines, error) {
	e := &engines{}
	err := e.start(ctx, c, wantClickHouse, progress, log)
	if err == nil {
		err = topology.Ensure(ctx, e.js, c.Topology)
	}
	if err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// start starts both at the same time; should one fail, the other is not waited for.
func (e *engines) start(ctx context.Context, c *config.Config, wantClickHouse bool, progress io.Writer, log *slog.Logger) (err error) {
	embedClickHouse := wantClickHouse && c.ClickHouse.DSN == ""
	if c.NATS.URL == "" || embedClickHouse {
		if e.folder, err = embedded.Lock(c.DataDir); err != nil {
			return err
		}
	}
	starting, ctx := errgroup.WithContext(ctx)
	starting.Go(func() error { return e.startNATS(ctx, c, log) })
	if embedClickHouse {
		starting.Go(func() error { return e.startClickHouse(ctx, c, progress, log) })
	}
	return starting.Wait()
}

func (e *engines) startNATS(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	if c.NATS.URL != "" {
		if e.conn, e.js, err = connect(c.NATS); err == nil {
			warnOfBroker(e.conn, log)
		}
		return err
	}
	e.nats, err = embedded.StartNATS(ctx, embedded.NATSConfig{
		Dir: filepath.Join(c.DataDir, "nats"), Port: c.NATS.Port, SyncAlways: c.NATS.SyncAlways, SyncInterval: c.NATS.SyncInterval, Log: log,
	})
	if err != nil {
		return err
	}
	if e.conn, err = e.nats.Connect(connectOptions()...); err != nil {
		return fmt.Errorf("connect to embedded nats: %w", err)
	}
	e.js, err = newJetStream(e.conn)
	return err
}

func (e *engines) startClickHouse(ctx context.Context, c *config.Config, progress io.Writer, log *slog.Logger) error {
	library, err := embedded.FindLibrary(ctx, embedded.LibraryConfig{Progress: progress})
	if err != nil {
		return err
	}
	e.clickhouse, err = embedded.StartClickHouse(ctx, embedded.ClickHouseConfig{
		Library: library, Dir: filepath.Join(c.DataDir, "clickhouse"), Log: log,
	})
	if err != nil {
		return err
	}
	if err := e.clickhouse.GiveWay(); err != nil {
		log.Debug("clickhouse shares evenly", "error", err) // a machine that refuses
	}
	c.ClickHouse.DSN, c.ClickHouse.HTTP = e.clickhouse.DSN(), e.clickhouse.HTTPURL()
	return nil
}

// endpoints are where what runs here is reached: for the commands that find it by its data folder.
func (e *engines) endpoints(c *config.Config, ingest string) embedded.Endpoints {
	all := embedded.Endpoints{
		NATSURL: c.NATS.URL, ClickHouseDSN: c.ClickHouse.DSN, ClickHouseHTTPURL: c.ClickHouse.HTTP,
		IngestURL: ingest, Started: time.Now(),
	}
	if e.nats != nil {
		all.NATSURL = e.nats.URL()
	}
	if e.clickhouse != nil {
		all.ClickHouseAnalystDSN = e.clickhouse.AnalystDSN()
	}
	return all
}

// close stops what this process started. Closing twice is fine.
func (e *engines) close() {
	if e.conn != nil {
		e.conn.Close()
	}
	if e.nats != nil {
		e.nats.Close()
	}
	if e.clickhouse != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = e.clickhouse.Stop(ctx) // it says why in its log; its data is safe in any case
	}
	if e.folder != nil {
		_ = e.folder.Close()
	}
}

// clickhouseEnded is closed when the embedded ClickHouse has ended by itself; nil when there is none.
func (e *engines) clickhouseEnded() <-chan struct{} {
	if e.clickhouse == nil {
		return nil
	}
	return e.clickhouse.Done()
}

const (
	// healthEvery is how often the embedded NATS is asked how it is.
	healthEvery = 2 * time.Second
	// sickTurns is how often in a row it must be unwell to be given up: a stream that is being made looks like one that could
	// not be opened.
	sickTurns = 2
)

// natsHealth is why NATS can't be worked with any more, as far as this process knows; nil: it can, or may soon.
func (e *engines) natsHealth() error {
	switch {
	case e.conn.IsClosed():
		return fmt.Errorf("the connection to NATS was given up: %w", cmp.Or(e.conn.LastError(), nats.ErrConnectionClosed))
	case e.nats != nil:
		return e.nats.Healthy()
	}
	return nil
}

// natsFailed tells when NATS can't be worked with any more: only a new start connects again, or opens the embedded one's
// streams.
func (e *engines) natsFailed(ctx context.Context) <-chan error {
	failed := make(chan error, 1)
	go func() {
		tick := time.NewTicker(healthEvery)
		defer tick.Stop()
		for sick := 0; ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			err := e.natsHealth()
			if sick++; err == nil {
				sick = 0
			}
			if sick == sickTurns {
				failed <- fmt.Errorf("%w; what was accepted is kept: start again", err)
				return
			}
		}
	}()
	return failed
}

// connectOptions are those of every connection.
func connectOptions() []nats.Option {
	return []nats.Option{nats.Name("attune"), nats.SyncQueueLen(bus.QueueLen)}
}

// connect reaches a NATS server of one's own.
func connect(c config.NATS) (*nats.Conn, jetstream.JetStream, error) {
	// A server that refuses for the moment, as while credentials are exchanged, is asked again too.
	options := append(connectOptions(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if c.Credentials != "" {
		options = append(options, nats.UserCredentials(c.Credentials))
	}
	conn, err := nats.Connect(c.URL, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to NATS (nats.url in attune.yaml, or ATTUNE_NATS__URL): %w", err)
	}
	if err := checkBroker(conn.ConnectedServerVersion(), conn.MaxPayload()); err != nil {
		defer conn.Close()
		return nil, nil, fmt.Errorf("connect to NATS at %s: %w", conn.ConnectedUrlRedacted(), err)
	}
	js, err := newJetStream(conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, js, nil
}

func newJetStream(conn *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(15*time.Second))
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return js, nil
}
