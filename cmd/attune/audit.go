package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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
	return "Exit codes: 0 nothing is wrong, 3 there are alarms, 1 the audit failed, or a part of it, 2 wrong usage."
}

// auditReport is what --json prints.
type auditReport struct {
	At       time.Time            `json:"at"`
	Alarms   int                  `json:"alarms"`
	Readings []clickhouse.Reading `json:"readings"`
	Failed   []failedChecks       `json:"failed,omitempty"`
}

// failedChecks are checks of which not every figure could be read.
type failedChecks struct {
	Checks []string `json:"checks"`
	Error  string   `json:"error"`
}

func (f failedChecks) String() string {
	return fmt.Sprintf("not all of %s could be read: %s", strings.Join(f.Checks, ", "), f.Error)
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
	switch {
	case err != nil:
		return err
	case len(report.Failed) > 0: // whether anything else is wrong is not known
		return reportedError{errors.New("audit: a part of it failed")}
	case report.Alarms > 0:
		return alarmError{report.Alarms}
	}
	return nil
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
	for _, f := range r.Failed {
		fmt.Fprintln(out, f)
	}
	_, err := fmt.Fprintf(out, "%d alarms in %d figures\n", r.Alarms, len(r.Readings))
	return err
}
