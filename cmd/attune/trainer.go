package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/control"
	"attune/stages/enrich"
	"attune/stages/enrich/clv/fit"
	"attune/stages/trigger/recommend"
)

// trainer makes models of what ClickHouse knows: for a command, or for the learner.
type trainer struct {
	store   *control.Store
	archive *archive
	counts  string // the model of counts
	holdout int32  // of the lifetime value, in days; 0: the default
	force   bool   // in force also what is worse
	say     *progress
}

// train trains everything, stores it, and puts in force what is not worse than what is.
func (t *trainer) train(ctx context.Context) (*trainReport, error) {
	before, number, err := modelInForce(ctx, t.store)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	object := modelObject{Models: before.Models, Calibrated: before.Calibrated, CalibratedPropensities: before.CalibratedPropensities, Products: before.Products, Card: before.Card}
	object.Card.Kept, object.Card.Failed = nil, nil
	object.carried = []string{partValue, partProducts} // until they are trained
	trained := 0
	for _, part := range []func(context.Context, *modelObject, *modelObject, uint64) (int, error){t.value, t.propensities, t.products} {
		n, err := part(ctx, &object, &before, number)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("train: %w", ctx.Err())
		}
		trained += n
		if err != nil {
			object.Card.Failed = append(object.Card.Failed, err.Error())
			t.say.done("not trained: %v", err)
		}
	}
	if trained == 0 {
		var all []error
		for _, why := range object.Card.Failed {
			all = append(all, errors.New(why))
		}
		return nil, fmt.Errorf("train: %w", errors.Join(all...))
	}
	report, err := t.settle(ctx, object, &before, number)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return report, nil
}

// value fits the lifetime value.
func (t *trainer) value(ctx context.Context, object, before *modelObject, number uint64) (int, error) {
	t.say.stage("Reading the orders")
	log, err := t.archive.orderDays(ctx)
	if err != nil {
		return 0, err
	}
	t.say.stage("Fitting %s and Gamma-Gamma to %s purchase days", t.counts, grouped(uint64(len(log))))
	trained, err := fit.Train(log, t.counts, t.holdout)
	if err != nil {
		return 0, err
	}
	object.CLV, object.Calibrated, object.Card.Card = trained.Model, trained.Calibrated, trained.Card
	object.Card.Before = modelBefore{number, trained.Card.Judge(before.Calibrated, log)}
	object.Card.Population = newClientele(trained.Model, log, trained.Card)
	object.carry(partValue, false)
	return 1, nil
}

// mostMoments bounds the examples of all propensities together: each takes some 700 bytes.
const mostMoments = 400_000

// propensities learns each of those that the definitions in force name.
func (t *trainer) propensities(ctx context.Context, object, before *modelObject, number uint64) (trained int, err error) {
	wanted, err := t.wanted(ctx)
	if err != nil || len(wanted) == 0 {
		object.Propensities, object.CalibratedPropensities, object.Card.Propensities = nil, nil, nil
		return 0, err
	}
	known, err := t.archive.extent(ctx, 0)
	if err != nil {
		return 0, err
	}
	oneIn := max(1, (known.events+mostEvents-1)/mostEvents)
	read := known.events / oneIn
	share := min(1, float64(min(mostMoments/len(wanted), 60_000))/max(momentsPerEvent*float64(read), 1))
	examples, err := enrich.NewExamples(wanted, known.end, share)
	if err != nil {
		return 0, err
	}
	t.say.stage("Reading the events")
	if err := t.archive.customers(ctx, known, oneIn, examples.Take); err != nil {
		return 0, err
	}
	var models, calibrated []enrich.PropensityModel
	var cards []propensityCard
	var errs []error
	for i, p := range wanted {
		matured := examples.Matured(i)
		t.say.stage("Learning %s (%s) from %s moments", p.Name, p, grouped(uint64(len(matured))))
		learned, err := enrich.TrainPropensity(p, matured)
		if err != nil {
			errs = append(errs, err)
			if old := find(before.Propensities, p); old != nil { // what is in force goes on
				models, calibrated = append(models, *old), append(calibrated, *find(before.CalibratedPropensities, p))
				cards = append(cards, before.Card.propensity(p))
				object.carry(partPropensity+p.Name, true)
			}
			continue
		}
		trained++
		models, calibrated = append(models, learned.Model), append(calibrated, learned.Calibrated)
		card := propensityCard{PropensityCard: learned.Card, Before: propensityBefore{Holdout: learned.Card.Constant}}
		card.Population = newForetold(&learned.Model, &learned.Card, known.end, examples.Recent(i))
		if old := find(before.CalibratedPropensities, p); old != nil {
			card.Before = propensityBefore{number, learned.Card.Judge(old.Score, matured)}
		}
		cards = append(cards, card)
	}
	object.Propensities, object.CalibratedPropensities, object.Card.Propensities = models, calibrated, cards
	return trained, errors.Join(errs...)
}

// products learns what is bought together.
func (t *trainer) products(ctx context.Context, object, before *modelObject, number uint64) (int, error) {
	t.say.stage("Reading the baskets")
	orders, err := t.archive.orders(ctx)
	if err != nil {
		return 0, err
	}
	views, err := t.archive.views(ctx)
	if err != nil {
		return 0, err
	}
	t.say.stage("Learning recommendations from %s orders", grouped(uint64(len(orders))))
	trained, err := recommend.Train(orders, views)
	if err != nil {
		return 0, err
	}
	card := productsCard{Card: trained.Card, Before: productsBefore{Holdout: trained.Card.Popular}}
	if before.Products != nil {
		old, err := readProducts(ctx, t.store, before.Products.Calibrated)
		if err != nil {
			return 0, err
		}
		card.Before = productsBefore{number, trained.Card.Judge(old, orders)}
	}
	ref := productsRef{}
	for into, model := range map[*string]*recommend.Model{&ref.Model: trained.Model, &ref.Calibrated: trained.Calibrated} {
		data, err := model.Encode()
		if err != nil {
			return 0, err
		}
		if *into, err = t.store.Put(ctx, data); err != nil {
			return 0, err
		}
	}
	object.Products, object.Card.Products = &ref, &card
	object.carry(partProducts, false)
	return 1, nil
}

