package enginetest

import (
	"net/url"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func TestMain(m *testing.M) { MainNoLeaks(m) }

func open(t *testing.T, dsn string) clickhouse.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestDatabaseIsFreshAndDropped(t *testing.T) {
	var first string
	for range 2 { // the same table in both: they are two databases
		t.Run("one", func(t *testing.T) {
			dsn := Database(t)
			if dsn == first {
				t.Fatal("two tests got one database")
			}
			first = dsn
			if err := open(t, dsn).Exec(t.Context(), "CREATE TABLE x (a UInt8) ENGINE = MergeTree ORDER BY a"); err != nil {
				t.Fatal(err)
			}
		})
	}
	u, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	if err := open(t, ClickHouse(t).DSN()).QueryRow(t.Context(),
		"SELECT count() FROM system.databases WHERE name = $1", u.Path[1:]).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("database %s is still there", u.Path[1:])
	}
}

func TestNATS(t *testing.T) {
	conn, err := NATS(t).Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}
