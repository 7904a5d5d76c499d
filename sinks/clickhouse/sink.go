package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/cenkalti/backoff/v4"

	"attune/pipeline"
)

var _ pipeline.Sink = (*Sink)(nil)

// Sink writes batches of facts. It is safe for concurrent use; whoever opened it closes it. It is also the
// prometheus.Collector of its metrics: register it.
type Sink struct {
	config   Config
	database string
	address  string
	conn     driver.Conn
	settings clickhouse.Settings // of every insert
	log      *slog.Logger
	metrics  metrics

	preparing sync.Mutex
	prepared  bool

	closing  sync.Once
	closed   atomic.Bool
	closeErr error
}

// Open makes a sink and prepares its database.
func Open(ctx context.Context, config Config, log *slog.Logger) (*Sink, error) {
	s, err := New(config, log)
	if err != nil {
		return nil, err
	}
	if err := s.Prepare(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// New makes a sink, and does not connect yet: where its database was not prepared, whoever writes first does it.
func New(config Config, log *slog.Logger) (*Sink, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	if config.DSN == "" {
		return nil, errors.New("open clickhouse: dsn: none given")
	}
	options, err := parseDSN(config.DSN)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{config: config, database: config.DatabaseName(), log: log, metrics: newMetrics()}
	options.Auth.Database = "system" // exists everywhere; our own may not yet, and every name says its database
	options.DialStrategy = inTime
	options.MaxOpenConns, options.MaxIdleConns = config.Connections, config.Connections
	if options.Compression == nil {
		options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	if s.conn, err = clickhouse.Open(options); err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	s.address = options.Addr[0]
	return s, nil
}

// Prepare connects, creates the database where it is missing, and brings its schema up to date. As long as the
// server can't be reached it tries again, until ctx ends; what another attempt can't cure (a wrong password, a
// schema that is newer than this program) is returned at once. Once it has succeeded it does nothing.
func (s *Sink) Prepare(ctx context.Context) error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if s.prepared {
		return nil
	}
	if err := s.Reach(ctx); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return fmt.Errorf("open clickhouse at %s: %w", s.address, err)
	}
	s.prepared = true
	return nil
}

func (s *Sink) prepare(ctx context.Context) error {
	err := s.retry(ctx, "read settings", func() (err error) {
		s.settings, err = knownSettings(ctx, s.conn)
		return err
	})
	if err != nil {
		return plain(err)
	}
	return (&migrator{conn: s.conn, database: s.database, log: s.log}).run(ctx, schemaFiles)
}

// Close ends the connections; calling it again does nothing. A Write under way, or after it, fails.
func (s *Sink) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.closeErr = s.conn.Close()
	})
	return s.closeErr
}

// Write stores the batch, each row once however often the same batch is written: its stream and range name it for
// good, so a repeat changes nothing, whatever it holds. It prepares the database where that was not done, and repeats
// attempts that a later one may cure, with growing pauses, until ctx ends. Any other error names the table and what to
// do; the tables before it are stored by then, and writing the batch again is safe.
func (s *Sink) Write(ctx context.Context, b pipeline.SinkBatch) error {
	if err := check(b); err != nil {
		return fmt.Errorf("write to clickhouse: %w", err)
	}
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	for _, r := range tables(b) {
		if err := s.write(ctx, r, token(b, r.table)); err != nil {
			return fmt.Errorf("write %s to clickhouse: %w", token(b, r.table), err)
		}
	}
	return nil
}

