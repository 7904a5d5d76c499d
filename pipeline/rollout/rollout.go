package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/control"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// DefaultRate is how many customers are prepared a second.
const DefaultRate = 2000

// Plan says what staged rules need of the past that profiles don't hold.
type Plan interface {
	// Reach is the earliest instant at which what occurred may count at now, zero: any; ok is false where nothing is lacking.
	Reach(now event.Instant) (since event.Instant, ok bool)
	// Wants tells whether an event of the past counts.
	Wants(e *event.Event, now event.Instant) bool
	// Asks tells whether the property of events of that name is looked at.
	Asks(name, property string) bool
	// Events are the names of the events that count, as event.CountName has them.
	Events() []string
}

// Older asks for events from before the log's beginning.
type Older struct {
	Names         []string      // as event.CountName has them
	Since         event.Instant // when they occurred at the earliest; zero: any
	After, Before uint64        // positions in the log, both excluded
}

// Config is what a rollout needs.
type Config struct {
	JetStream  jetstream.JetStream
	Store      *control.Store
	Partitions int
	// Plan reads what is staged.
	Plan func(ctx context.Context, inForce pipeline.Controls) (Plan, error)
	// Older visits the events that are kept elsewhere, in the order of their positions; nil: none are.
	Older func(ctx context.Context, asked Older, visit func(e *event.Event, position uint64) error) error
	// BeforeSwitch, if it is not nil, runs before definitions come into force.
	BeforeSwitch func(ctx context.Context, staged event.ControlRecord) error
	// Rate is how many records are appended a second, at most. Default [DefaultRate].
	Rate int
	// Throttle holds it back while the log is full; nil: never.
	Throttle *pipeline.Throttle
	// Owner says when this process is the one that works; nil: always.
	Owner bus.Owner
	Log   *slog.Logger

	// Fault is how a test stands between two steps: the step after it fails with what it returns.
	Fault func(at string) error
}

// Topic is what its owner owns.
const Topic = "rollout"

// Runner rolls out what is staged.
type Runner struct {
	config  Config
	commits *pipeline.CommitCodec
}

// New prepares the runner.
func New(config Config) (*Runner, error) {
	if config.Rate == 0 {
		config.Rate = DefaultRate
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Fault == nil {
		config.Fault = func(string) error { return nil }
	}
	commits, err := pipeline.NewCommitCodec()
	if err != nil {
		return nil, err
	}
	return &Runner{config: config, commits: commits}, nil
}

const (
	// lookEvery is how soon it is noticed that something is staged.
	lookEvery = 250 * time.Millisecond
	// failurePause is how long it rests after a failure.
	failurePause = time.Second
)

// Run works while it is this process's part, until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		held, release, err := bus.Own(ctx, r.config.Owner, Topic)
		if err != nil {
			return // ctx has ended
		}
		for held.Err() == nil {
			pause := lookEvery
			if err := r.work(held); err != nil && held.Err() == nil && !errors.Is(err, errSuperseded) {
				r.config.Log.Warn("the rollout of definitions stopped, beginning again", "error", err)
				pause = failurePause
			}
			select {
			case <-time.After(pause):
			case <-held.Done():
			}
		}
		release()
	}
}

// errSuperseded ends a rollout since other definitions are staged.
var errSuperseded = errors.New("other definitions are staged")

// drive is one worker's turn at one rollout.
type drive struct {
	r        *Runner
	staged   event.ControlRecord
	progress Progress
	revision uint64
	noted    time.Time
	out      *appender
}

// work does what is to be done now.
func (r *Runner) work(ctx context.Context) error {
	staged, err := r.config.Store.Newest(ctx, pipeline.KindStaged)
	if err != nil || staged.Version == 0 {
		return err
	}
	inForce, err := r.config.Store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return err
	}
	before, revision, err := look(ctx, r.config.JetStream)
	if err != nil {
		return err
	}
	if inForce.Staged >= staged.Version && before.Version == staged.Version && before.Phase == Done {
		return nil
	}
	d := &drive{r: r, staged: staged, revision: revision, progress: before}
	if before.Version != staged.Version {
		d.progress = Progress{Version: staged.Version, Began: time.Now().UTC(), Phase: Reading}
	}
	d.progress.Epoch = before.Epoch + 1
	if err := d.note(ctx); err != nil {
		return err
	}
	if d.out, err = newAppender(r, d.progress.Epoch); err != nil {
		return err
	}
	defer d.out.close()
	if inForce.Staged < staged.Version {
		err = d.prepare(ctx, inForce)
	}
	if err == nil {
		err = d.settle(ctx)
	}
	d.failed(ctx, err)
	return err
}

// current fails when other definitions are staged.
func (d *drive) current(ctx context.Context) error {
	newest, err := d.r.config.Store.Newest(ctx, pipeline.KindStaged)
	if err == nil && newest.Version != d.staged.Version {
		return errSuperseded
	}
	return err
}

