package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
)

func openDSN(dsn string) (clickhouse.Conn, error) {
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return clickhouse.Open(options)
}

func execute(ctx context.Context, dsn, statement string) error {
	conn, err := openDSN(dsn)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func mustExecute(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := execute(t.Context(), dsn, s); err != nil {
			t.Fatal(err)
		}
	}
}

func queryInt(t *testing.T, dsn, query string) uint64 {
	t.Helper()
	conn, err := openDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var n uint64
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func startClickHouse(t *testing.T, c embedded.ClickHouseConfig) *embedded.ClickHouse {
	t.Helper()
	c.Library = enginetest.Library(t)
	ch, err := embedded.StartClickHouse(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ch.Stop(context.Background()); err != nil && ch.Err() == nil {
			t.Error(err)
		}
	})
	return ch
}

// inheritable makes a second descriptor of the listener that, unlike Go's own, survives an exec: a program may
// get such ones from whoever started it. The function returned closes both.
func inheritable(t *testing.T, l net.Listener) func() {
	t.Helper()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	dup, err := dupInheritable(f)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		f.Close()
		dup.Close()
		l.Close()
	}
}

func TestClickHouseRestartKeepsData(t *testing.T) {
	c := embedded.ClickHouseConfig{Dir: filepath.Join(t.TempDir(), "data & <more>")} // the path goes into XML
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closeListener := inheritable(t, listener)

	ch := startClickHouse(t, c)
	closeListener()
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		conn.Close()
		t.Error("the child keeps a listener of its parent open")
	}
	if n := queryInt(t, ch.DSN(), "SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'fsync_after_insert'"); n != 1 {
		t.Errorf("fsync_after_insert = %d, want it on by default", n)
	}
	mustExecute(t, ch.DSN(),
		"CREATE TABLE kept (a UInt64) ENGINE = MergeTree ORDER BY a",
		"INSERT INTO kept SELECT number FROM numbers(10)",
		"SYSTEM FLUSH LOGS")
	logged := queryInt(t, ch.DSN(), "SELECT count() FROM system.query_log")
	if logged == 0 {
		t.Error("query_log is empty")
	}
	for range 2 {
		if err := ch.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.Err(); err != nil {
		t.Errorf("Err() after Stop: %v", err)
	}

	again := startClickHouse(t, c)
	if again.DSN() != ch.DSN() || again.AnalystDSN() != ch.AnalystDSN() || again.HTTPURL() != ch.HTTPURL() {
		t.Errorf("addresses changed: %s %s", again.DSN(), again.HTTPURL())
	}
	if n := queryInt(t, again.DSN(), "SELECT sum(a) FROM kept"); n != 45 {
		t.Errorf("sum after the restart = %d", n)
	}
	mustExecute(t, again.DSN(), "SYSTEM FLUSH LOGS")
	if n := queryInt(t, again.DSN(), "SELECT count() FROM system.query_log"); n <= logged {
		t.Errorf("query_log has %d rows, before the restart %d", n, logged)
	}
	for _, file := range []string{"passwords.json", "users.xml", "config.xml"} {
		info, err := os.Stat(filepath.Join(c.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
}

// TestClickHouseSurvivesRoughClients holds what ends the library's server unless it thinks itself interactive.
func TestClickHouseSurvivesRoughClients(t *testing.T) {
	ch := enginetest.ClickHouse(t)
	dsn, err := url.Parse(ch.DSN())
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*url.URL)) string {
		u := *dsn
		change(&u)
		return u.String()
	}
	web, err := url.Parse(ch.HTTPURL())
	if err != nil {
		t.Fatal(err)
	}
	raw := func(host, text string) func() error {
		return func() error {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, text); err != nil {
				return err
			}
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, _ = io.Copy(io.Discard, conn)
			return errors.New("closed") // a client of no sense has no good end
		}
	}
	for _, c := range []struct {
		name string
		act  func() error
	}{
		{"wrong password", func() error {
			return execute(t.Context(), with(func(u *url.URL) { u.User = url.UserPassword("attune", "wrong") }), "SELECT 1")
		}},
		{"unknown user", func() error {
			return execute(t.Context(), with(func(u *url.URL) { u.User = url.UserPassword("nobody", "x") }), "SELECT 1")
		}},
		{"unknown database", func() error {
			return execute(t.Context(), with(func(u *url.URL) { u.Path = "/nowhere" }), "SELECT 1")
		}},
		{"syntax error", func() error { return execute(t.Context(), ch.DSN(), "SELEC 1") }},
		{"garbage on the native port", raw(dsn.Host, "\xff\x00\x13garbage\r\n\r\n\xfe\xfe\xfe")},
		{"a half hello", raw(dsn.Host, "\x00\x05Attun")},
		{"HTTP on the native port", raw(dsn.Host, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"garbage on the HTTP port", raw(web.Host, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc")},
		{"a half request", raw(web.Host, "POST /?query=INSERT HTTP/1.1\r\nContent-Length: 100\r\n\r\nab")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.act(); err == nil {
				t.Error("it was answered without an error")
			}
			if n := queryInt(t, ch.DSN(), "SELECT toUInt64(42)"); n != 42 {
				t.Errorf("answer afterwards: %d", n)
			}
			if err := ch.Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestClickHouseRights(t *testing.T) {
	ch := enginetest.ClickHouse(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, ch.DSN(),
		"CREATE TABLE IF NOT EXISTS attune.rights (a UInt64) ENGINE = MergeTree ORDER BY a",
		"INSERT INTO attune.rights VALUES (1)",
		"SYSTEM FLUSH LOGS") // so that query_log is there to be refused
	t.Cleanup(func() {
		if err := execute(context.Background(), ch.DSN(), "DROP TABLE attune.rights SYNC"); err != nil {
			t.Error(err)
		}
	})
	nobody, err := url.Parse(ch.DSN())
	if err != nil {
		t.Fatal(err)
	}
	nobody.User, nobody.Path = url.User("default"), "/"

	if n := queryInt(t, ch.AnalystDSN(), "SELECT sum(a) FROM rights SETTINGS max_threads = 1"); n != 1 {
		t.Errorf("the analyst reads %d", n)
	}
	outside := []string{
		fmt.Sprintf("SELECT * FROM file('%s', 'LineAsString', 'l String')", secret),
		fmt.Sprintf("SELECT * FROM default.`%s`", secret),
		"SELECT * FROM url('" + ch.HTTPURL() + "/ping', 'LineAsString', 'l String')",
		"SELECT * FROM remote('127.0.0.1', system.one)",
		"INSERT INTO FUNCTION file('out.csv', 'CSV', 'a UInt64') VALUES (1)",
		"CREATE USER x",
		"SYSTEM SHUTDOWN",
	}
	for user, refused := range map[string][]string{
		ch.DSN(): append([]string{
			"CREATE TABLE attune.x (l String) ENGINE = File(LineAsString, '" + secret + "')",
			"CREATE TABLE attune.x (l String) ENGINE = URL('" + ch.HTTPURL() + "/ping', 'LineAsString')",
			"CREATE TABLE default.x (a UInt8) ENGINE = Memory",
			"CREATE DATABASE other",
		}, outside...),
		ch.AnalystDSN(): append([]string{
			"INSERT INTO attune.rights VALUES (2)",
			"CREATE TABLE attune.x (a UInt8) ENGINE = Memory",
			"ALTER TABLE attune.rights DELETE WHERE 1",
			"DELETE FROM attune.rights WHERE 1",
			"TRUNCATE TABLE attune.rights",
			"DROP TABLE attune.rights",
			"SET readonly = 0",
			"SELECT * FROM executable('sh', 'LineAsString', 'l String')",
			"SELECT * FROM system.query_log",
			"SYSTEM STOP LISTEN TCP",
		}, outside...),
		nobody.String(): append([]string{
			"SELECT * FROM attune.rights",
			"INSERT INTO attune.rights VALUES (2)",
			"CREATE TABLE attune.x (a UInt8) ENGINE = Memory",
		}, outside...),
	} {
		name := strings.Split(user, ":")[1][2:]
		conn, err := openDSN(user)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range refused {
			err := conn.Exec(t.Context(), q)
			const denied, readonly = 497, 164
			refusal := (*clickhouse.Exception)(nil)
			if !errors.As(err, &refusal) || (refusal.Code != denied && refusal.Code != readonly) {
				t.Errorf("user %s: %s: %v", name, q, err)
			}
		}
		conn.Close()
	}
	if n := queryInt(t, ch.DSN(), "SELECT sum(a) FROM attune.rights"); n != 1 {
		t.Errorf("the table holds %d", n)
	}
}

// TestClickHouseSchemaFeatures runs what a schema of ours is made of, as the application's user.
func TestClickHouseSchemaFeatures(t *testing.T) {
	dsn := enginetest.Database(t)
	mustExecute(t, dsn,
		`CREATE TABLE events (day Date, profile String, amount Decimal(18, 4), props JSON(sku String),
			INDEX by_profile profile TYPE bloom_filter GRANULARITY 4)
			ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY (day, profile) TTL day + INTERVAL 25 MONTH DELETE
			SETTINGS non_replicated_deduplication_window = 100`,
		`CREATE TABLE totals (day Date, n AggregateFunction(count), people AggregateFunction(uniq, String))
			ENGINE = AggregatingMergeTree ORDER BY day`,
		`CREATE MATERIALIZED VIEW totals_mv TO totals AS SELECT day, countState() AS n, uniqState(profile) AS people FROM events GROUP BY day`,
		`CREATE VIEW per_day AS SELECT day, countMerge(n) AS n FROM totals GROUP BY day`,
		`CREATE TABLE profiles (profile String, version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY profile`,
		`CREATE MATERIALIZED VIEW daily REFRESH EVERY 1 DAY ENGINE = MergeTree ORDER BY tuple() AS SELECT day, sum(amount) AS s FROM events GROUP BY day`,
		`SYSTEM REFRESH VIEW daily`,
		`CREATE DICTIONARY names (profile String, version UInt64) PRIMARY KEY profile SOURCE(NULL()) LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)`,
		`INSERT INTO events VALUES ('2026-11-23', 'p1', 1.5, '{"sku":"s"}')`,
		`ALTER TABLE events ADD COLUMN IF NOT EXISTS score Float64`,
		`DELETE FROM events WHERE profile = 'p0'`,
		`ALTER TABLE events DELETE WHERE profile = 'p0' SETTINGS mutations_sync = 1`,
		`ALTER TABLE events APPLY DELETED MASK SETTINGS mutations_sync = 1`,
		`ALTER TABLE events ADD PROJECTION p (SELECT profile, count() GROUP BY profile)`,
		`OPTIMIZE TABLE events FINAL`,
		`CREATE TEMPORARY TABLE scratch (a UInt8)`,
		`RENAME TABLE profiles TO people`,
		`CREATE TABLE people2 AS people`,
		`EXCHANGE TABLES people AND people2`,
		`KILL QUERY WHERE query_id = 'none'`,
		`SYSTEM FLUSH LOGS`,
		`SELECT * FROM system.parts FORMAT Null`,
	)
	if n := queryInt(t, dsn, "SELECT n FROM per_day"); n != 1 {
		t.Errorf("the roll-up has %d", n)
	}
}

func TestClickHouseEndsUnasked(t *testing.T) {
	ch := startClickHouse(t, embedded.ClickHouseConfig{Dir: t.TempDir(), NoFsync: true})
	if n := queryInt(t, ch.DSN(), "SELECT toUInt64(timezone() = 'UTC')"); n != 1 {
		t.Error("the server's time zone isn't UTC")
	}
	if n := queryInt(t, ch.DSN(), "SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'fsync_after_insert'"); n != 0 {
		t.Errorf("fsync_after_insert = %d with NoFsync", n)
	}
	if n := queryInt(t, ch.DSN(), "SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'min_parts_to_merge_at_once'"); n != 16 {
		t.Errorf("merges wait for %d parts, want 16", n)
	}
	if err := ch.Err(); err != nil {
		t.Errorf("Err() while it runs: %v", err)
	}
	child, err := os.FindProcess(ch.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ch.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("Done isn't closed")
	}
	if err := ch.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Err() = %v", err)
	}
	if err := ch.Stop(t.Context()); err == nil {
		t.Error("Stop hides that the server had ended before")
	}
}

func TestClickHouseStopWithoutTimeKills(t *testing.T) {
	dir := t.TempDir()
	ch := startClickHouse(t, embedded.ClickHouseConfig{Dir: dir, NoFsync: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ch.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-ch.Done():
	default:
		t.Error("Stop returned while the server runs")
	}
	startClickHouse(t, embedded.ClickHouseConfig{Dir: dir, NoFsync: true}) // and the folder is free
}

func TestClickHouseStartIsCancelled(t *testing.T) {
	library := enginetest.Library(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := embedded.StartClickHouse(ctx, embedded.ClickHouseConfig{Library: library, Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("start: %v", err)
	}
	lock, err := embedded.StartClickHouse(t.Context(), embedded.ClickHouseConfig{Library: library, Dir: dir, NoFsync: true})
	if err != nil {
		t.Fatalf("nothing may be left of the cancelled start: %v", err)
	}
	lock.Stop(t.Context())
}

func TestClickHouseGuards(t *testing.T) {
	t.Run("library is looked at first", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "data")
		for _, library := range []string{"", filepath.Join(t.TempDir(), "libchdb.so"), t.TempDir()} {
			_, err := embedded.StartClickHouse(t.Context(), embedded.ClickHouseConfig{Library: library, Dir: dir})
			if !errors.Is(err, embedded.ErrNoLibrary) {
				t.Errorf("library %q: %v", library, err)
			}
		}
		if _, err := os.Stat(dir); err == nil {
			t.Error("the data folder was made for nothing")
		}
	})
	t.Run("no server inside a child", func(t *testing.T) {
		t.Setenv("ATTUNE_CLICKHOUSE_CHILD", "")
		_, err := embedded.StartClickHouse(t.Context(), embedded.ClickHouseConfig{Library: os.Args[0], Dir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "MaybeClickHouse") {
			t.Errorf("start: %v", err)
		}
	})
	for name, library := range map[string]string{
		"child without a library":        "",
		"child with a missing library":   filepath.Join(t.TempDir(), "libchdb.so"),
		"child with a file of no use":    os.Args[0],
		"child with a folder as library": t.TempDir(),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestLockInOneProcess$")
			cmd.Env = append(os.Environ(), "ATTUNE_CLICKHOUSE_CHILD="+library)
			out, err := cmd.CombinedOutput()
			exit := (*exec.ExitError)(nil)
			if !errors.As(err, &exit) || exit.ExitCode() < 69 || exit.ExitCode() > 72 {
				t.Errorf("ended with %v: %s", err, out)
			}
			if !strings.Contains(string(out), "embedded clickhouse: ") || strings.Contains(string(out), "PASS") {
				t.Errorf("it went on as a parent: %s", out)
			}
		})
	}
}
