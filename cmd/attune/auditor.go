package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/sinks/clickhouse"
	"attune/stages/enrich/drift"
)

// The checks, as they are called in reports, metrics and audit_readings.
const (
	checkAge      = "data_age"             // hours since the last event
	checkVolume   = "volume"               // times what was expected of the last day
	checkMissing  = "null_rate"            // change of the share of events without a field
	checkPSI      = "psi"                  // population stability index
	checkLoss     = "log_loss"             // Page and Hinkley's sum, in standard deviations
	checkECE      = "calibration"          // expected calibration error
	checkCampaign = "campaign_never_fired" // mails that were ordered
	checkSegment  = "segment_unused"
	checkBlock    = "block_never_shown"
	checkField    = "field_unread"
)

// auditedNames is how many names of events are looked at, those with the most events.
const auditedNames = 20

// auditor looks over the facts in ClickHouse, the model and the workspace in force.
type auditor struct {
	dsn      string // of clickhouse.Query
	store    *control.Store
	settings config.Audit
	declared []string // fields that the installation lets pass

	now   time.Time
	found []clickhouse.Reading
}

// report runs all checks as of a moment. What could not be read voids nothing else, unless there is nothing else.
func (a *auditor) report(ctx context.Context, now time.Time) (*auditReport, error) {
	a.now, a.found = now, nil
	r := &auditReport{At: now.UTC()}
	var errs []error
	for _, one := range []struct {
		checks []string
		run    func(context.Context) error
	}{
		{[]string{checkAge, checkVolume}, a.arrivals},
		{[]string{checkMissing}, a.fields},
		{[]string{checkPSI, checkLoss, checkECE}, a.models},
		{[]string{checkCampaign, checkSegment, checkBlock, checkField}, a.definitions},
	} {
		if err := one.run(ctx); err != nil {
			errs = append(errs, err)
			r.Failed = append(r.Failed, failedChecks{one.checks, err.Error()})
		}
	}
	if err := errors.Join(errs...); err != nil && (len(a.found) == 0 || ctx.Err() != nil) {
		return nil, err
	}
	slices.SortStableFunc(a.found, func(a, b clickhouse.Reading) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Subject, b.Subject))
	})
	r.Readings = a.found
	for _, f := range a.found {
		if f.Alarm {
			r.Alarms++
		}
	}
	return r, nil
}

func (a *auditor) add(check, subject string, f drift.Finding, format string, args ...any) {
	a.found = append(a.found, clickhouse.Reading{
		Check: check, Subject: subject, Value: f.Value, Threshold: f.Threshold, Values: uint64(f.Values), Alarm: f.Alarm, Detail: fmt.Sprintf(format, args...),
	})
}

// arrivals: whether events come, and as many as usual.
func (a *auditor) arrivals(ctx context.Context) error {
	extent, err := clickhouse.EventExtent(ctx, a.dsn, a.now)
	if err != nil {
		return err
	}
	age := drift.Finding{Threshold: a.settings.DataAge.Hours(), Values: int(extent.Events), Alarm: true}
	if extent.Events == 0 {
		a.add(checkAge, "events", age, "no event has come in yet")
	} else {
		last := time.UnixMilli(extent.Last).UTC()
		age.Value = a.now.Sub(last).Hours()
		age.Alarm = a.now.Sub(last) > a.settings.DataAge
		a.add(checkAge, "events", age, "hours since the last event, of %s", last.Format(time.RFC3339))
	}
	if a.now.Sub(time.UnixMilli(extent.First)) < drift.VolumeDays*24*time.Hour {
		return nil // too early to say what is usual
	}
	volumes, err := clickhouse.Volumes(ctx, a.dsn, a.now, drift.VolumeDays, auditedNames)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		a.add(checkVolume, v.Event, drift.Volume(v.Days), "times what is usual: %.0f events in the last 24 hours, a week before %.0f", v.Days[0], v.Days[7])
	}
	return nil
}

// fields: whether events say what they said.
func (a *auditor) fields(ctx context.Context) error {
	all, err := clickhouse.MissingFields(ctx, a.dsn, a.now, auditedNames)
	for _, m := range all {
		if m.Events > 0 {
			a.add(checkMissing, m.Event+"."+m.Field, drift.NullRate(m.Missing, m.Events, m.MissingBefore, m.Before),
				"change of the share without it: missing in %.0f of %.0f events of the last 24 hours, in %.1f %% of those before", m.Missing, m.Events, 100*m.MissingBefore/m.Before)
		}
	}
	return err
}

// definitions: whether everything in the workspace in force is of use.
func (a *auditor) definitions(ctx context.Context) error {
	newest, err := a.store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil || newest.Version == 0 {
		return err
	}
	object, err := a.store.Object(ctx, newest.Hash)
	if err != nil {
		return err
	}
	workspace, err := config.DecodeWorkspace(object)
	if err != nil {
		return err
	}
	failed := a.campaigns(ctx, workspace)
	unused, err := workspace.Unused(a.declared...)
	for _, u := range unused {
		check := map[string]string{config.UnusedSegment: checkSegment, config.UnusedTemplate: checkBlock, config.UnusedField: checkField}[u.Kind]
		a.add(check, u.ID, drift.Finding{Threshold: 1, Alarm: true}, "%s", u.Why)
	}
	return errors.Join(failed, err)
}

// campaigns: a campaign that is new has time to fire.
func (a *auditor) campaigns(ctx context.Context, workspace *config.Workspace) error {
	applied, err := a.store.Since(ctx, pipeline.KindDefinitions)
	if err != nil {
		return err
	}
	since := a.now.Add(-a.settings.Quiet)
	firings, err := clickhouse.Firings(ctx, a.dsn, since)
	if err != nil {
		return err
	}
	for _, c := range workspace.Campaigns {
		var f clickhouse.Firing
		if i := slices.IndexFunc(firings, func(f clickhouse.Firing) bool { return f.Campaign == c.ID }); i >= 0 {
			f = firings[i]
		}
		known := applied.Before(since) || f.First > 0 && time.UnixMilli(f.First).Before(since)
		detail := fmt.Sprintf("fired in %d days", int(a.settings.Quiet.Hours()/24))
		if f.Others > 0 {
			detail += fmt.Sprintf("; %.0f times it did not, mostly: %s", f.Others, f.Reason)
		} else if f.Fired == 0 {
			detail += "; nothing ever triggered it"
		}
		a.add(checkCampaign, c.ID, drift.Finding{Value: f.Fired, Threshold: 1, Values: int(f.Fired + f.Others), Alarm: known && f.Fired == 0}, "%s", detail)
	}
	return nil
}
