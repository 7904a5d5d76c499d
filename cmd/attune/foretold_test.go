package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/enrich"
	"attune/stages/enrich/drift"
)

// visits are the events of a shop that wins four customers a day, who look around, some of whom buy, customer by customer.
// From a day on, all buy with the same probability, if that is above 0. The last day ends at end.
func visits(seed uint64, days, change int, probability float64, end time.Time) (all [][]event.Event) {
	r := rand.New(rand.NewPCG(seed, 2))
	start := end.AddDate(0, 0, -days)
	for c := range days * 4 {
		keen, every := []float64{0.03, 0.6}[r.IntN(2)], 4+10*r.ExpFloat64()
		who := fmt.Sprintf("p%d", c)
		var events []event.Event
		add := func(name string, at float64, properties string) {
			n := fmt.Sprintf("%s-%d", who, len(events))
			occurred := event.At(start.Add(time.Duration(at * float64(day))))
			events = append(events, event.Event{ID: n, Type: event.Track, Name: name, Profile: who, User: who, Occurred: occurred, Accepted: occurred, Properties: event.Object(properties)})
		}
		for at := float64(c) / 4; at < float64(days)-0.1; at += 0.2 + every*r.ExpFloat64() {
			price := 10 + r.IntN(80)
			add("Product Viewed", at, fmt.Sprintf(`{"product_id":"i%d","category":"c%d","price":%d}`, r.IntN(30), r.IntN(4), price))
			buys := keen
			if probability > 0 && at >= float64(change) {
				buys = probability
			}
			if r.Float64() < buys {
				add("Order Completed", at+0.05, fmt.Sprintf(`{"order_id":"%s-%d","revenue":%d,"products":[{"product_id":"i%d","category":"c%d","price":%d}]}`, who, len(events), price, r.IntN(30), r.IntN(4), price))
			}
			if r.Float64() < 0.12 {
				break
			}
		}
		all = append(all, events)
	}
	return all
}

// Where customers go on as before nothing is told. Where all buy of a sudden, the scores are others; where nobody does any
// more, what they say does not come true.
func TestDriftOfPropensities(t *testing.T) {
	const days, until, change = 280, 190, 210
	of := enrich.Propensity{Name: "purchase", Event: event.OrderCompleted, Within: 14 * day}
	gathered := func(all [][]event.Event, end event.Instant) *enrich.Examples {
		x, err := enrich.NewExamples([]enrich.Propensity{of}, end, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		for _, events := range all {
			for i := range events {
				x.Take(&events[i])
			}
		}
		return x
	}
	for seed := range uint64(2) {
		for probability, wants := range map[float64]string{0: "", 0.95: "propensity:purchase", 0.01: "calibration"} {
			all := visits(seed, days, change, probability, auditedNow)
			then, now := event.At(auditedNow.AddDate(0, 0, until-days)), event.At(auditedNow)
			x := gathered(all, then)
			learned, err := enrich.TrainPropensity(of, x.Matured(0))
			if err != nil {
				t.Fatal(err)
			}
			population := newForetold(&learned.Model, &learned.Card, then, x.Recent(0))
			x = gathered(all, now)
			var alarms []string
			for i, f := range population.features(&learned.Model, x.Recent(0)) {
				if population.References[i].PSI(f.values).Alarm {
					alarms = append(alarms, f.name)
				}
			}
			watch := drift.NewPageHinkley()
			var probabilities []float64
			var happened []bool
			for _, f := range population.forecasts(&learned.Calibrated, x.Matured(0), learned.Card.HoldoutSince) {
				watch.Add(f.loss())
				if f.at > now.Add(-of.Within-forecastDays*day) {
					probabilities, happened = append(probabilities, f.probability), append(happened, f.happened)
				}
			}
			if watch.Finding().Alarm {
				alarms = append(alarms, "log loss")
			}
			calibration := drift.Calibration(probabilities, happened, learned.Card.Holdout.ECE)
			if calibration.Alarm {
				alarms = append(alarms, "calibration")
			}
			t.Logf("seed %d, %v from %d on: %v\nlog loss %+v\ncalibration %+v, before %v", seed, probability, change, alarms, watch.Finding(), calibration, learned.Card.Holdout.ECE)
			if wants == "" && len(alarms) > 0 || wants != "" && !slices.Contains(alarms, wants) {
				t.Errorf("seed %d, %v from %d on: alarms of %v, want %q", seed, probability, change, alarms, wants)
			}
		}
	}
}

// What attune train keeps of the customers, attune audit compares them with.
func TestAuditOfPropensities(t *testing.T) {
	const days, until = 240, 170
	for name, probability := range map[string]float64{"sound": 0, "changed": 0.95} {
		t.Run(name, func(t *testing.T) {
			a := audit(t)
			sequence := uint64(0)
			write := func(from, to time.Time) {
				sequence++
				part := pipeline.SinkPart{Sequence: sequence}
				for _, events := range visits(1, days, 180, probability, auditedNow) {
					for _, e := range events {
						if at := e.Occurred.Time(); !at.Before(from) && at.Before(to) {
							part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: sequence*1_000_000 + uint64(len(part.Facts.Events)), Event: e})
						}
					}
				}
				if err := a.sink.Write(t.Context(), pipeline.SinkBatch{Stream: "COMMITS", From: sequence, To: sequence, Parts: []pipeline.SinkPart{part}}); err != nil {
					t.Fatal(err)
				}
			}
			then := auditedNow.AddDate(0, 0, until-days)
			write(time.Time{}, then)
			var said strings.Builder
			say := &progress{out: &said, now: time.Now}
			report, err := (&trainer{store: a.store, archive: &archive{a.dsn, say}, counts: "mbgnbd", say: say}).train(t.Context())
			if err != nil {
				t.Fatal(err, said.String())
			}
			if !report.InForce || len(report.Card.Propensities) != 1 || len(report.Card.Propensities[0].Population.References) < 20 {
				t.Fatalf("%s\n%+v", said.String(), report)
			}
			write(then, auditedNow)
			found, err := a.report(t.Context(), auditedNow)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := found.print(&text, true); err != nil {
				t.Fatal(err)
			}
			t.Log(text.String())
			alarms := map[string]bool{}
			told := 0
			for _, r := range found.Readings {
				if r.Check == checkPSI || r.Check == checkLoss || r.Check == checkECE {
					alarms[r.Check+" "+r.Subject] = r.Alarm
					told++
				}
			}
			for _, want := range []string{"psi propensity:purchase", "psi purchase.orders", "calibration propensity:purchase"} {
				if alarm, ok := alarms[want]; !ok || alarm != (probability > 0) {
					t.Errorf("%s: told %v, alarm %v", want, ok, alarm)
				}
			}
			if _, ok := alarms["log_loss propensity:purchase"]; !ok || told < 30 {
				t.Errorf("%d figures: %v", told, alarms)
			}
		})
	}
}
