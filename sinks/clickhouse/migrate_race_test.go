package clickhouse

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"attune/pipeline/embedded/enginetest"
)

// overtaken is a connection whose owner is overtaken by another sink, which migrates to the end just as a statement is to
// run.
type overtaken struct {
	driver.Conn
	before string // the statement
	other  func()
	dies   bool // the owner, right after the statement
	ran    []string
}

var errDied = errors.New("died")

func (o *overtaken) Exec(ctx context.Context, query string, args ...any) error {
	switch {
	case o.other != nil && strings.Contains(query, o.before):
		o.other()
		o.other = nil
		if err := o.Conn.Exec(ctx, query, args...); err != nil {
			return err
		}
		if o.dies {
			return &clientError{errDied}
		}
		return nil
	case o.other == nil && !strings.HasPrefix(query, "INSERT INTO"):
		o.ran = append(o.ran, query)
	}
	return o.Conn.Exec(ctx, query, args...)
}

// A sink that another one overtakes, wherever that happens, runs no step a second time and brings back no older view: not
// even where it dies before it could.
func TestASlowerSinkUndoesNothing(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "schema.golden.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, before string
		dies         bool
	}{
		{"at its first table", "schema_migrations", false},
		{"at the events", ".events\n", false},
		{"at an old view", "`.attribution\n", false},
		{"at an old view, and dies", "`.attribution\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := configFor(enginetest.Database(t))
			conn := &overtaken{Conn: connect(t, c.DSN), before: test.before, dies: test.dies, other: func() { open(t, c) }}
			m := &migrator{conn: conn, database: c.DatabaseName(), log: slog.New(slog.DiscardHandler)}
			if err := m.run(t.Context(), schemaFiles); errors.Is(err, errDied) != test.dies || err != nil && !test.dies {
				t.Fatal(err)
			}
			if conn.other != nil {
				t.Fatal("nobody overtook it")
			}
			if len(conn.ran) > 0 {
				t.Errorf("it ran again what the other had run:\n%s", strings.Join(conn.ran, "\n"))
			}
			if diff := cmp.Diff(string(golden), schemaOf(t, c)); diff != "" {
				t.Errorf("the schema differs (-want +got):\n%s", diff)
			}
		})
	}
}

// A database that has the views of before gets the new ones, and every version of a view but the last gives way.
func TestViewsAreReplaced(t *testing.T) {
	all, err := migrations(schemaFiles)
	if err != nil {
		t.Fatal(err)
	}
	var replaced []string
	for _, mig := range all {
		for _, s := range mig.steps {
			if s.replaced {
				if !strings.HasPrefix(s.runs(), "CREATE VIEW IF NOT EXISTS {database}.") {
					t.Errorf("%s runs %.80s", mig.name, s.runs())
				}
				replaced = append(replaced, mig.name+" "+strings.TrimPrefix(strings.Fields(s.statement)[4], "{database}."))
			} else if s.runs() != s.statement {
				t.Errorf("%s runs %.80s", mig.name, s.runs())
			}
		}
	}
	want := []string{"0006_views campaign_performance", "0006_views funnel", "0006_views cohort_retention", "0006_views attribution"}
	if diff := cmp.Diff(want, replaced); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c := configFor(enginetest.Database(t))
	m := &migrator{conn: connect(t, c.DSN), database: c.DatabaseName(), log: slog.New(slog.DiscardHandler)}
	if err := m.exec(t.Context(), recordTable); err != nil {
		t.Fatal(err)
	}
	for _, mig := range all[:14] { // as released before
		for i, s := range mig.steps {
			if err := m.exec(t.Context(), s.statement); err != nil {
				t.Fatal(err)
			}
			if err := m.record(t.Context(), stepID{mig.number, uint32(i + 1)}, mig.name, s.checksum); err != nil {
				t.Fatal(err)
			}
		}
	}
	open(t, c)
	golden, err := os.ReadFile(filepath.Join("testdata", "schema.golden.sql"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), schemaOf(t, c)); diff != "" {
		t.Errorf("the schema differs (-want +got):\n%s", diff)
	}
}
