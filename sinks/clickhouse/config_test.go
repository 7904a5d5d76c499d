package clickhouse

import (
	"strings"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"rows", func(c *Config) { c.BatchRows = 0 }, "batch_rows: 0: want 1 to 1000000"},
		{"many rows", func(c *Config) { c.BatchRows = 1_000_001 }, "batch_rows"},
		{"interval", func(c *Config) { c.BatchInterval = time.Hour }, "batch_interval: 1h0m0s: want 10ms to 1m0s"},
		{"connections", func(c *Config) { c.Connections = 101 }, "connections: 101"},
		{"timeout", func(c *Config) { c.InsertTimeout = 0 }, "insert_timeout"},
		{"pause", func(c *Config) { c.RetryPause = 0 }, "retry_pause"},
		{"database", func(c *Config) { c.Database = "a`b" }, "database: \"a`b\""},
		{"DSN's database", func(c *Config) { c.DSN = "clickhouse://h:9000/a-b" }, "database: \"a-b\""},
		{"http", func(c *Config) { c.HTTP = "localhost:8123" }, "http: want an address"},
		{"DSN", func(c *Config) { c.DSN = "clickhouse://u:sec%ret@h:9000/a" }, "dsn: no URL"},
		{"no host", func(c *Config) { c.DSN = "localhost" }, "dsn: no address"},
		{"scheme", func(c *Config) { c.DSN = "mysql://u:secret@h:1/a" }, "dsn: "},
		{"port", func(c *Config) { c.DSN = "clickhouse://u:sec/ret@h:1/a" }, "dsn: "},
		{"hosts", func(c *Config) { c.DSN = "clickhouse://u:sec,ret@a,b/x" }, "dsn: several addresses"},
		{"hosts and a port", func(c *Config) { c.DSN = "clickhouse://u:p@a,b:9000/x" }, "dsn: several addresses"},
		{"hosts and ports", func(c *Config) { c.DSN = "clickhouse://u:sec,ret@a:9000,b:9000/x" }, "dsn: several addresses"},
		{"hosts twice", func(c *Config) { c.DSN = "http://a:8123,a:8123/x" }, "dsn: several addresses"},
		{"hosts beside", func(c *Config) { c.DSN = "clickhouse://u:p@a:9000/x?alt_hosts=b:9000" }, "dsn: several addresses"},
		{"hosts before", func(c *Config) { c.DSN = "clickhouse://u:p@a:9000/x?hosts=b:9000,c:9000" }, "dsn: several addresses"},
		{"no hosts, a password", func(c *Config) { c.DSN = "clickhouse://u:sec,/ret%@h:1/a" }, "dsn: no URL"},
	} {
		c := DefaultConfig()
		test.change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "sec") && strings.Contains(err.Error(), "ret") && test.name != "timeout" {
			t.Errorf("%s: the password is in %q", test.name, err)
		}
	}
}

func TestDatabaseNameAndQueryDSN(t *testing.T) {
	for _, test := range []struct{ dsn, http, database, wantName, wantDSN string }{
		{"clickhouse://u:p%2F@h:9000/a", "", "", "a", "http://u:p%2F@h:8123/a"},
		{"clickhouse://u:p@h:9000/a", "", "b", "b", "http://u:p@h:8123/b"},
		{"clickhouse://u:p@h:9440/?secure=true", "", "", "attune", "https://u:p@h:8443/attune"},
		{"clickhouse://u:p@h:9000", "http://other:1", "", "attune", "http://u:p@other:1/attune"},
		{"http://u:p@h:8123/a", "", "", "a", "http://u:p@h:8123/a"},
		{"clickhouse://u,v:p,q@h:9000/a,b?x=1,2", "", "c", "c", "http://u,v:p,q@h:8123/c"},
		{"clickhouse://[::1]:9000/a", "", "", "a", "http://:@[::1]:8123/a"},
		{"", "", "", "attune", ""},
	} {
		c := Config{DSN: test.dsn, HTTP: test.http, Database: test.database}
		if got := c.DatabaseName(); got != test.wantName {
			t.Errorf("%+v: database %q, want %q", test, got, test.wantName)
		}
		got, err := c.QueryDSN()
		if got != test.wantDSN || (err != nil) != (test.wantDSN == "") {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
	}
}
