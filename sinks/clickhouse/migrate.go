package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/cenkalti/backoff/v4"
)

// migrateWithin bounds the attempts at one step.
const migrateWithin = 2 * time.Minute

// recordTable holds a row per step that has run. Two sinks may write the same row: it counts once.
const recordTable = `CREATE TABLE IF NOT EXISTS {database}.schema_migrations
(
    migration UInt32 COMMENT 'Number of the migration, from 1',
    step UInt32 COMMENT 'Statement within it, from 1',
    name String COMMENT 'Name of the migration',
    checksum String COMMENT 'SHA-256 of the statement, hexadecimal',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it ran; UTC'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY (migration, step)
COMMENT 'Which statements of the schema have run'`

// migrator brings a database's schema up to date. Any number of them may run at once: each statement minds none
// that ran before, undoes none that comes after, and a step is recorded after it ran.
type migrator struct {
	conn     driver.Conn
	database string
	log      *slog.Logger
}

type stepID struct{ migration, step uint32 }

func (m *migrator) run(ctx context.Context, files fs.FS) error {
	all, err := migrations(files)
	if err != nil {
		return err
	}
	if err := m.createDatabase(ctx); err != nil {
		return fmt.Errorf("migrate %s: create the database: %w", m.database, err)
	}
	if err := m.exec(ctx, recordTable); err != nil {
		return fmt.Errorf("migrate %s: create schema_migrations: %w", m.database, err)
	}
	for n := 0; ; n++ {
		// Read anew before each step: what another sink has run meanwhile is not run again.
		applied, err := m.applied(ctx)
		if err != nil {
			return fmt.Errorf("migrate %s: read schema_migrations: %w", m.database, err)
		}
		pending, err := compare(all, applied)
		if err != nil {
			return fmt.Errorf("migrate %s: %w", m.database, err)
		}
		if len(pending) == 0 {
			if n > 0 {
				m.log.Info("clickhouse schema migrated", "database", m.database, "statements", n)
			}
			return nil
		}
		id := pending[0]
		mig := all[id.migration-1]
		s := mig.steps[id.step-1]
		if err := m.exec(ctx, s.runs()); err != nil {
			return fmt.Errorf("migrate %s: %s, statement %d: %w", m.database, mig.name, id.step, err)
		}
		if err := m.record(ctx, id, mig.name, s.checksum); err != nil {
			return fmt.Errorf("migrate %s: record %s, statement %d: %w", m.database, mig.name, id.step, err)
		}
	}
}

// compare returns the steps that are still to run, in their order. An error means that the database and this
// program don't fit each other.
func compare(all []migration, applied map[stepID]string) (pending []stepID, err error) {
	var newest stepID
	for id := range applied {
		if id.migration > newest.migration || id.migration == newest.migration && id.step > newest.step {
			newest = id
		}
	}
	if int(newest.migration) > len(all) {
		return nil, fmt.Errorf("the database has migration %d and this program knows %d: it is older than the database; "+
			"run the newer version, or use another database", newest.migration, len(all))
	}
	for _, mig := range all {
		for i, s := range mig.steps {
			id := stepID{mig.number, uint32(i + 1)}
			checksum, done := applied[id]
			delete(applied, id)
			later := id.migration < newest.migration || id.migration == newest.migration && id.step < newest.step
			switch {
			case done && checksum != s.checksum:
				return nil, fmt.Errorf("%s, statement %d: not what ran in this database (it has checksum %.12s, this program %.12s): "+
					"a migration never changes once it was released; put it back and write a new one", mig.name, id.step, checksum, s.checksum)
			case !done && later:
				return nil, fmt.Errorf("%s, statement %d: never ran in this database, though later ones did: "+
					"a migration never changes once it was released; put it back and write a new one", mig.name, id.step)
			case !done:
				pending = append(pending, id)
			}
		}
	}
	for id := range applied { // steps that no file has
		return nil, fmt.Errorf("%s has no statement %d, which ran in this database: a migration never changes once it was "+
			"released; put it back, or run the version that has it", all[id.migration-1].name, id.step)
	}
	return pending, nil
}

func (m *migrator) createDatabase(ctx context.Context) error {
	var n uint64
	err := m.retry(ctx, func() error {
		return m.conn.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = $1", m.database).Scan(&n)
	})
	if err != nil || n > 0 { // it may be there without the right to make it
		return err
	}
	return m.exec(ctx, "CREATE DATABASE IF NOT EXISTS {database} ENGINE = Atomic")
}

func (m *migrator) applied(ctx context.Context) (map[stepID]string, error) {
	applied := map[stepID]string{}
	err := m.retry(ctx, func() error {
		clear(applied)
		rows, err := m.conn.Query(ctx, m.expand("SELECT migration, step, checksum FROM {database}.schema_migrations FINAL"))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				id       stepID
				checksum string
			)
			if err := rows.Scan(&id.migration, &id.step, &checksum); err != nil {
				return err
			}
			applied[id] = checksum
		}
		return rows.Err()
	})
	return applied, err
}

func (m *migrator) record(ctx context.Context, id stepID, name, checksum string) error {
	return m.retry(ctx, func() error {
		return m.conn.Exec(ctx, m.expand("INSERT INTO {database}.schema_migrations (migration, step, name, checksum) VALUES ($1, $2, $3, $4)"),
			id.migration, id.step, name, checksum)
	})
}

func (m *migrator) exec(ctx context.Context, statement string) error {
	return m.retry(ctx, func() error { return m.conn.Exec(ctx, m.expand(statement)) })
}

func (m *migrator) expand(statement string) string {
	return strings.ReplaceAll(statement, "{database}", "`"+m.database+"`")
}

// retry repeats what another sink at the same work, or a server that is busy, made fail.
func (m *migrator) retry(ctx context.Context, op func() error) error {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(migrateWithin))
	err := backoff.RetryNotify(func() error {
		err := op()
		if err != nil && !temporary(err) && !contended(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(pauses, ctx), func(err error, pause time.Duration) {
		m.log.Warn("clickhouse migration retried", "database", m.database, "error", plain(err), "pause", pause)
	})
	return plain(err)
}

// contended are the errors of two that make the same table at once.
func contended(err error) bool {
	var exception *clickhouse.Exception
	return errors.As(err, &exception) && slices.Contains([]int32{
		57, // TABLE_ALREADY_EXISTS
		82, // DATABASE_ALREADY_EXISTS
	}, exception.Code)
}