// momentsPerEvent is how many examples an event leads to at the most, about.
const momentsPerEvent = 4

// wanted are the propensities that the definitions in force name.
func (t *trainer) wanted(ctx context.Context) ([]enrich.Propensity, error) {
	newest, err := t.store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil || newest.Version == 0 {
		return enrich.DefaultConfig().Propensities, err
	}
	data, err := t.store.Object(ctx, newest.Hash)
	if err != nil {
		return nil, err
	}
	workspace, err := config.DecodeWorkspace(data)
	if err != nil {
		return nil, err
	}
	return workspace.Enrich.Propensities, nil
}

// settle stores what was trained, and puts it in force; what is worse than what is in force is taken from there instead,
// unless it is told not to.
func (t *trainer) settle(ctx context.Context, object modelObject, before *modelObject, number uint64) (*trainReport, error) {
	add := func(o *modelObject) (data []byte, entry control.Entry, err error) {
		if data, err = json.Marshal(o); err == nil {
			entry, err = t.store.Add(ctx, pipeline.KindModels, data)
		}
		return data, entry, err
	}
	data, entry, err := add(&object)
	if err != nil {
		return nil, err
	}
	report := newReport(entry.Number, &object)
	report.Worse, report.Before = object.worse(), number
	if len(report.Worse) > 0 && !t.force {
		mixed, fresh := object.without(report.Worse, before)
		if !fresh {
			return report, nil
		}
		if data, entry, err = add(&mixed); err != nil {
			return nil, err
		}
		report.Candidate = report.Model
		report.Model, report.CLV, report.Card = entry.Number, mixed.CLV, mixed.Card
	}
	record, _, err := t.store.Apply(ctx, pipeline.KindModels, data, time.Now())
	if err != nil {
		return nil, err
	}
	report.InForce, report.Version = true, record.Version
	return report, nil
}

// partValue is the name of the lifetime value among the parts of a model; a propensity's is its own after this prefix.
const (
	partValue      = "clv"
	partPropensity = "propensity:"
	partProducts   = "recommendations"
)

// worse are the parts that foretell the hold-out worse than those in force.
func (o *modelObject) worse() (parts []string) {
	if o.Card.Holdout.Worse(o.Card.Before.Holdout) {
		parts = append(parts, partValue)
	}
	for i := range o.Card.Propensities {
		if c := &o.Card.Propensities[i]; c.Worse(c.Before.Holdout) {
			parts = append(parts, partPropensity+c.Name)
		}
	}
	if c := o.Card.Products; c != nil && c.Holdout.Worse(c.Before.Holdout) {
		parts = append(parts, partProducts)
	}
	return slices.DeleteFunc(parts, o.isCarried)
}

// carry notes whether a part is the one in force, since it was not trained.
func (o *modelObject) carry(part string, carried bool) {
	o.carried = slices.DeleteFunc(o.carried, func(p string) bool { return p == part })
	if carried {
		o.carried = append(o.carried, part)
	}
}

func (o *modelObject) isCarried(part string) bool { return slices.Contains(o.carried, part) }

// without is the model with some parts as they are in force; fresh tells whether anything new is left.
func (o *modelObject) without(parts []string, before *modelObject) (mixed modelObject, fresh bool) {
	mixed = *o
	mixed.Card.Kept = parts
	if slices.Contains(parts, partValue) {
		mixed.CLV, mixed.Calibrated = before.CLV, before.Calibrated
		mixed.Card.Card, mixed.Card.Before, mixed.Card.Population = before.Card.Card, before.Card.Before, before.Card.Population
	} else {
		fresh = !o.isCarried(partValue)
	}
	if slices.Contains(parts, partProducts) {
		mixed.Products, mixed.Card.Products = before.Products, before.Card.Products
	} else if o.Products != nil && !o.isCarried(partProducts) {
		fresh = true
	}
	mixed.Propensities, mixed.CalibratedPropensities, mixed.Card.Propensities = nil, nil, nil
	for i := range o.Propensities {
		p := o.Propensities[i].Propensity
		model, calibrated, card := &o.Propensities[i], &o.CalibratedPropensities[i], o.Card.Propensities[i]
		if slices.Contains(parts, partPropensity+p.Name) {
			if model = find(before.Propensities, p); model == nil {
				continue // no better than a constant: better none
			}
			calibrated, card = find(before.CalibratedPropensities, p), before.Card.propensity(p)
		} else if !o.isCarried(partPropensity + p.Name) {
			fresh = true
		}
		mixed.Propensities = append(mixed.Propensities, *model)
		mixed.CalibratedPropensities = append(mixed.CalibratedPropensities, *calibrated)
		mixed.Card.Propensities = append(mixed.Card.Propensities, card)
	}
	return mixed, fresh
}

func find(models []enrich.PropensityModel, p enrich.Propensity) *enrich.PropensityModel {
	i := slices.IndexFunc(models, func(m enrich.PropensityModel) bool { return m.Propensity == p })
	if i < 0 {
		return nil
	}
	return &models[i]
}
