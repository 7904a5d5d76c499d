package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func TestMain(m *testing.M) { enginetest.MainNoLeaks(m) }

// bench is a sink on a fresh database and a way past it.
type bench struct {
	*Sink
	config Config
	direct driver.Conn
}

func configFor(dsn string) Config {
	c := DefaultConfig()
	c.DSN, c.RetryPause = dsn, 50*time.Millisecond
	return c
}

func setup(t testing.TB) *bench {
	t.Helper()
	return setupAt(t, configFor(enginetest.Database(t)))
}

func setupAt(t testing.TB, config Config) *bench {
	t.Helper()
	b := &bench{config: config, direct: connect(t, config.DSN), Sink: open(t, config)}
	return b
}

func open(t testing.TB, config Config) *Sink {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, config, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t testing.TB, dsn string) driver.Conn {
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

// text runs a query and gives its answer as tab-separated lines.
func (b *bench) text(t testing.TB, sql string) string {
	t.Helper()
	return queryText(t, b.config, sql)
}

func queryText(t testing.TB, config Config, sql string) string {
	t.Helper()
	return ask(t, queryDSN(t, config), sql)
}

func ask(t testing.TB, dsn, sql string) string {
	t.Helper()
	var out strings.Builder
	if err := Query(t.Context(), dsn, sql, "TSVRaw", &out); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func queryDSN(t testing.TB, config Config) string {
	t.Helper()
	config.HTTP = enginetest.ClickHouse(t).HTTPURL()
	dsn, err := config.QueryDSN()
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

func (b *bench) exec(t testing.TB, sql string) {
	t.Helper()
	if err := b.direct.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) write(t testing.TB, batch pipeline.SinkBatch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Write(ctx, batch); err != nil {
		t.Fatal(err)
	}
}

func through(t testing.TB, dsn, address string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	return u.String()
}

func at(s string) event.Instant {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return event.At(t)
}

// numbered is a batch of n events over the given partitions, a quarter of them ends of deliveries, with some of all
// other facts; first is the log position of its first event and the sequence of its first commit.
func numbered(first uint64, n int, partitions ...int) pipeline.SinkBatch {
	b := pipeline.SinkBatch{Stream: "COMMITS", From: first, To: first + uint64(len(partitions)) - 1}
	start := at("2026-01-31T23:59:00Z") // the batch crosses a month's end
	for j, partition := range partitions {
		part := pipeline.SinkPart{Partition: partition, Sequence: first + uint64(j)}
		for i := range n / len(partitions) {
			position := first*1_000_000 + uint64(i)
			who := fmt.Sprintf("p%d-%d", partition, position%97)
			e := event.Event{
				ID: fmt.Sprintf("e%d-%d", partition, position), Type: event.Track, Name: "Product Viewed", Profile: who,
				Occurred: start + event.Instant(i*100), Accepted: start + event.Instant(i*100) + 7,
				Properties: event.Object(fmt.Sprintf(`{"product_id":"sku-%d","price":%d.5,"category":"shoes"}`, i%10, i%100)),
			}
			if i%4 == 3 {
				e.Type, e.Name = event.Delivery, ""
				e.Properties = event.Object(fmt.Sprintf(`{"decision":"d%d","campaign":"c","destination":"smtp","template":"t","outcome":"accepted","attempt":1}`, i))
			}
			part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{
				Event: e, Position: position, CLV: event.Money(i) * event.MoneyUnit, Alive: 0.5, Segments: []string{"a", "b"},
			})
			if i%5 == 0 {
				part.Facts.Changes = append(part.Facts.Changes, pipeline.SegmentChange{
					Segment: "a", Profile: who, At: e.Accepted, Entered: true, Reason: pipeline.BecauseEvent, Position: position, Version: 1,
				})
				part.Facts.Decisions = append(part.Facts.Decisions, pipeline.Decision{
					ID: fmt.Sprintf("d%d-%d", partition, position), At: e.Accepted, Profile: who, Campaign: "c", Outcome: pipeline.Fired, Position: position, Version: 1,
				})
				p := profile.New(who)
				p.Now, p.Applied = e.Accepted, position
				part.Profiles = append(part.Profiles, p)
			}
		}
		b.Parts = append(b.Parts, part)
	}
	return b
}
