package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/sinks/clickhouse"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
	"attune/stages/enrich/drift"
)

var updateAudit = flag.Bool("update-audit", false, "write the golden files of the audit anew")

// purchases are those of a shop that wins four customers a day. From a day on, change makes them other customers; 0: never.
func purchases(seed uint64, days, change int32) (log []fit.Purchase) {
	r := rand.New(rand.NewPCG(seed, 1))
	for c := range days * 4 {
		at, every, spend := float64(c/4), 15+60*r.ExpFloat64(), 20+60*r.Float64()
		for at < float64(days) {
			paid := spend * (0.5 + r.Float64())
			if change > 0 && at >= float64(change) {
				paid *= 4
			}
			log = append(log, fit.Purchase{Customer: fmt.Sprintf("p%d", c), Day: int32(at), Amount: event.Money(paid*100) * (event.MoneyUnit / 100)})
			step := every * r.ExpFloat64()
			if change > 0 && at+step >= float64(change) {
				step /= 4
			}
			if at += 1 + step; r.Float64() < 0.12 {
				break
			}
		}
	}
	return log
}

// trained is a model of the days before one, as attune train stores it.
func trained(t *testing.T, log []fit.Purchase, until int32) modelObject {
	t.Helper()
	var known []fit.Purchase
	for _, p := range log {
		if p.Day < until {
			known = append(known, p)
		}
	}
	made, err := fit.Train(known, clv.NameMBGNBD, 0)
	if err != nil {
		t.Fatal(err)
	}
	return modelObject{
		Models: enrich.Models{CLV: made.Model}, Calibrated: made.Calibrated,
		Card: modelCard{Card: made.Card, Population: newClientele(made.Model, known, made.Card)},
	}
}

// What has changed is told by the indices and by the log loss; where nothing has, nothing is.
func TestDriftOfCustomers(t *testing.T) {
	const days, until = 500, 380
	for seed := range uint64(6) {
		for _, change := range []int32{0, 400} {
			log := purchases(seed, days, change)
			object := trained(t, log, until)
			alarms := map[string]bool{}
			for i, f := range object.Card.Population.features(object.CLV, log, days) {
				if f := object.Card.Population.References[i].PSI(f.values); f.Alarm {
					alarms[object.Card.Population.References[i].Name] = true
				}
			}
			watch := drift.NewPageHinkley()
			for _, loss := range object.Card.Population.losses(object.Calibrated.Counts, log, object.Card.CalibrationEnd+1, days) {
				watch.Add(loss)
			}
			f := watch.Finding()
			if f.Alarm {
				alarms["log loss"] = true
			}
			t.Logf("seed %d, change at %d: %v, %+v", seed, change, alarms, f)
			if changed := change > 0; changed != (alarms["mean_spend"] && alarms["clv"] && alarms["log loss"]) || !changed && len(alarms) > 0 {
				t.Errorf("seed %d, change at %d: alarms of %v; log loss %+v", seed, change, alarms, f)
			}
		}
	}
}

// audited is a shop whose facts are in ClickHouse, with a workspace and a model in force, long before now.
type audited struct {
	auditor
	*installed
	sink *clickhouse.Sink
}

// auditedNow is later than anything that a test's broker stamps.
var auditedNow = time.Date(2100, 6, 1, 12, 0, 0, 0, time.UTC)

func audit(t *testing.T) *audited {
	t.Helper()
	c := config.Default()
	c.ClickHouse.DSN = enginetest.Database(t)
	c.ClickHouse.HTTP = enginetest.ClickHouse(t).HTTPURL()
	i := install(t, 1, fmt.Sprintf("clickhouse: {dsn: %q, http: %q}", c.ClickHouse.DSN, c.ClickHouse.HTTP))
	sink, err := clickhouse.Open(t.Context(), c.ClickHouse, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	dsn, err := c.ClickHouse.QueryDSN()
	if err != nil {
		t.Fatal(err)
	}
	return &audited{auditor{dsn: dsn, store: i.definitions.store, settings: config.DefaultAudit()}, i, sink}
}

// facts writes a shop's orders, visits and decisions. faulty: as they must not be.
func (a *audited) facts(t *testing.T, log []fit.Purchase, days int32, faulty bool) {
	t.Helper()
	part := pipeline.SinkPart{Sequence: 1}
	add := func(name, who string, at time.Time, properties string) {
		n := uint64(len(part.Facts.Events) + 1)
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: n, Event: event.Event{
			ID: fmt.Sprint("e", n), Type: event.Track, Name: name, Profile: who, User: who, Occurred: event.At(at), Accepted: event.At(at), Properties: event.Object(properties),
		}})
	}
	start := auditedNow.AddDate(0, 0, -int(days))
	for i, p := range log {
		add(event.OrderCompleted, p.Customer, start.AddDate(0, 0, int(p.Day)).Add(6*time.Hour), fmt.Sprintf(`{"order_id":"o%d","revenue":%s,"currency":"EUR"}`, i, p.Amount))
	}
	for d := range 40 {
		for i := range 60 {
			if at := auditedNow.AddDate(0, 0, -d).Add(-time.Duration(i)*20*time.Minute - time.Minute); !faulty || d > 0 || i < 5 {
				add("Product Viewed", "p1", at, `{"product_id":"sku"}`)
			}
		}
		for i := range 30 {
			properties := `{"product_id":"sku","cart_id":"c"}`
			if faulty && d == 0 && i%2 == 0 {
				properties = `{"cart_id":"c"}`
			}
			add("Product Added", "p1", auditedNow.AddDate(0, 0, -d).Add(-time.Duration(i)*40*time.Minute-time.Minute), properties)
		}
	}
	decide := func(campaign string, outcome pipeline.Outcome, reason string, daysAgo int) {
		n := len(part.Facts.Decisions)
		part.Facts.Decisions = append(part.Facts.Decisions, pipeline.Decision{
			ID: fmt.Sprint("d", n), At: event.At(auditedNow.AddDate(0, 0, -daysAgo)), Profile: "p1", Campaign: campaign, Outcome: outcome, Reason: reason,
		})
	}
	decide("cart", pipeline.Fired, "", 3)
	if !faulty {
		decide("thanks", pipeline.Fired, "", 3)
	}
	for range 7 {
		decide("thanks", pipeline.Suppressed, "no_consent", 5)
	}
	decide("thanks", pipeline.Fired, "", 45)
	if err := a.sink.Write(t.Context(), pipeline.SinkBatch{Stream: "COMMITS", From: 1, To: 1, Parts: []pipeline.SinkPart{part}}); err != nil {
		t.Fatal(err)
	}
}

