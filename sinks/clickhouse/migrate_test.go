package clickhouse

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/embedded/enginetest"
)

var update = flag.Bool("update", false, "write testdata/schema.golden.sql anew")

// schemaOf is what SHOW CREATE says of everything in the database.
func schemaOf(t *testing.T, c Config) string {
	t.Helper()
	var out strings.Builder
	for _, table := range strings.Fields(queryText(t, c, "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name")) {
		create := queryText(t, c, "SHOW CREATE TABLE "+table)
		out.WriteString(strings.ReplaceAll(create, c.DatabaseName(), "attune") + ";\n\n")
	}
	return out.String()
}

func TestSchemaIsTheGoldenOne(t *testing.T) {
	b := setup(t)
	got := schemaOf(t, b.config)
	golden := filepath.Join("testdata", "schema.golden.sql")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the schema changed (-want +got); if that is meant: go test ./sinks/clickhouse -run Golden -update\n%s", diff)
	}
}

func TestEveryTableAndColumnHasAComment(t *testing.T) {
	b := setup(t)
	if bare := b.text(t, "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = ''"); bare != "" {
		t.Errorf("columns without a comment:\n%s", bare)
	}
	if bare := b.text(t, "SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = ''"); bare != "" {
		t.Errorf("tables without a comment:\n%s", bare)
	}
	if loose := b.text(t, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'schema_migrations' AND NOT create_table_query LIKE '%non_replicated_deduplication_window = 10000%'"); loose != "" {
		t.Errorf("tables without a deduplication window:\n%s", loose)
	}
}

// Each step may run again after a crash between the statement and its record.
func TestEveryStepIsIdempotent(t *testing.T) {
	all, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	safe := regexp.MustCompile(`^(CREATE TABLE IF NOT EXISTS|CREATE OR REPLACE VIEW|CREATE MATERIALIZED VIEW IF NOT EXISTS|ALTER TABLE \S+ (ADD|DROP|MODIFY) (COLUMN|INDEX|SETTING) (IF (NOT )?EXISTS )?) ?`)
	for _, m := range all {
		for i, s := range m.steps {
			if !safe.MatchString(s.statement) {
				t.Errorf("%s, statement %d minds that it ran before: %.80s", m.name, i+1, s.statement)
			}
		}
	}
}

func TestMigratingAgainChangesNothing(t *testing.T) {
	b := setup(t)
	b.write(t, numbered(1, 40, 0))
	before, records := schemaOf(t, b.config), b.text(t, "SELECT count() FROM schema_migrations")
	open(t, b.config)
	if diff := cmp.Diff(before, schemaOf(t, b.config)); diff != "" {
		t.Errorf("the second migration changed the schema:\n%s", diff)
	}
	if got := b.text(t, "SELECT count() FROM schema_migrations"); got != records {
		t.Errorf("%s records, want %s as before", got, records)
	}
	if got := b.text(t, "SELECT count() FROM events"); got != "40" {
		t.Errorf("%s events, want 40", got)
	}
}

func TestMigrationGoesOnWhereItStopped(t *testing.T) {
	all, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	whole := setup(t)
	want := schemaOf(t, whole.config)
	var steps []stepID
	for _, m := range all {
		for i := range m.steps {
			steps = append(steps, stepID{m.number, uint32(i + 1)})
		}
	}
	for stopped := range steps {
		c := configFor(enginetest.Database(t))
		conn := connect(t, c.DSN)
		m := &migrator{conn: conn, database: c.DatabaseName(), log: slog.New(slog.DiscardHandler)}
		if err := m.exec(t.Context(), recordTable); err != nil {
			t.Fatal(err)
		}
		for i, id := range steps[:stopped+1] {
			s := all[id.migration-1].steps[id.step-1]
			if err := m.exec(t.Context(), s.statement); err != nil {
				t.Fatal(err)
			}
			if i < stopped { // the last one ran, and was not recorded: a crash came between
				if err := m.record(t.Context(), id, all[id.migration-1].name, s.checksum); err != nil {
					t.Fatal(err)
				}
			}
		}
		open(t, c)
		if diff := cmp.Diff(want, schemaOf(t, c)); diff != "" {
			t.Errorf("stopped after %v, the schema differs:\n%s", steps[stopped], diff)
		}
	}
}

func TestManySinksMigrateAtOnce(t *testing.T) {
	c := configFor(enginetest.Database(t))
	const sinks = 6
	errs := make([]error, sinks)
	var wait sync.WaitGroup
	for i := range sinks {
		wait.Go(func() {
			s, err := Open(t.Context(), c, nil)
			if err == nil {
				err = s.Close()
			}
			errs[i] = err
		})
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("sink %d: %v", i, err)
		}
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "schema.golden.sql"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), schemaOf(t, c)); diff != "" {
		t.Errorf("schema differs:\n%s", diff)
	}
}

