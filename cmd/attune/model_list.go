package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"attune/pipeline"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/stages/enrich"
)

// modelListCommand shows what was trained.
type modelListCommand struct {
	JSON bool `name:"json" help:"Print one JSON object a model, with its card."`
	target
}

// Run is the command.
func (l *modelListCommand) Run(ctx context.Context, s streams) error {
	store, disconnect, err := l.control(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	newest, err := store.Newest(ctx, pipeline.KindModels)
	if err != nil {
		return err
	}
	_, inForce, err := modelInForce(ctx, store)
	if err != nil {
		return err
	}
	all, err := store.Catalogue(ctx, pipeline.KindModels)
	if err != nil {
		return err
	}
	mark := map[bool]string{true: "in force"}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	if !l.JSON {
		fmt.Fprintln(w, "MODEL\tTRAINED\tCOUNTS\tCUSTOMERS\tWINDOW\tVALUE RMSE\tBEFORE\t")
		fmt.Fprintf(w, "0\tbuilt in\t%s\t-\t-\t-\t-\t%s\n", enrich.DefaultModels().CLV.Counts.Name(), mark[inForce == 0])
	}
	for _, e := range all {
		object, err := readModel(ctx, store, e.Hash)
		if err != nil {
			return fmt.Errorf("model %d: %w", e.Number, err)
		}
		c := &object.Card
		if l.JSON {
			report := trainReport{Model: e.Number, InForce: e.Number == inForce, CLV: object.CLV, Card: *c}
			if report.InForce {
				report.Version = newest.Version
			}
			if err := json.NewEncoder(s.out).Encode(report); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s to %s\t%.4g\t%.4g\t%s\n", e.Number, e.Added.UTC().Format(time.RFC3339), c.Counts, c.Customers,
			dateOf(c.First), dateOf(c.Last), c.Holdout.Value.RMSE, c.Before.Holdout.Value.RMSE, mark[e.Number == inForce])
	}
	return w.Flush()
}

// modelUseCommand puts a model in force that was trained before.
type modelUseCommand struct {
	Model uint64 `arg:"" help:"Its number, as attune model list tells; 0 is the built-in one."`
	target
}

// Run is the command.
func (u *modelUseCommand) Run(ctx context.Context, s streams) error {
	store, disconnect, err := u.control(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	record, changed, err := u.use(ctx, store)
	if err != nil {
		return fmt.Errorf("model use %d: %w", u.Model, err)
	}
	if !changed {
		fmt.Fprintf(s.out, "nothing changed: model %d is in force\n", u.Model)
		return nil
	}
	fmt.Fprintf(s.out, "model %d is in force (version %d): customers are scored by it from their next event or day on\n", u.Model, record.Version)
	return nil
}

func (u *modelUseCommand) use(ctx context.Context, store *control.Store) (record event.ControlRecord, changed bool, err error) {
	object, err := json.Marshal(enrich.DefaultModels())
	if err != nil {
		return record, false, err
	}
	if u.Model > 0 {
		all, err := store.Catalogue(ctx, pipeline.KindModels)
		if err != nil {
			return record, false, err
		}
		if u.Model > uint64(len(all)) {
			return record, false, fmt.Errorf("there are the models 0 to %d; attune model list shows them", len(all))
		}
		if object, err = store.Object(ctx, all[u.Model-1].Hash); err != nil {
			return record, false, err
		}
		if _, err := enrich.DecodeModels(object); err != nil {
			return record, false, err
		}
	}
	return store.Apply(ctx, pipeline.KindModels, object, time.Now())
}
