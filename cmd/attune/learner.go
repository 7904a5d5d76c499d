package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/bus"
	"attune/pipeline/lease"
	"attune/pipeline/topology"
	"attune/stages/enrich/clv"
)

// learner trains on a schedule, in whichever worker owns its topic. When the last training began is kept in the broker,
// so that neither a restart nor a new owner trains more often.
type learner struct {
	owner   bus.Owner
	marks   jetstream.KeyValue
	every   time.Duration
	train   func(context.Context) (*trainReport, error)
	done    *prometheus.CounterVec
	log     *slog.Logger
	waiting time.Duration // after a failure of the broker
}

const (
	// learnTopic is what the owner of the learning owns.
	learnTopic = "models"
	// learnMark is the key, beside the control records, whose time is that of the last training's beginning.
	learnMark = "learner"
)

// newLearner prepares the learner; the database is asked at dsn.
func newLearner(ctx context.Context, c workerConfig, owner bus.Owner, definitions *definitions, dsn string) (*learner, error) {
	marks, err := c.js.KeyValue(ctx, topology.Controls)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Controls, err)
	}
	done := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attune_trainings_total", Help: "Trainings that this worker made on schedule, by outcome: in_force, worse or failed.",
	}, []string{"outcome"})
	if err := c.metrics.Register(done); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	say := &progress{out: logLines{c.log}, now: time.Now}
	trainer := &trainer{store: definitions.store, archive: &archive{dsn, say}, counts: clv.NameMBGNBD, say: say}
	return &learner{owner: owner, marks: marks, every: c.config.Learner.Every, train: trainer.train, done: done, log: c.log, waiting: 10 * time.Second}, nil
}

// run learns until ctx ends.
func (l *learner) run(ctx context.Context) error {
	return lease.Elected(ctx, l.owner, learnTopic, func(held context.Context) {
		if err := l.turn(held); err != nil && held.Err() == nil {
			l.log.Warn("learner", "error", err)
			pause(held, l.waiting)
		}
	})
}

// turn trains whenever it is time, as long as this worker is the one to do it.
func (l *learner) turn(ctx context.Context) error {
	for {
		mark, err := l.mark(ctx)
		if err != nil {
			return err
		}
		if !pause(ctx, time.Until(mark.Created().Add(l.every))) {
			return nil
		}
		if _, err := l.marks.Update(ctx, learnMark, nil, mark.Revision()); bus.IsConflict(err) {
			continue // a former owner was faster
		} else if err != nil {
			return fmt.Errorf("note a training: %w", err)
		}
		began := time.Now()
		report, err := l.train(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			l.done.WithLabelValues("failed").Inc()
			l.log.Warn("models not trained", "error", err, "next", began.Add(l.every).UTC())
		case !report.InForce:
			l.done.WithLabelValues("worse").Inc()
			l.log.Info("models trained, and not put in force", "model", report.Model, "worse", report.Worse, "took", time.Since(began))
		default:
			l.done.WithLabelValues("in_force").Inc()
			l.log.Info("models trained and put in force", "model", report.Model, "version", report.Version, "kept", report.Card.Kept, "took", time.Since(began))
		}
	}
}

// mark is when the last training began; where there was none, when the first learner looked.
func (l *learner) mark(ctx context.Context) (jetstream.KeyValueEntry, error) {
	for {
		mark, err := l.marks.Get(ctx, learnMark)
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			return mark, err
		}
		if _, err := l.marks.Create(ctx, learnMark, nil); err != nil && !bus.IsConflict(err) {
			return nil, fmt.Errorf("note the first start: %w", err)
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// logLines writes progress to the log.
type logLines struct{ log *slog.Logger }

// Write logs a line.
func (l logLines) Write(line []byte) (int, error) {
	l.log.Debug("training", "progress", string(line[:max(len(line)-1, 0)]))
	return len(line), nil
}
