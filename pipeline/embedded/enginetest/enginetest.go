// Package enginetest gives tests the real engines: a NATS server of their own, and databases of their own on one
// ClickHouse server per test binary. A package that uses ClickHouse has
//
//	func TestMain(m *testing.M) { enginetest.Main(m) }
//
// Where ClickHouse's library can't be had such tests are skipped with the reason; they fail instead when
// ATTUNE_REQUIRE_CLICKHOUSE=1 is set, so that a CI run can't pass by skipping.
package enginetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/embedded"
)

const requireEnv = "ATTUNE_REQUIRE_CLICKHOUSE"

// shared is the test binary's server. It is package-level state because testing.M has no place to hang it on.
var shared engine

type engine struct {
	mu      sync.Mutex
	main    bool // Main runs
	started bool // with or without success
	server  *embedded.ClickHouse
	dir     string
	err     error
}

// Main runs the tests of a package, stops the shared ClickHouse server and exits. It must be the first statement
// of TestMain.
func Main(m *testing.M) { os.Exit(run(m, func() error { return nil })) }

// MainNoLeaks is [Main] which fails when goroutines are left over once the tests have passed and the server has
// stopped.
func MainNoLeaks(m *testing.M, options ...goleak.Option) {
	os.Exit(run(m, func() error { return goleak.Find(options...) }))
}

func run(m *testing.M, check func() error) int {
	embedded.MaybeClickHouse()
	shared.mu.Lock()
	shared.main = true
	shared.mu.Unlock()
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "enginetest:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := check(); err != nil {
			fmt.Fprintln(os.Stderr, "enginetest:", err)
			code = 1
		}
	}
	return code
}

// NATS starts a JetStream server in a fresh folder and closes it at the test's end.
func NATS(t testing.TB) *embedded.NATS {
	t.Helper()
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// JetStream is a connection to a server of the test's own; both end with the test.
func JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	return Connected(t, NATS(t))
}

// Connected is a connection to a server, which ends with the test.
func Connected(t testing.TB, n *embedded.NATS) jetstream.JetStream {
	t.Helper()
	conn, err := n.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// ClickHouse returns the test binary's server, started at the first call. It is [Main] that stops it.
func ClickHouse(t testing.TB) *embedded.ClickHouse {
	t.Helper()
	server, err := shared.get()
	if err != nil {
		if errors.Is(err, embedded.ErrNoLibrary) || errors.Is(err, embedded.ErrUnsupported) {
			NeedsClickHouse(t, err)
		}
		t.Fatal(err)
	}
	return server
}

// NeedsClickHouse ends a test that can't have ClickHouse because of err: it is skipped, or it fails where
// ATTUNE_REQUIRE_CLICKHOUSE=1 asks for that.
func NeedsClickHouse(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(requireEnv) == "1" {
		t.Fatalf("%s=1, and ClickHouse can't be had: %v", requireEnv, err)
	}
	t.Skipf("needs ClickHouse: %v", err)
}

// Library returns ClickHouse's library for tests that start servers of their own, or ends the test.
func Library(t testing.TB) string {
	t.Helper()
	path, err := embedded.FindLibrary(t.Context(), embedded.LibraryConfig{Progress: os.Stderr})
	if err != nil {
		NeedsClickHouse(t, err)
	}
	return path
}

// Database makes an empty database on the shared server, drops it at the test's end, and returns its DSN for
// clickhouse-go's native protocol.
func Database(t testing.TB) string {
	t.Helper()
	server := ClickHouse(t)
	name := "attune_test_" + strings.ToLower(rand.Text())[:12]
	if err := execute(t.Context(), server.DSN(), "CREATE DATABASE "+name+" ENGINE = Atomic"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // t.Context has ended by now
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := execute(ctx, server.DSN(), "DROP DATABASE IF EXISTS "+name+" SYNC"); err != nil {
			t.Error(err)
		}
	})
	dsn, err := url.Parse(server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	dsn.Path = "/" + name
	return dsn.String()
}

func execute(ctx context.Context, dsn, statement string) error {
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return err
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func (e *engine) get() (*embedded.ClickHouse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.main {
		return nil, errors.New("enginetest: this package needs: func TestMain(m *testing.M) { enginetest.Main(m) }")
	}
	if !e.started {
		e.started = true
		e.server, e.err = e.start()
	}
	if e.err != nil {
		return nil, e.err
	}
	select {
	case <-e.server.Done():
		return nil, fmt.Errorf("enginetest: the shared server is gone: %w", e.server.Err())
	default:
		return e.server, nil
	}
}

func (e *engine) start() (*embedded.ClickHouse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute) // a first run fetches the library
	defer cancel()
	library, err := embedded.FindLibrary(ctx, embedded.LibraryConfig{Progress: os.Stderr})
	if err != nil {
		return nil, err
	}
	if e.dir, err = os.MkdirTemp("", "attune-clickhouse-*"); err != nil {
		return nil, err
	}
	return embedded.StartClickHouse(ctx, embedded.ClickHouseConfig{
		Library: library, Dir: e.dir, MaxMemory: 2 << 30, NoFsync: true,
	})
}

func (e *engine) stop() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dir != "" {
		defer os.RemoveAll(e.dir)
	}
	if e.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return e.server.Stop(ctx)
}
