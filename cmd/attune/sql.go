package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"attune/sinks/clickhouse"
)

// sqlCommand runs one query.
type sqlCommand struct {
	Query  string `arg:"" help:"A statement; - reads it from standard input. The database is attune."`
	Format string `placeholder:"NAME" help:"Any of ClickHouse's output formats, such as JSONEachRow, CSVWithNames, Vertical (default: a table)."`
	target
}

// Run is the command.
func (q *sqlCommand) Run(ctx context.Context, s streams) error {
	c, err := q.load()
	if err != nil {
		return err
	}
	query := q.Query
	if query == "-" {
		text, err := io.ReadAll(s.in)
		if err != nil {
			return err
		}
		query = string(text)
	}
	dsn, err := c.ClickHouse.QueryDSN()
	if err != nil {
		return err
	}
	err = clickhouse.Query(ctx, dsn, strings.TrimSpace(query), q.Format, s.out)
	if unreachable := new(net.OpError); errors.As(err, &unreachable) && c.ClickHouse.HTTP == "" {
		return fmt.Errorf("%w; queries go by HTTP: set clickhouse.http in attune.yaml where it listens elsewhere", err)
	}
	return err
}