func (s *Sink) write(ctx context.Context, r *rows, token string) error {
	ctx = s.once(ctx, token)
	err := s.insert(ctx, r)
	if unparsed := r.unparsed(); aboutRows(err) && unparsed != nil && ctx.Err() == nil {
		// No payload may hold up what comes after it: without JSON to parse, none is left to fail.
		if s.insert(ctx, unparsed) == nil {
			s.log.Error("clickhouse refused a batch and took it with its JSON as text only: look for it in the _raw columns",
				"table", r.table, "rows", r.n, "token", token, "error", plain(err))
			err = nil
		}
	}
	switch {
	case err == nil:
		s.metrics.rows.WithLabelValues(r.table).Add(float64(r.n))
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w; last: %w", ctx.Err(), plain(err))
	default:
		return fmt.Errorf("%w (table %s.%s: %s)", plain(err), s.database, r.table, hint(err))
	}
}

// once has an insert under the context be stored once, by its token.
func (s *Sink) once(ctx context.Context, token string) context.Context {
	settings := maps.Clone(s.settings)
	settings["insert_deduplication_token"] = token
	return clickhouse.Context(ctx, clickhouse.WithSettings(settings))
}

func (s *Sink) insert(ctx context.Context, r *rows) error {
	return s.retry(ctx, "insert into "+r.table, func() error {
		start := time.Now()
		err := s.attempt(ctx, r)
		s.metrics.seconds.Observe(time.Since(start).Seconds())
		return err
	})
}

// attempt makes a batch of its own: one that has failed is never used again.
func (s *Sink) attempt(ctx context.Context, r *rows) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.InsertTimeout)
	defer cancel()
	batch, err := s.conn.PrepareBatch(ctx, r.insert(s.database))
	if err != nil {
		return err
	}
	for i, values := range pipeline.GivingWay(r.courtesy, r.data, 1) {
		if err := batch.Column(i).Append(values); err != nil {
			_ = batch.Abort()
			return &clientError{fmt.Errorf("column %s: %w", r.columns[i], err)}
		}
	}
	return batch.Send()
}

// retry repeats op until it succeeds, fails for good, or ctx ends; it returns op's own last error.
func (s *Sink) retry(ctx context.Context, what string, op func() error) error {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(min(100*time.Millisecond, s.config.RetryPause)),
		backoff.WithMaxInterval(s.config.RetryPause), backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
	var last error
	err := backoff.RetryNotify(func() error {
		if last = op(); last != nil && (ctx.Err() != nil || s.closed.Load() || !temporary(last)) {
			return backoff.Permanent(last)
		}
		return last
	}, backoff.WithContext(pauses, ctx), func(err error, pause time.Duration) {
		s.metrics.retries.Inc()
		s.log.Warn("clickhouse failed, trying again", "step", what, "error", plain(err), "pause", pause)
	})
	if err != nil && last != nil {
		return last
	}
	return err // nil, or ctx ended before the first attempt
}

// knownSettings are the settings of every insert, as far as the server knows them.
func knownSettings(ctx context.Context, conn driver.Conn) (clickhouse.Settings, error) {
	wanted := clickhouse.Settings{
		// Each row once, in materialized views too.
		"insert_deduplicate": 1,
		"deduplicate_insert": "enable",
		"deduplicate_blocks_in_dependent_materialized_views": 1,
		"async_insert": 0,
		// A batch has a profile once, and a view's sums are grouped: there is nothing to merge before it is stored.
		"optimize_on_insert": 0,
		// One insert is one block, wherever its rows belong.
		"max_insert_block_size":           MaxBatchRows + 48_449,
		"max_partitions_per_insert_block": 0,
		// JSON as it was written: text stays text, and of a path that comes twice the first counts.
		"type_json_skip_duplicated_paths":  1,
		"input_format_try_infer_dates":     0,
		"input_format_try_infer_datetimes": 0,
		"input_format_json_max_depth":      1000,
	}
	known := clickhouse.Settings{}
	rows, err := conn.Query(ctx, "SELECT name FROM system.settings")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	token := false
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if value, ok := wanted[name]; ok {
			known[name] = value
		}
		token = token || name == "insert_deduplication_token"
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !token {
		return nil, &clientError{errors.New("the server knows no insert_deduplication_token: use ClickHouse 25.8 or newer")}
	}
	return known, nil
}
