package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Reach waits until the server answers and lets us in, as Prepare does before anything else.
func (s *Sink) Reach(ctx context.Context) error {
	if err := s.retry(ctx, "connect", func() error { return s.conn.Ping(ctx) }); err != nil {
		return fmt.Errorf("open clickhouse at %s: %w; %s", s.address, plain(err), hint(err))
	}
	return nil
}

// Ping tells whether the server answers, for readiness. It is safe for concurrent use.
func (s *Sink) Ping(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("clickhouse: %w", plain(err))
	}
	return nil
}

// inTime dials as the client does, but is done with a server that says nothing when the context is: the client itself waits
// for dial_timeout then, 30 seconds by default.
func inTime(ctx context.Context, connID int, options *clickhouse.Options, dial clickhouse.Dial) (clickhouse.DialResult, error) {
	if deadline, ok := ctx.Deadline(); ok {
		own := *options
		own.DialTimeout = min(own.DialTimeout, time.Until(deadline))
		options = &own
	}
	return clickhouse.DefaultDialStrategy(ctx, connID, options, dial)
}
