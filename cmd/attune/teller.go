package main

import (
	"context"
	"log/slog"
	"time"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/control"
)

const (
	// tellerTopic is what its owner owns.
	tellerTopic = "controls"
	// finishEvery is how often it is looked whether somebody has died while telling.
	finishEvery = 10 * time.Second
)

// teller sees to it that every partition is told of what is in force: who put it there, maybe a command, may have died before
// all were.
type teller struct {
	store *control.Store
	owner bus.Owner
	log   *slog.Logger
}

// steering are the kinds of control records, what others rest on first.
func steering() []string {
	return []string{pipeline.KindModels, pipeline.KindStock, pipeline.KindGuards, pipeline.KindStaged, pipeline.KindDefinitions}
}

// run works while it is this process's part, until ctx ends.
func (t *teller) run(ctx context.Context) {
	for ctx.Err() == nil {
		held, release, err := bus.Own(ctx, t.owner, tellerTopic)
		if err != nil {
			return // ctx has ended
		}
		tell := t.store.Repeat // the broker may have been started again
		for held.Err() == nil {
			if err := tell(held, time.Now(), steering()...); err == nil {
				tell = t.store.Finish
			} else if held.Err() == nil {
				t.log.Warn("tell every partition what is in force, trying again", "error", err)
			}
			select {
			case <-time.After(finishEvery):
			case <-held.Done():
			}
		}
		release()
	}
}
