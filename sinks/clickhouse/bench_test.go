package clickhouse

import (
	"testing"
	"time"

	"attune/pipeline"
)

// BenchmarkWrite writes batches of 20,000 events, and the same rows by a bare batch of the client in turn.
func BenchmarkWrite(b *testing.B) {
	const n = 20_000
	sink := setup(b)
	var ours, bare time.Duration
	next := uint64(1)
	for b.Loop() {
		batch := numbered(next, n, 0, 1, 2, 3)
		for i := range batch.Parts {
			batch.Parts[i].Facts = pipeline.Facts{Events: batch.Parts[i].Facts.Events}
			batch.Parts[i].Profiles = nil
			for j := range batch.Parts[i].Facts.Events {
				batch.Parts[i].Facts.Events[j].Event.Type = "track" // one table
			}
		}
		next += 10
		start := time.Now()
		if err := sink.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(start)

		r := eventRows(batch)
		start = time.Now()
		plain, err := sink.direct.PrepareBatch(b.Context(), r.insert(sink.database))
		if err != nil {
			b.Fatal(err)
		}
		for i, values := range r.data {
			if err := plain.Column(i).Append(values); err != nil {
				b.Fatal(err)
			}
		}
		if err := plain.Send(); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(start)
	}
	rows := float64(b.N * n)
	b.ReportMetric(rows/ours.Seconds(), "rows/s")
	b.ReportMetric(rows/bare.Seconds(), "bare-rows/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-bare")
}
