package main

import (
	"context"

	"attune/pipeline/event"
	"attune/pipeline/rollout"
	"attune/sinks/clickhouse"
)

// olderEvents reads events that the log has lost to age, from ClickHouse.
func olderEvents(c clickhouse.Config) func(context.Context, rollout.Older, func(*event.Event, uint64) error) error {
	return func(ctx context.Context, asked rollout.Older, visit func(*event.Event, uint64) error) error {
		dsn, err := c.QueryDSN()
		if err != nil {
			return err
		}
		return clickhouse.Past(ctx, dsn, clickhouse.PastQuery(asked), visit)
	}
}
