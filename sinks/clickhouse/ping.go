package clickhouse

import (
	"context"
	"fmt"
)

// Ping tells whether the server answers, for readiness. It is safe for concurrent use.
func (s *Sink) Ping(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("clickhouse: %w", plain(err))
	}
	return nil
}
