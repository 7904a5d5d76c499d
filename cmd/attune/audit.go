package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"attune/sinks/clickhouse"
)

// exitAlarm is what attune audit ends with when it has found something: anybody can tell that from a failure (1).
const exitAlarm = 3

// auditCommand looks over the data and the workspace in force.
type auditCommand struct {
	All  bool `help:"Show what is fine too."`
	JSON bool `name:"json" help:"Print JSON, with all figures."`
	target
}

// Help tells the exit codes.
func (*auditCommand) Help() string {
	return "Exit codes: 0 nothing is wrong, 3 there are alarms, 1 the audit failed, 2 wrong usage."
}

// auditReport is what --json prints.
type auditReport struct {
	At       time.Time            `json:"at"`
	Alarms   int                  `json:"alarms"`
	Readings []clickhouse.Reading `json:"readings"`
}

// Run is the command.
func (a *auditCommand) Run(ctx context.Context, s streams) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	dsn, err := c.ClickHouse.QueryDSN()
	if err != nil {
		return err
	}
	store, disconnect, err := a.control(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	report, err := (&auditor{dsn: dsn, store: store, settings: c.Audit, declared: c.Normalize.OpenFields}).report(ctx, time.Now())
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if a.JSON {
		err = printJSON(s.out, report)
	} else {
		err = report.print(s.out, a.All)
	}
	if err == nil && report.Alarms > 0 {
		return alarmError{report.Alarms}
	}
	return err
}

// alarmError ends a command that has found something and printed it.
type alarmError struct{ alarms int }

func (e alarmError) Error() string { return fmt.Sprintf("%d alarms", e.alarms) }

func (r *auditReport) print(out io.Writer, all bool) error {
	shown := r.Readings
	if !all {
		shown = slices.DeleteFunc(slices.Clone(shown), func(r clickhouse.Reading) bool { return !r.Alarm })
	}
	if len(shown) > 0 {
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "\tCHECK\tSUBJECT\tVALUE\tTHRESHOLD\tDETAIL")
		for _, r := range shown {
			mark := map[bool]string{true: "!"}[r.Alarm]
			fmt.Fprintf(w, "%s\t%s\t%s\t%.4g\t%.4g\t%s\n", mark, r.Check, r.Subject, r.Value, r.Threshold, r.Detail)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	_, err := fmt.Fprintf(out, "%d alarms in %d figures\n", r.Alarms, len(r.Readings))
	return err
}