func (a *audited) apply(t *testing.T, files fstest.MapFS, object modelObject) {
	t.Helper()
	files["workspace.yaml"] = &fstest.MapFile{Data: []byte("name: shop\nenrich: {loyalty: {tiers: " + map[bool]string{true: "[{name: gold, spent: 100}]", false: "[]"}[files["segments/alone.yaml"] != nil] + "}}\n")}
	ws, err := config.CheckWorkspace(files, config.DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	definitions, _, err := ws.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.store.Apply(t.Context(), pipeline.KindDefinitions, definitions, time.Now()); err != nil {
		t.Fatal(err)
	}
	a.model(object, time.Now())
}

func campaign(id, on, template string) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, "id: %s\non: %s\nsend: {destination: mail, from: a@shop.example, subject: hello, template: %s}\n", id, on, template)}
}

// A workspace with each fault, and one without any, after the same days.
func TestAudit(t *testing.T) {
	const days, until = 500, 380
	for name, faulty := range map[string]bool{"faulty": true, "sound": false} {
		t.Run(name, func(t *testing.T) {
			change := int32(0)
			files := fstest.MapFS{
				"segments/loyal.yaml": {Data: []byte("id: loyal\nwhen: customer.orders >= 3.0\n")},
				"campaigns/cart.yaml": campaign("cart", "{event: Product Added}", "cart"), "campaigns/thanks.yaml": campaign("thanks", "{segment_entered: loyal}", "thanks"),
				"templates/cart.html": {Data: []byte("cart")}, "templates/thanks.html": {Data: []byte("thanks")},
			}
			if faulty {
				change = 400
				files["segments/alone.yaml"] = &fstest.MapFile{Data: []byte("id: alone\nwhen: consent(\"email\")\n")}
				files["campaigns/never.yaml"] = campaign("never", "{event: Level Reached}", "cart")
				files["templates/old.html"] = &fstest.MapFile{Data: []byte("old")}
			}
			log := purchases(1, days, change)
			// The days of the log end now.
			offset := int32(auditedNow.Unix()/86400) - days
			shifted := make([]fit.Purchase, len(log))
			for i, p := range log {
				p.Day += offset
				shifted[i] = p
			}
			a := audit(t)
			if faulty {
				a.declared = []string{"shoe_size"}
			}
			a.apply(t, files, trained(t, shifted, until+offset))
			a.facts(t, log, days, faulty)
			report, err := a.report(t.Context(), auditedNow)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := report.print(&text, true); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "audit", name+".golden")
			if *updateAudit {
				if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if faulty != (report.Alarms > 0) {
				t.Errorf("%d alarms", report.Alarms)
			}
		})
	}
}

// The exit code tells alarms from failures; the scheduled audit stores and tells what it finds, once in its time.
func TestAuditByCommandAndOnSchedule(t *testing.T) {
	a := audit(t)
	var out, errs strings.Builder
	code := run(t.Context(), []string{"audit", "--config", a.file}, streams{out: &out, err: &errs})
	if code != exitAlarm || !strings.Contains(out.String(), "no event has come in yet") || errs.Len() > 0 {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	if code := run(t.Context(), []string{"audit", "--config", a.file + ".yaml"}, streams{out: &out, err: &errs}); code != exitFailed {
		t.Errorf("without a configuration: exit code %d", code)
	}
	out.Reset()
	if code := run(t.Context(), []string{"audit", "--json", "--config", a.file}, streams{out: &out, err: &errs}); code != exitAlarm {
		t.Errorf("as JSON: exit code %d", code)
	}
	var report auditReport
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil || report.Alarms != 1 || len(report.Readings) != 1 {
		t.Errorf("%s: %v", out.String(), err)
	}

	registry := prometheus.NewRegistry()
	metrics, err := newAuditMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	job := &auditJob{auditor: a.auditor, every: time.Hour, sink: a.sink, owner: everyone{}, metrics: metrics, log: slog.New(slog.DiscardHandler)}
	if pause, err := job.due(t.Context()); err != nil || pause > 0 {
		t.Errorf("before the first audit: %v, %v", pause, err)
	}
	if err := job.audit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pause, err := job.due(t.Context()); err != nil || pause < 50*time.Minute {
		t.Errorf("after it: %v, %v", pause, err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			told[name] = m.GetGauge().GetValue()
		}
	}
	if v := told["attune_audit_alarm check=data_age subject=events"]; v != 1 {
		t.Errorf("metrics: %v", told)
	}
	var stored strings.Builder
	if err := clickhouse.Query(t.Context(), a.dsn, "SELECT check, subject, alarm, since IS NOT NULL, detail FROM drift", "TSV", &stored); err != nil || stored.String() != "data_age\tevents\ttrue\t1\tno event has come in yet\n" {
		t.Errorf("the view says %q: %v", stored.String(), err)
	}
}

// everyone owns everything.
type everyone struct{ bus.Owner }
