package main

import (
	"context"
	"encoding/json"
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
	// learnMark is the key, beside the control records, that is written when a training begins, and again when it is over.
	learnMark = "learner"
	// learnAgain is how long after its beginning a training that was cut off is begun again, at most.
	learnAgain = time.Hour
)

// training is what the mark says of the last one.
type training struct {
	Began time.Time `json:"began"`
	Over  bool      `json:"over,omitempty"` // else it is under way, or was cut off
}

// newLearner prepares the learner; the database is asked at dsn.
func newLearner(ctx context.Context, c workerConfig, owner bus.Owner, definitions *definitions, dsn string) (*learner, error) {
	marks, err := c.js.KeyValue(ctx, topology.Controls)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Controls, err)
	}
	done := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attune_trainings_total", Help: "Trainings that this worker made on schedule, by outcome: in_force, worse, failed or cut_off.",
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
		last, revision, err := l.mark(ctx)
		if err != nil {
			return err
		}
		wait := l.every
		if !last.Over {
			wait = min(l.every, learnAgain)
		}
		if !pause(ctx, time.Until(last.Began.Add(wait))) {
			return nil
		}
		now := training{Began: time.Now().UTC()}
		if revision, err = l.write(ctx, now, revision); bus.IsConflict(err) {
			continue // a former owner was faster
		} else if err != nil {
			return fmt.Errorf("note a training: %w", err)
		}
		report, err := l.train(ctx)
		if ctx.Err() != nil {
			l.done.WithLabelValues("cut_off").Inc()
			l.log.Info("training cut off: another begins", "after", now.Began.Add(min(l.every, learnAgain)))
			return ctx.Err()
		}
		l.tell(now, report, err)
		now.Over = true
		if _, err := l.write(ctx, now, revision); err != nil && !bus.IsConflict(err) {
			return fmt.Errorf("note that a training is over: %w", err)
		}
	}
}

// tell says how a training ended.
func (l *learner) tell(t training, report *trainReport, err error) {
	took := time.Since(t.Began)
	switch {
	case err != nil:
		l.done.WithLabelValues("failed").Inc()
		l.log.Warn("models not trained", "error", err, "next", t.Began.Add(l.every))
	case !report.InForce:
		l.done.WithLabelValues("worse").Inc()
		l.log.Info("models trained, and not put in force", "model", report.Model, "worse", report.Worse, "took", took)
	default:
		l.done.WithLabelValues("in_force").Inc()
		l.log.Info("models trained and put in force", "model", report.Model, "version", report.Version, "kept", report.Card.Kept, "took", took)
	}
}

// mark is the last training; where there was none, one that was over when the first learner looked.
func (l *learner) mark(ctx context.Context) (last training, revision uint64, err error) {
	for {
		mark, err := l.marks.Get(ctx, learnMark)
		if err == nil {
			err = json.Unmarshal(mark.Value(), &last)
		}
		switch {
		case err == nil:
			return last, mark.Revision(), nil
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return last, 0, fmt.Errorf("read when models were trained last: %w", err)
		}
		if _, err := l.write(ctx, training{Began: time.Now().UTC(), Over: true}, 0); err != nil && !bus.IsConflict(err) {
			return last, 0, fmt.Errorf("note the first start: %w", err)
		}
	}
}

// write writes the mark over the revision that was read; 0: there was none.
func (l *learner) write(ctx context.Context, t training, revision uint64) (uint64, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	return l.marks.Update(ctx, learnMark, data, revision)
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
