package clickhouse

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// DefaultDatabase is used where neither [Config.Database] nor the DSN's path names one.
const DefaultDatabase = "attune"

// MaxBatchRows is the most rows that one insert stores as a whole.
const MaxBatchRows = 1_000_000

// Config says where ClickHouse is and how it is written to.
type Config struct {
	// DSN is clickhouse-go's address, clickhouse://user:password@host:9000/database?secure=true. Empty: the
	// embedded server, whose address the caller puts here before [Open]. It names one server: tables are not replicated.
	DSN string `yaml:"dsn"`
	// HTTP is the base address of the HTTP interface, for queries: https://host:8443. Empty: derived from DSN,
	// port 8123, or 8443 with secure=true.
	HTTP string `yaml:"http"`
	// Database holds the tables; empty: the DSN's, else attune. It is created where it is missing.
	Database string `yaml:"database"`
	// BatchRows and BatchInterval tell the reader of the commits when a batch is full: at so many rows (1 to
	// 1,000,000, default 100,000), or so long after the batch before it (10ms to 1m, default 1s), once that is written;
	// after a pause, a full batch, or one that waited for longer than that, a tenth of that after its first commit.
	// Large batches cost ClickHouse less. One is read while another is written: both are in memory.
	BatchRows     int           `yaml:"batch_rows"`
	BatchInterval time.Duration `yaml:"batch_interval"`
	// Connections is the most connections at once, 1 to 100, default 4.
	Connections int `yaml:"connections"`
	// InsertTimeout ends one attempt at an insert, 1s to 1h, default 2m; the next one follows.
	InsertTimeout time.Duration `yaml:"insert_timeout"`
	// RetryPause is the longest pause between two attempts, 10ms to 10m, default 15s. The first is 100 ms or
	// RetryPause, whichever is shorter; each further one is about twice as long.
	RetryPause time.Duration `yaml:"retry_pause"`
}

// DefaultConfig is the configuration of the embedded server.
func DefaultConfig() Config {
	return Config{
		BatchRows: 100_000, BatchInterval: time.Second,
		Connections: 4, InsertTimeout: 2 * time.Minute, RetryPause: 15 * time.Second,
	}
}

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// Validate names every setting that is out of its range.
func (c Config) Validate() error {
	var errs []error
	if c.DSN != "" {
		if _, err := parseDSN(c.DSN); err != nil {
			errs = append(errs, err)
		}
	}
	if name := c.DatabaseName(); !databaseName.MatchString(name) {
		errs = append(errs, fmt.Errorf("database: %q: want letters, digits and _, at most 64, not a digit first", name))
	}
	if c.HTTP != "" {
		if u, err := url.Parse(c.HTTP); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, errors.New("http: want an address like http://localhost:8123"))
		}
	}
	if c.BatchRows < 1 || c.BatchRows > MaxBatchRows {
		errs = append(errs, fmt.Errorf("batch_rows: %d: want 1 to %d", c.BatchRows, MaxBatchRows))
	}
	if c.Connections < 1 || c.Connections > 100 {
		errs = append(errs, fmt.Errorf("connections: %d: want 1 to 100", c.Connections))
	}
	for _, d := range []struct {
		field     string
		v, lo, hi time.Duration
	}{
		{"batch_interval", c.BatchInterval, 10 * time.Millisecond, time.Minute},
		{"insert_timeout", c.InsertTimeout, time.Second, time.Hour},
		{"retry_pause", c.RetryPause, 10 * time.Millisecond, 10 * time.Minute},
	} {
		if d.v < d.lo || d.v > d.hi {
			errs = append(errs, fmt.Errorf("%s: %s: want %s to %s", d.field, d.v, d.lo, d.hi))
		}
	}
	return errors.Join(errs...)
}

// DatabaseName is the database in force.
func (c Config) DatabaseName() string {
	if c.Database != "" {
		return c.Database
	}
	if options, err := parseDSN(c.DSN); err == nil {
		return options.Auth.Database
	}
	return DefaultDatabase
}

// QueryDSN is the address for [Query]: the HTTP interface with the DSN's user, password and database.
func (c Config) QueryDSN() (string, error) {
	if c.DSN == "" {
		return "", errors.New("dsn: none given")
	}
	options, err := parseDSN(c.DSN)
	if err != nil {
		return "", err
	}
	base := c.HTTP
	if base == "" {
		host, _, err := net.SplitHostPort(options.Addr[0])
		if err != nil {
			return "", fmt.Errorf("dsn: address %q: %w", options.Addr[0], err)
		}
		switch {
		case options.Protocol == clickhouse.HTTP && options.TLS != nil:
			base = "https://" + options.Addr[0]
		case options.Protocol == clickhouse.HTTP:
			base = "http://" + options.Addr[0]
		case options.TLS != nil:
			base = "https://" + net.JoinHostPort(host, "8443")
		default:
			base = "http://" + net.JoinHostPort(host, "8123")
		}
	}
	u, err := url.Parse(base)
	if err != nil {
		return "", errors.New("http: want an address like http://localhost:8123")
	}
	u.User = url.UserPassword(options.Auth.Username, options.Auth.Password)
	u.Path = "/" + c.DatabaseName()
	return u.String(), nil
}

// parseDSN never repeats the DSN in its error: it holds a password.
func parseDSN(dsn string) (*clickhouse.Options, error) {
	const want = "dsn: %w: want clickhouse://user:password@host:9000/database"
	u, err := url.Parse(dsn)
	if err != nil && severalHosts(dsn) { // each with a port
		return nil, errors.New(several)
	}
	if err != nil { // whose own words may quote a part of the password
		return nil, fmt.Errorf(want, errors.New("no URL (special characters in a password are written as %2F and the like)"))
	}
	if !slices.Contains([]string{"clickhouse", "tcp", "native", "http", "https"}, u.Scheme) || u.Host == "" {
		return nil, fmt.Errorf(want, errors.New("no address of ClickHouse"))
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf(want, err)
	}
	if len(options.Addr) == 0 {
		return nil, fmt.Errorf(want, errors.New("no host"))
	}
	if len(options.Addr) > 1 { // in the host, hosts or alt_hosts
		return nil, errors.New(several)
	}
	if options.Auth.Database == "" {
		options.Auth.Database = DefaultDatabase
	}
	return options, nil
}

// several refuses what would look as if it worked: tables would be made on the server that happens to answer, an insert
// whose end is unclear repeated on another, which has not seen it, and queries would ask the first alone.
const several = "dsn: several addresses: the tables are not replicated, so all of them have to be on one server; give its address " +
	"alone, and no balancer's that leads to several, not even if it keeps a connection to one"

// severalHosts tells whether the part of a DSN that names the host holds a list.
func severalHosts(dsn string) bool {
	_, rest, _ := strings.Cut(dsn, "://")
	authority, after := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, after = rest[:i], rest[i:]
	}
	if strings.Contains(after, "@") { // a password that was not escaped
		return false
	}
	return strings.Contains(authority[strings.LastIndex(authority, "@")+1:], ",")
}