// begin notes a phase.
func (d *drive) begin(ctx context.Context, phase Phase, total uint64) error {
	if err := d.r.config.Fault(string(phase)); err != nil {
		return err
	}
	if phase != d.progress.Phase {
		d.progress.Failure = ""
	}
	d.progress.Phase, d.progress.Done, d.progress.Total = phase, 0, total
	return d.note(ctx)
}

// prepare has every customer judged by the staged definitions, and puts them in force.
func (d *drive) prepare(ctx context.Context, inForce event.ControlRecord) error {
	store := d.r.config.Store
	object, err := store.Object(ctx, d.staged.Hash)
	if err != nil {
		return err
	}
	// Again: who staged them may have died before every partition had the record.
	if _, _, err := store.Apply(ctx, pipeline.KindStaged, object, time.Now()); err != nil {
		return err
	}
	if inForce.Hash != d.staged.Hash { // else they are what is in force already
		if err := d.readBack(ctx, inForce); err != nil {
			return err
		}
		if err := d.prepareAll(ctx); err != nil {
			return err
		}
		if err := d.arrive(ctx); err != nil {
			return err
		}
	}
	if err := d.begin(ctx, Switching, 0); err != nil {
		return err
	}
	if err := d.current(ctx); err != nil {
		return err
	}
	if d.r.config.BeforeSwitch != nil {
		if err := d.r.config.BeforeSwitch(ctx, d.staged); err != nil {
			return err
		}
	}
	now := time.Now()
	record, _, err := store.Apply(ctx, pipeline.KindDefinitions, object, now, control.Prepared(d.staged.Version, d.staged.Fire, now))
	if err != nil {
		return err
	}
	d.r.config.Log.Info("definitions are in force", "version", record.Version, "staged", d.staged.Version, "customers", d.progress.Prepared)
	return nil
}

// prepareAll has every customer judged who isn't yet.
func (d *drive) prepareAll(ctx context.Context) error {
	total, err := d.count(ctx)
	if err != nil {
		return err
	}
	if err := d.begin(ctx, Preparing, total); err != nil {
		return err
	}
	err = d.profiles(ctx, pipeline.KindStaged, d.staged.Version, func(p *profile.Profile) error {
		if p.Next != nil && p.Next.Version == d.staged.Version && p.Next.Filled {
			return d.goOn(ctx)
		}
		if err := d.r.config.Fault("prepare " + p.ID); err != nil {
			return err
		}
		d.progress.Prepared++
		if err := d.out.add(ctx, p.ID, pipeline.Preparation{Staged: d.staged.Version, Filled: true}); err != nil {
			return err
		}
		return d.goOn(ctx)
	})
	if err != nil {
		return err
	}
	return d.out.flush(ctx)
}

// settle gives a record to who is in another segment by the definitions that have come into force.
func (d *drive) settle(ctx context.Context) error {
	inForce, err := d.r.config.Store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return err
	}
	// Again: who put them in force may have died before every partition had the record.
	object, err := d.r.config.Store.Object(ctx, inForce.Hash)
	if err != nil {
		return err
	}
	if _, _, err := d.r.config.Store.Apply(ctx, pipeline.KindDefinitions, object, time.Now()); err != nil {
		return err
	}
	total, err := d.count(ctx)
	if err != nil {
		return err
	}
	if err := d.begin(ctx, Settling, total); err != nil {
		return err
	}
	err = d.profiles(ctx, pipeline.KindDefinitions, inForce.Version, func(p *profile.Profile) error {
		if p.Definitions == inForce.Version || p.Next != nil && p.Next.Filled && p.Next.Version == d.staged.Version && sameSegments(p) {
			return d.goOn(ctx)
		}
		if err := d.r.config.Fault("settle " + p.ID); err != nil {
			return err
		}
		d.progress.Told++
		if err := d.out.add(ctx, p.ID, pipeline.Preparation{Staged: d.staged.Version}); err != nil {
			return err
		}
		return d.goOn(ctx)
	})
	if err != nil {
		return err
	}
	if err := d.out.flush(ctx); err != nil {
		return err
	}
	return d.begin(ctx, Done, total)
}

// sameSegments tells whether the customer is in the same segments by what is staged.
func sameSegments(p *profile.Profile) bool {
	for id, m := range p.Segments {
		if m.In != p.Next.Segments[id].In {
			return false
		}
	}
	for id, m := range p.Next.Segments {
		if m.In != p.Segments[id].In {
			return false
		}
	}
	return true
}

// count is how many profiles the bucket holds.
func (d *drive) count(ctx context.Context) (uint64, error) {
	stream, err := d.r.config.JetStream.Stream(ctx, "KV_"+topology.Profiles)
	if err != nil {
		return 0, fmt.Errorf("count the profiles: %w", err)
	}
	return stream.CachedInfo().State.Msgs, nil
}
