package clickhouse

import (
	"time"

	"attune/pipeline"
)

// mergeRows has a row for each profile that went on in another one, or that was refused to.
func mergeRows(b pipeline.SinkBatch) *rows {
	var (
		loser, winner, refused []string
		at                     []time.Time
		partitions             []uint16
		sequence               []uint64
	)
	for _, part := range b.Parts {
		for _, m := range part.Facts.Merges {
			loser, winner, refused = append(loser, m.Loser), append(winner, m.Winner), append(refused, m.Refused)
			at, sequence = append(at, moment(m.At)), append(sequence, m.Position)
			partitions = append(partitions, uint16(part.Partition))
		}
	}
	r := &rows{table: "profile_merges", n: len(loser), courtesy: b.Courtesy}
	r.add("loser", loser)
	r.add("winner", winner)
	r.add("at", at)
	r.add("refused", refused)
	r.add("partition", partitions)
	r.add("sequence", sequence)
	return r
}