func TestTheDatabaseIsMadeWhereItIsMissing(t *testing.T) {
	dsn := enginetest.Database(t)
	c := configFor(dsn)
	conn := connect(t, enginetest.ClickHouse(t).DSN())
	if err := conn.Exec(t.Context(), "DROP DATABASE "+c.DatabaseName()+" SYNC"); err != nil {
		t.Fatal(err)
	}
	open(t, c)
	if got := queryText(t, c, "SELECT count() > 0 FROM schema_migrations"); got != "1" {
		t.Errorf("got %q", got)
	}
}

func TestDatabaseAndProgramMustFit(t *testing.T) {
	for _, test := range []struct{ name, change, want string }{
		{"altered", "ALTER TABLE schema_migrations UPDATE checksum = 'other' WHERE migration = 3 AND step = 1 SETTINGS mutations_sync = 1", "0003_segment_changes, statement 1: not what ran"},
		{"newer", "INSERT INTO schema_migrations (migration, step, name, checksum) VALUES (99, 1, 'future', 'x')", "migration 99 and this program knows"},
		{"shortened", "INSERT INTO schema_migrations (migration, step, name, checksum) VALUES (3, 2, 'x', 'x')", "0003_segment_changes has no statement 2"},
		{"lengthened", "ALTER TABLE schema_migrations DELETE WHERE migration = 6 AND step = 2 SETTINGS mutations_sync = 1", "0006_views, statement 2: never ran"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := setup(t)
			b.exec(t, test.change)
			before := schemaOf(t, b.config)
			s, err := Open(t.Context(), b.config, nil)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q does not say %q", err, test.want)
			}
			if diff := cmp.Diff(before, schemaOf(t, b.config)); diff != "" {
				t.Errorf("it touched the schema:\n%s", diff)
			}
		})
	}
}

func TestMigrationFiles(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	got, err := migrations(fstest.MapFS{
		"schema/0001_a.sql": file("-- why; really\nCREATE x\n(\n  a 'semi; colon' -- not a comment line\n);\n\n  -- next\nCREATE y;\n"),
		"schema/0002_b.sql": file("CREATE z"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, m := range got {
		for i, s := range m.steps {
			text = append(text, fmt.Sprintf("%d.%d %s", m.number, i+1, s.statement))
		}
	}
	want := []string{"1.1 CREATE x\n(\n  a 'semi; colon' -- not a comment line\n)", "1.2 CREATE y", "2.1 CREATE z"}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
	for name, files := range map[string]fs.FS{
		"gap":       fstest.MapFS{"schema/0002_a.sql": file("x;")},
		"no number": fstest.MapFS{"schema/a.sql": file("x;")},
		"empty":     fstest.MapFS{"schema/0001_a.sql": file("-- nothing\n")},
	} {
		if _, err := migrations(files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	server := enginetest.ClickHouse(t)
	good := configFor(server.DSN())
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no DSN", func(c *Config) { c.DSN = "" }, "dsn: none given"},
		{"password", func(c *Config) { c.DSN = "clickhouse://attune:wrong@" + strings.SplitN(c.DSN, "@", 2)[1] }, "check the DSN's user and password"},
		{"foreign database", func(c *Config) { c.Database = "other" }, "create the database"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			s, err := Open(t.Context(), c, nil)
			if err == nil {
				s.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "wrong@") {
				t.Errorf("%q does not say %q", err, test.want)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		c := good
		c.DSN = "clickhouse://127.0.0.1:1/x"
		c.RetryPause = 10 * time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log := slog.New(cancelAfter{Handler: slog.DiscardHandler, calls: new(int), n: 3, cancel: cancel})
		if _, err := Open(ctx, c, log); err == nil || !strings.Contains(err.Error(), "refused; check that ClickHouse runs there") {
			t.Errorf("got %v, want the connection's error and what to do", err)
		}
	})
}

// Who connects and hears nothing is not held longer than it asked for.
func TestReachEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, err := New(configFor("clickhouse://"+silent.Addr().String()+"/x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Reach(ctx); err == nil || !strings.Contains(err.Error(), "check that ClickHouse runs there") {
		t.Errorf("error %v, want what to do", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it waited %s", took)
	}
}

// A sink that was not opened prepares the database for whoever writes first.
func TestWhoWritesFirstPreparesTheDatabase(t *testing.T) {
	for name, write := range map[string]func(*Sink) error{
		"a batch":  func(s *Sink) error { return s.Write(t.Context(), numbered(1, 1, 0)) },
		"readings": func(s *Sink) error { return s.WriteReadings(t.Context(), time.Now(), []Reading{{Check: "psi"}}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, err := New(configFor(enginetest.Database(t)), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := write(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// cancelAfter ends a context at the n-th record.
type cancelAfter struct {
	slog.Handler
	calls  *int
	n      int
	cancel func()
}

func (c cancelAfter) Enabled(context.Context, slog.Level) bool { return true }
func (c cancelAfter) Handle(context.Context, slog.Record) error {
	if *c.calls++; *c.calls == c.n {
		c.cancel()
	}
	return nil
}
