package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/enrich"
)

// modelUseCommand puts a model in force that was trained before.
type modelUseCommand struct {
	Model uint64 `arg:"" help:"Its number, as attune model list tells; 0 is the built-in one."`
	target
}

// Run is the command.
func (u *modelUseCommand) Run(ctx context.Context, s streams) error {
	all, disconnect, err := u.models(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	record, changed, err := u.use(ctx, all)
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

func (u *modelUseCommand) use(ctx context.Context, all catalogue) (record event.ControlRecord, changed bool, err error) {
	var object []byte
	if u.Model == 0 {
		object, err = json.Marshal(enrich.DefaultModels())
	} else {
		e, missing := all.entry(u.Model)
		if missing != nil {
			return record, false, missing
		}
		object, err = all.store.Object(ctx, e.Hash)
	}
	if err != nil {
		return record, false, err
	}
	if _, err := enrich.DecodeModels(object); err != nil {
		return record, false, err
	}
	return all.store.Apply(ctx, pipeline.KindModels, object, time.Now())
}
