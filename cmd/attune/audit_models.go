package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"attune/pipeline/event"
	"attune/stages/enrich"
	"attune/stages/enrich/drift"
	"attune/stages/enrich/propensity"
)

// models: whether the customers are those that the model in force was made from, and do what it foretells.
func (a *auditor) models(ctx context.Context) error {
	object, number, err := modelInForce(ctx, a.store)
	if err != nil || number == 0 {
		return err
	}
	return errors.Join(a.value(ctx, &object, number), a.propensities(ctx, &object, number))
}

// value audits the lifetime value.
func (a *auditor) value(ctx context.Context, object *modelObject, number uint64) error {
	p := object.Card.Population
	if len(p.References) == 0 { // not trained, or by an older version
		return nil
	}
	log, err := (&archive{dsn: a.dsn}).orderDays(ctx)
	if err != nil {
		return err
	}
	today := int32(a.now.Unix() / int64(day/time.Second))
	if err := a.compare(p.References, p.features(object.CLV, log, today), dateOf(object.Card.Last), number); err != nil {
		return err
	}
	a.watch("purchase in 28 days", p.losses(object.Calibrated.Counts, log, object.Card.CalibrationEnd+1, today), dateOf(object.Card.CalibrationEnd), number)
	return nil
}

// compare holds features against what they were when a part of the model was trained.
func (a *auditor) compare(references []drift.Reference, now []feature, trained string, number uint64) error {
	if len(now) != len(references) {
		return fmt.Errorf("model %d: it has %d references: want %d", number, len(references), len(now))
	}
	for i, f := range now {
		r := references[i]
		if err := r.Validate(); err != nil {
			return fmt.Errorf("model %d: %w", number, err)
		}
		if r.Name != f.name {
			return fmt.Errorf("model %d: it has a reference of %s where that of %s is wanted", number, r.Name, f.name)
		}
		a.add(checkPSI, f.name, r.PSI(f.values), "against the customers of %s, when model %d was trained; attune train makes a new one", trained, number)
	}
	return nil
}

// watch looks whether log losses have moved.
func (a *auditor) watch(subject string, losses []float64, since string, number uint64) {
	watch := drift.NewPageHinkley()
	for _, loss := range losses {
		watch.Add(loss)
	}
	f, way := watch.Finding(), "up"
	if f.Value < 0 {
		f.Value, way = -f.Value, "down"
	}
	a.add(checkLoss, subject, f, "standard deviations that the log loss of model %d has gone %s, summed up since %s", number, way, since)
}

// How much of the past an audit of propensities reads: customers with so many events, and so many of their moments.
const (
	auditedEvents  = 300_000
	auditedMoments = 100_000
)

// propensities audits each propensity of the model in force.
func (a *auditor) propensities(ctx context.Context, object *modelObject, number uint64) error {
	var of []enrich.Propensity
	var cards []*propensityCard
	from := event.At(a.now)
	for i := range object.Propensities {
		p := object.Propensities[i].Propensity
		card := object.Card.propensity(p)
		if len(card.Population.References) == 0 { // by an older version
			continue
		}
		of, cards, from = append(of, p), append(cards, &card), min(from, card.HoldoutSince)
	}
	if len(of) == 0 {
		return nil
	}
	archive := &archive{a.dsn, &progress{out: io.Discard, now: time.Now}}
	known, err := archive.extent(ctx, from)
	if err != nil {
		return err
	}
	oneIn := max(1, (known.events+auditedEvents-1)/auditedEvents)
	share := min(1, auditedMoments/float64(len(of))/max(momentsPerEvent*float64(known.late/oneIn), 1))
	examples, err := enrich.NewExamples(of, event.At(a.now), share)
	if err != nil {
		return err
	}
	examples.From(from)
	if err := archive.customers(ctx, known, oneIn, examples.Take); err != nil {
		return err
	}
	for i, p := range of {
		card := cards[i]
		model, calibrated := find(object.Propensities, p), find(object.CalibratedPropensities, p)
		then := card.Population.At.Time().Format(time.DateOnly)
		if err := a.compare(card.Population.References, card.Population.features(model, examples.Recent(i)), then, number); err != nil {
			return err
		}
		a.forecasts(card, card.Population.forecasts(calibrated, examples.Matured(i), card.HoldoutSince), number)
	}
	return nil
}

// forecasts looks whether a propensity comes true as often as it says.
func (a *auditor) forecasts(card *propensityCard, all []forecast, number uint64) {
	var losses, probabilities []float64
	var happened []bool
	late := event.At(a.now).Add(-card.Within - forecastDays*day)
	for _, f := range all {
		losses = append(losses, f.loss())
		if f.at > late {
			probabilities, happened = append(probabilities, f.probability), append(happened, f.happened)
		}
	}
	since := card.HoldoutSince.Time().Format(time.DateOnly)
	a.watch(partPropensity+card.Name, losses, since, number)
	j := propensity.Judge(probabilities, happened)
	said := 0.0
	for _, p := range probabilities {
		said += p / float64(len(probabilities))
	}
	a.add(checkECE, partPropensity+card.Name, drift.Calibration(probabilities, happened, card.Holdout.ECE),
		"off %s, on the average: said of %d customers %.1f %%, and %.1f %% did; log loss %.3f, when model %d was trained %.3f",
		card.Propensity, j.Rows, 100*said, 100*float64(j.Positives)/max(float64(j.Rows), 1), j.LogLoss, number, card.Holdout.LogLoss)
}
