package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
	"attune/stages/enrich/propensity"
	"attune/stages/trigger/recommend"
)

// modelObject is what is stored of a training: the models that score, and what tells about them.
type modelObject struct {
	enrich.Models
	Calibrated clv.Model `json:"calibrated"`
	// CalibratedPropensities are by the same order as Propensities.
	CalibratedPropensities []enrich.PropensityModel `json:"calibrated_propensities,omitempty"`
	// Products name the objects of the recommendations, which are large; nil: none were trained.
	Products *productsRef `json:"products,omitempty"`
	Card     modelCard    `json:"card"`

	carried []string // the parts that were not trained
}

// productsRef has the hashes of two objects of recommend.Model.
type productsRef struct {
	Model      string `json:"model"`
	Calibrated string `json:"calibrated"`
}

// readProducts reads the object of recommendations.
func readProducts(ctx context.Context, store *control.Store, hash string) (*recommend.Model, error) {
	data, err := store.Object(ctx, hash)
	if err != nil {
		return nil, err
	}
	model, err := recommend.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", hash, err)
	}
	return model, nil
}

// modelCard is a model's card with the one that was in force when it was trained.
type modelCard struct {
	fit.Card
	Before       modelBefore      `json:"before"`
	Population   clientele        `json:"population"` // of the day on which the lifetime value was trained
	Propensities []propensityCard `json:"propensities,omitempty"`
	Products     *productsCard    `json:"recommendations,omitempty"`
	// Kept are the parts of the model in force that were better than what was trained.
	Kept []string `json:"kept,omitempty"`
	// Failed says what could not be trained, and why; the part in force goes on.
	Failed []string `json:"failed,omitempty"`
}

// modelBefore is a model on the hold-out of another, by its parameters of before its own hold-out.
type modelBefore struct {
	Model   uint64      `json:"model"` // its number; 0: the built-in one
	Holdout fit.Holdout `json:"holdout"`
}

// propensityCard is a propensity's card with the model that was in force; without one, the constant.
type propensityCard struct {
	enrich.PropensityCard
	Before     propensityBefore `json:"before"`
	Population foretold         `json:"population"`
}

type propensityBefore struct {
	Model   uint64               `json:"model"` // 0: there was none
	Holdout propensity.Judgement `json:"holdout"`
}

// productsCard is the recommendations' card with the model that was in force; without one, what is popular.
type productsCard struct {
	recommend.Card
	Before productsBefore `json:"before"`
}

type productsBefore struct {
	Model   uint64              `json:"model"` // 0: there was none
	Holdout recommend.Judgement `json:"holdout"`
}

func (c *modelCard) propensity(p enrich.Propensity) propensityCard {
	for _, card := range c.Propensities {
		if card.Propensity == p {
			return card
		}
	}
	return propensityCard{PropensityCard: enrich.PropensityCard{Propensity: p}}
}

func readModel(ctx context.Context, store *control.Store, hash string) (object modelObject, err error) {
	data, err := store.Object(ctx, hash)
	if err != nil {
		return object, err
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return object, fmt.Errorf("object %s: %w", hash, err)
	}
	return object, cmp.Or(object.CLV.Validate(), object.Calibrated.Validate())
}

// catalogue is all models that were trained, and which is in force.
type catalogue struct {
	store   *control.Store
	entries []control.Entry
	newest  event.ControlRecord
	inForce uint64 // its number; 0: the built-in one
}

func readCatalogue(ctx context.Context, store *control.Store) (c catalogue, err error) {
	c.store = store
	if c.newest, err = store.Newest(ctx, pipeline.KindModels); err != nil {
		return c, err
	}
	if c.entries, err = store.Catalogue(ctx, pipeline.KindModels); err != nil {
		return c, err
	}
	for _, e := range c.entries {
		if e.Hash == c.newest.Hash {
			c.inForce = e.Number
		}
	}
	return c, nil
}

// models reads the target's catalogue. Whoever gets it calls disconnect.
func (t *target) models(ctx context.Context) (all catalogue, disconnect func(), err error) {
	store, disconnect, err := t.control(ctx)
	if err != nil {
		return all, nil, err
	}
	if all, err = readCatalogue(ctx, store); err != nil {
		disconnect()
		return all, nil, err
	}
	return all, disconnect, nil
}

// entry finds a model that was trained by its number.
func (c *catalogue) entry(number uint64) (control.Entry, error) {
	i := slices.IndexFunc(c.entries, func(e control.Entry) bool { return e.Number == number })
	if i < 0 {
		return control.Entry{}, fmt.Errorf("there is no model %d: there are the models 0 to %d; attune model list shows them", number, len(c.entries))
	}
	return c.entries[i], nil
}

// model reads one by its number; 0 is the built-in one.
func (c *catalogue) model(ctx context.Context, number uint64) (modelObject, error) {
	if number == 0 {
		return modelObject{Models: enrich.DefaultModels(), Calibrated: enrich.DefaultModels().CLV}, nil
	}
	e, err := c.entry(number)
	if err != nil {
		return modelObject{}, err
	}
	object, err := readModel(ctx, c.store, e.Hash)
	if err != nil {
		err = fmt.Errorf("model %d: %w", number, err)
	}
	return object, err
}

// report is a model as --json prints it.
func (c *catalogue) report(number uint64, object *modelObject) *trainReport {
	r := newReport(number, object)
	if r.InForce = number == c.inForce; r.InForce {
		r.Version = c.newest.Version
	}
	return r
}

// modelInForce is the model in force and its number.
func modelInForce(ctx context.Context, store *control.Store) (object modelObject, number uint64, err error) {
	c, err := readCatalogue(ctx, store)
	if err != nil {
		return object, 0, err
	}
	object, err = c.model(ctx, c.inForce)
	return object, c.inForce, err
}
