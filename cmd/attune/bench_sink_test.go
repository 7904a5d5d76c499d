package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/shopspring/decimal"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/sinks/clickhouse"
)

// sinkBlock is the rows of one insert: what the sink's reader closes a batch at.
const sinkBlock = 20_000

// openSink writes batches of events through the sink, and the same rows as bare inserts of the client, column by
// column, into a table just like it.
func openSink(tb testing.TB, s scale) func() (figure, figure) {
	config := clickhouse.DefaultConfig()
	config.DSN = enginetest.Database(tb)
	sink, err := clickhouse.Open(tb.Context(), config, benchLog(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = sink.Close() })
	bare, err := openBare(tb, config.DSN)
	if err != nil {
		tb.Fatal(err)
	}
	f := newFeed(newPopulation(s.of(100_000)), zipf)
	sequence := uint64(0)
	var turns turns
	return func() (figure, figure) {
		n := s.of(20 * sinkBlock)
		var batches []pipeline.SinkBatch
		var blocks []*columns
		for left := n; left > 0; left -= sinkBlock {
			b := sinkBatch(f, min(left, sinkBlock), &sequence)
			batches, blocks = append(batches, b), append(blocks, columnsOf(b))
		}
		return turns.run(func() figure {
			watch := startWatch()
			for _, b := range batches {
				if err := sink.Write(tb.Context(), b); err != nil {
					tb.Fatal(err)
				}
			}
			return watch.perSecond(n)
		}, func() figure {
			watch := startWatch()
			for _, c := range blocks {
				if err := bare.insert(tb, c); err != nil {
					tb.Fatal(err)
				}
			}
			return watch.perSecond(n)
		})
	}
}

// sinkBatch is n events in commits of 500.
func sinkBatch(f *feed, n int, sequence *uint64) pipeline.SinkBatch {
	b := pipeline.SinkBatch{Stream: "COMMITS@bench", From: *sequence + 1}
	for left := n; left > 0; left -= benchBatch {
		*sequence++
		part := pipeline.SinkPart{Partition: int(*sequence) % benchPartitions, Sequence: *sequence}
		for range min(left, benchBatch) {
			_, e := f.next(time.Now())
			part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{
				Event: e, Position: f.ordinal, CLV: 42 * event.MoneyUnit, Alive: 0.75, Segments: []string{"hot-sneaker-fans", "loyal"},
			})
		}
		b.Parts = append(b.Parts, part)
	}
	b.To = *sequence
	return b
}

// bareInserts write to a table like the sink's.
type bareInserts struct {
	conn  driver.Conn
	table string
}

func openBare(tb testing.TB, dsn string) (*bareInserts, error) {
	options, err := driver.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	options.Compression = &driver.Compression{Method: driver.CompressionLZ4}
	options.Settings = driver.Settings{"async_insert": 0, "max_insert_block_size": clickhouse.MaxBatchRows, "input_format_try_infer_dates": 0, "input_format_try_infer_datetimes": 0}
	conn, err := driver.Open(options)
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return &bareInserts{conn, "bare"}, conn.Exec(tb.Context(), "CREATE TABLE bare AS events")
}

func (b *bareInserts) insert(tb testing.TB, c *columns) error {
	batch, err := b.conn.PrepareBatch(tb.Context(), fmt.Sprintf("INSERT INTO %s (%s)", b.table, strings.Join(c.names, ", ")))
	if err != nil {
		return err
	}
	for i, values := range c.values {
		if err := batch.Column(i).Append(values); err != nil {
			return fmt.Errorf("column %s: %w", c.names[i], err)
		}
	}
	return batch.Send()
}

// columns are a block's values, ready to be sent.
type columns struct {
	names  []string
	values []any
}

func columnsOf(b pipeline.SinkBatch) *columns {
	c := &columns{}
	text := func(name string, of func(pipeline.Enriched) string) { addColumn(c, b, name, of) }
	text("event_id", func(f pipeline.Enriched) string { return f.Event.ID })
	text("type", func(f pipeline.Enriched) string { return string(f.Event.Type) })
	text("event", func(f pipeline.Enriched) string { return f.Event.Name })
	text("profile_id", func(f pipeline.Enriched) string { return f.Event.Profile })
	text("user_id", func(f pipeline.Enriched) string { return f.Event.User })
	addColumn(c, b, "occurred", func(f pipeline.Enriched) time.Time { return f.Event.Occurred.Time() })
	addColumn(c, b, "accepted", func(f pipeline.Enriched) time.Time { return f.Event.Accepted.Time() })
	addColumn(c, b, "historical", func(f pipeline.Enriched) bool { return f.Event.Historical })
	text("properties_text", func(f pipeline.Enriched) string { return string(f.Event.Properties) })
	text("properties_keep", func(pipeline.Enriched) string { return "" })
	text("traits_text", func(pipeline.Enriched) string { return "{}" })
	text("traits_keep", func(pipeline.Enriched) string { return "" })
	text("context", func(f pipeline.Enriched) string { return string(f.Event.Context) })
	addColumn(c, b, "consent", func(f pipeline.Enriched) map[string]bool { return maps.Clone(f.Event.Consent) })
	addColumn(c, b, "revenue", func(f pipeline.Enriched) decimal.Decimal {
		revenue, _ := f.Event.Properties.Get("revenue").Money()
		return decimal.New(int64(revenue), -4)
	})
	text("currency", func(pipeline.Enriched) string { return "" })
	addColumn(c, b, "clv", func(f pipeline.Enriched) decimal.Decimal { return decimal.New(int64(f.CLV)/100, -2) })
	addColumn(c, b, "alive", func(f pipeline.Enriched) float64 { return f.Alive })
	addColumn(c, b, "segments", func(f pipeline.Enriched) []string { return f.Segments })
	addColumn(c, b, "partition", func(pipeline.Enriched) uint16 { return 0 })
	addColumn(c, b, "sequence", func(f pipeline.Enriched) uint64 { return f.Position })
	return c
}

func addColumn[T any](c *columns, b pipeline.SinkBatch, name string, of func(pipeline.Enriched) T) {
	var values []T
	for _, part := range b.Parts {
		for _, fact := range part.Facts.Events {
			values = append(values, of(fact))
		}
	}
	c.names, c.values = append(c.names, name), append(c.values, values)
}
