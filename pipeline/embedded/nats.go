package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// DefaultMaxPayload is the largest message where [NATSConfig] sets none: 8 MiB.
const DefaultMaxPayload = 8 << 20

const natsReadyWithin = 30 * time.Second // a large store is checked and indexed first

// NATSConfig says how to start a NATS server with JetStream.
type NATSConfig struct {
	// Dir is the data folder; it is created where it is missing. Required.
	Dir string
	// Port on loopback. 0 picks the port of the last run if it is free, else another.
	Port int
	// SyncInterval is how often JetStream flushes to the disk what it has acknowledged; 0 is the server's default
	// of 2 minutes. It matters in a power loss only: what is written survives the death of the process.
	SyncInterval time.Duration
	// SyncAlways flushes before each acknowledgement.
	SyncAlways bool
	// MaxPayload of one message in bytes; 0 is [DefaultMaxPayload].
	MaxPayload int32
	// Log takes the server's warnings and errors; nil drops them.
	Log *slog.Logger
}

// NATS is a running server inside this process. Its methods are safe for concurrent use; whoever started it
// closes it.
type NATS struct {
	server *server.Server
	lock   *os.File
	once   sync.Once
}

// StartNATS starts a JetStream server that keeps its streams in c.Dir and returns when it takes connections. ctx
// bounds the start only. Errors: [ErrLocked] when another server holds the folder.
func StartNATS(ctx context.Context, c NATSConfig) (*NATS, error) {
	n, err := startNATS(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start embedded nats: %w", err)
	}
	return n, nil
}

func startNATS(ctx context.Context, c NATSConfig) (_ *NATS, err error) {
	switch {
	case c.Dir == "":
		return nil, errors.New("no data folder given")
	case c.SyncInterval < 0:
		return nil, fmt.Errorf("sync interval %s: must not be negative", c.SyncInterval)
	case c.MaxPayload < 0:
		return nil, fmt.Errorf("max payload %d: must not be negative", c.MaxPayload)
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = DefaultMaxPayload
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(ctx, c.Dir, natsLock, "stop it, or give another --data DIR")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	remembered := loadPorts(c.Dir)
	for range portAttempts {
		var n *NATS
		if n, err = serveNATS(ctx, c, remembered); err == nil {
			n.lock = lock
			return n, nil
		}
		if c.Port != 0 || !errors.Is(err, errPortTaken) {
			return nil, err
		}
		delete(remembered, "nats")
	}
	return nil, err
}

// portAttempts bounds how often another port is picked because somebody took the one that had just been free.
const portAttempts = 5

// errPortTaken is returned when somebody began to listen on the port between its choice and the server's start.
var errPortTaken = errors.New("somebody else took the port")

func serveNATS(ctx context.Context, c NATSConfig, remembered ports) (*NATS, error) {
	port, err := remembered.choose("nats", c.Port)
	if err != nil {
		return nil, err
	}
	if err := remembered.save(c.Dir); err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName:   "attune",
		Host:         loopback,
		Port:         port,
		MaxPayload:   c.MaxPayload,
		JetStream:    true,
		StoreDir:     c.Dir,
		SyncInterval: c.SyncInterval,
		SyncAlways:   c.SyncAlways,
		NoSigs:       true,
	})
	if err != nil {
		return nil, err
	}
	log := &natsLog{log: c.Log}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	n := &NATS{server: s}
	if err := n.ready(ctx, log); err != nil {
		n.Close()
		if portFree(port) != nil {
			return nil, fmt.Errorf("%w %d: %w", errPortTaken, port, err)
		}
		return nil, err
	}
	return n, nil
}

func (n *NATS) ready(ctx context.Context, log *natsLog) error {
	ctx, cancel := context.WithTimeout(ctx, natsReadyWithin)
	defer cancel()
	for !n.server.ReadyForConnections(20 * time.Millisecond) {
		if fatal := log.fatal(); fatal != "" {
			return errors.New(fatal)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("not ready: %w", err)
		}
	}
	if !n.server.JetStreamEnabled() {
		return fmt.Errorf("JetStream did not start: %s", log.fatal())
	}
	return nil
}

// Healthy tells why the server can't do its work; nil: it can. A stream that could not be written once refuses all that
// follows until the server is started again, and whoever publishes to it gets no answer.
func (n *NATS) Healthy() error {
	if status := n.server.Healthz(&server.HealthzOptions{}); status.Error != "" {
		return fmt.Errorf("embedded nats: %s (is the disk full, or not writable?)", status.Error)
	}
	return nil
}

// URL is the server's address on loopback, for other processes.
func (n *NATS) URL() string { return n.server.ClientURL() }

// Connect opens a connection that stays inside this process, without a socket. The caller closes it.
func (n *NATS) Connect(opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{nats.Name("attune"), nats.InProcessServer(n.server)}, opts...)
	conn, err := nats.Connect("", all...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded nats: %w", err)
	}
	return conn, nil
}

// Close ends the server, waits until its streams are on disk, and releases the folder. Calling it again does nothing.
func (n *NATS) Close() {
	n.once.Do(func() {
		n.server.Shutdown()
		n.server.WaitForShutdown()
		if n.lock != nil {
			n.lock.Close()
		}
	})
}
