package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/lease"
	"attune/sinks/clickhouse"
)

// auditJob audits on a schedule, in the one worker that owns the sink: it stores what it finds and tells it as metrics.
type auditJob struct {
	auditor auditor
	every   time.Duration
	sink    *clickhouse.Sink
	owner   bus.Owner
	metrics *auditMetrics
	log     *slog.Logger
}

// auditRetry is how long after a failure the audit is tried again, if it is not due before.
const auditRetry = time.Minute

// run audits whenever it is due and this worker's, until ctx ends.
func (j *auditJob) run(ctx context.Context) error {
	return lease.Elected(ctx, j.owner, pipeline.ReaderClickHouse, func(held context.Context) {
		defer j.metrics.reset() // whoever owns the sink next tells
		for {
			wait, err := j.due(held)
			if err == nil && wait <= 0 {
				wait, err = j.every, j.audit(held)
			}
			if err != nil && held.Err() == nil {
				j.log.Warn("audit failed, trying again", "error", err)
				wait = min(auditRetry, j.every)
			}
			if !pause(held, wait) {
				return
			}
		}
	})
}

// due is how long it is until the next audit, whoever made the last. While ClickHouse is away it waits.
func (j *auditJob) due(ctx context.Context) (time.Duration, error) {
	if err := j.sink.Prepare(ctx); err != nil {
		return 0, err
	}
	last, err := clickhouse.LastAudit(ctx, j.auditor.dsn)
	if err != nil {
		return 0, err
	}
	return time.Until(last.Add(j.every)), nil
}

func (j *auditJob) audit(ctx context.Context) error {
	report, err := j.auditor.report(ctx, time.Now())
	if err != nil {
		return err
	}
	if err := j.sink.WriteReadings(ctx, report.At, report.Readings); err != nil {
		return err
	}
	j.metrics.tell(report)
	for _, f := range report.Failed {
		j.log.Warn("a part of the audit failed", "checks", f.Checks, "error", f.Error)
	}
	for _, r := range report.Readings {
		if r.Alarm {
			j.log.Info("audit alarm", "check", r.Check, "subject", r.Subject, "value", r.Value, "threshold", r.Threshold, "detail", r.Detail)
		}
	}
	return nil
}

// auditMetrics are what the latest audit found. Subjects are names of events, features and definitions, of which an audit
// looks at a bounded number.
type auditMetrics struct {
	value, alarm *prometheus.GaugeVec
	failed, last prometheus.Gauge
}

func newAuditMetrics(r prometheus.Registerer) (*auditMetrics, error) {
	labels := []string{"check", "subject"}
	m := &auditMetrics{
		value:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "attune_audit_value", Help: "The latest figure of each check of the audit; its unit is the check's, see docs/audit.md."}, labels),
		alarm:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "attune_audit_alarm", Help: "1 where the latest audit found an alarm, else 0."}, labels),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{Name: "attune_audit_failed_checks", Help: "Of how many checks the latest audit could not read every figure; its log says why."}),
		last:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "attune_audit_timestamp_seconds", Help: "When this process audited last, in seconds since 1970; 0: it is another's to do."}),
	}
	for _, c := range []prometheus.Collector{m.value, m.alarm, m.failed, m.last} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *auditMetrics) tell(report *auditReport) {
	m.reset()
	for _, r := range report.Readings {
		m.value.WithLabelValues(r.Check, r.Subject).Set(r.Value)
		alarm := 0.0
		if r.Alarm {
			alarm = 1
		}
		m.alarm.WithLabelValues(r.Check, r.Subject).Set(alarm)
	}
	for _, f := range report.Failed {
		m.failed.Add(float64(len(f.Checks)))
	}
	m.last.Set(float64(report.At.UnixMilli()) / 1000)
}

func (m *auditMetrics) reset() {
	m.value.Reset()
	m.alarm.Reset()
	m.failed.Set(0)
	m.last.Set(0)
}
