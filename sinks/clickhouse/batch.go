package clickhouse

import (
	"errors"
	"fmt"
	"slices"

	"attune/pipeline"
)

// schemaVersion is part of each token. It changes with the meaning of a table's rows, never between two attempts
// at one batch.
const schemaVersion = "v1"

// token is the name under which the server knows a table's part of the batch.
func token(b pipeline.SinkBatch, table string) string {
	return fmt.Sprintf("%s/%s/%d-%d/%s", b.Stream, table, b.From, b.To, schemaVersion)
}

// check refuses what can't be named for good, and what the builders of rows don't expect.
func check(b pipeline.SinkBatch) error {
	if b.Stream == "" {
		return errors.New("batch without a stream's name")
	}
	if b.From > b.To {
		return fmt.Errorf("batch of %s: range %d-%d ends before it begins", b.Stream, b.From, b.To)
	}
	for _, part := range b.Parts {
		if part.Partition < 0 || part.Partition > 65535 {
			return fmt.Errorf("commit %d of %s: partition %d: want 0 to 65535", part.Sequence, b.Stream, part.Partition)
		}
		if part.Sequence < b.From || part.Sequence > b.To {
			return fmt.Errorf("commit %d of %s is outside of the batch's range %d-%d", part.Sequence, b.Stream, b.From, b.To)
		}
		if slices.Contains(part.Profiles, nil) {
			return fmt.Errorf("commit %d of %s: a profile is nil", part.Sequence, b.Stream)
		}
	}
	return nil
}

// tables are the batch's rows, table by table; a table without rows is left out.
func tables(b pipeline.SinkBatch) []*rows {
	all := []*rows{eventRows(b), profileRows(b), changeRows(b), decisionRows(b), messageRows(b), mergeRows(b)}
	return slices.DeleteFunc(all, func(r *rows) bool { return r.n == 0 })
}
