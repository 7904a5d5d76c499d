package main

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/event"
	"attune/sinks/clickhouse"
	"attune/stages/enrich/clv/fit"
)

// What a customer's day comes to is no more than money can say, as in profiles: what training reads, and the audit.
func TestMoreThanMoneyCanSay(t *testing.T) {
	const days, until = 500, 380
	log := purchases(1, days, 0)
	offset := int32(auditedNow.Unix()/86400) - days
	shifted := slices.Clone(log)
	for i := range shifted {
		shifted[i].Day += offset
	}
	a := audit(t)
	a.apply(t, fstest.MapFS{}, trained(t, shifted, until+offset))
	for d := range int32(3) {
		for range 2 {
			log = append(log, fit.Purchase{Customer: "rich", Day: 100 + d, Amount: 9e18})
		}
	}
	log = append(log, fit.Purchase{Customer: "poor", Day: 100, Amount: -9e18})
	a.facts(t, log, days, false)
	got, err := (&archive{dsn: a.dsn}).orderDays(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]event.Money{}
	for _, p := range got {
		if p.Customer == "rich" || p.Customer == "poor" {
			sums[fmt.Sprint(p.Customer, " ", p.Day-offset)] = p.Amount
		}
	}
	if diff := cmp.Diff(map[string]event.Money{"rich 100": math.MaxInt64, "rich 101": math.MaxInt64, "rich 102": math.MaxInt64, "poor 100": 0}, sums); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	report, err := a.report(t.Context(), auditedNow)
	if err != nil || len(report.Failed) > 0 {
		t.Errorf("the audit failed: %v, %+v", err, report)
	}
}

// What can't be read of the past voids only the checks that need it: the others are told, stored and measured.
func TestAuditTellsWhatItCouldRead(t *testing.T) {
	const days, until = 500, 380
	log := purchases(1, days, 0)
	a := audit(t)
	a.apply(t, fstest.MapFS{}, trained(t, log, until))
	a.facts(t, log, days, false)
	if err := clickhouse.Query(t.Context(), a.dsn, "DROP VIEW merged_profiles SYNC", "", io.Discard); err != nil {
		t.Fatal(err)
	}
	report, err := a.report(t.Context(), auditedNow)
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]bool{}
	for _, r := range report.Readings {
		read[r.Check] = true
	}
	if want := []string{checkMissing, checkAge, checkVolume}; !slices.Equal(slices.Sorted(maps.Keys(read)), slices.Sorted(slices.Values(want))) {
		t.Errorf("read %v, want %v", read, want)
	}
	if len(report.Failed) != 1 || !slices.Contains(report.Failed[0].Checks, checkPSI) || !strings.Contains(report.Failed[0].Error, "merged_profiles") {
		t.Errorf("failed: %+v", report.Failed)
	}

	var out, errs strings.Builder
	code := run(t.Context(), []string{"audit", "--config", a.file}, streams{out: &out, err: &errs})
	const said = "not all of psi, log_loss, calibration could be read: "
	if code != exitFailed || !strings.Contains(out.String(), checkAge) || !strings.Contains(out.String(), said) || errs.Len() > 0 {
		t.Errorf("exit code %d: %s%s", code, &out, &errs)
	}
	registry := prometheus.NewRegistry()
	metrics, err := newAuditMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	logs := new(lockedBuffer)
	job := &auditJob{auditor: a.auditor, every: time.Hour, sink: a.sink, owner: everyone{}, metrics: metrics, log: slog.New(slog.NewTextHandler(logs, nil))}
	if err := job.audit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var stored strings.Builder
	if err := clickhouse.Query(t.Context(), a.dsn, "SELECT check FROM drift", "TSV", &stored); err != nil || stored.String() != checkAge+"\n" {
		t.Errorf("the view says %q: %v", stored.String(), err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	failed := 0.0
	for _, f := range families {
		if f.GetName() == "attune_audit_failed_checks" {
			failed = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	if failed != 3 || !strings.Contains(logs.String(), "a part of the audit failed") {
		t.Errorf("metrics %v, the log says %s", families, logs)
	}
}

// Where nothing can be read at all there is no report.
func TestAuditOfNothing(t *testing.T) {
	a := audit(t)
	a.dsn = "http://127.0.0.1:1/attune"
	if report, err := a.report(t.Context(), auditedNow); err == nil {
		t.Errorf("no error, and the report %+v", report)
	}
}
