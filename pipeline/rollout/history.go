package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

const (
	// pastEvents is how many events that count are collected before they are appended, by customer.
	pastEvents = 5000
	// pastOfOne bounds the events of one record.
	pastOfOne = 200
)

// past collects what counts, by customer, in the order in which they were first seen.
type past struct {
	events map[string][]pipeline.PastEvent
	order  []string
	count  int
	read   uint64 // the position up to which it has all
}

// readBack appends what the staged rules need of the past and profiles don't hold.
func (d *drive) readBack(ctx context.Context, inForce event.ControlRecord) error {
	plan, err := d.r.config.Plan(ctx, pipeline.Controls{pipeline.KindDefinitions: inForce, pipeline.KindStaged: d.staged})
	if err != nil {
		return fmt.Errorf("read what is staged: %w", err)
	}
	now := event.At(time.Now())
	since, lacking := plan.Reach(now)
	if !lacking {
		return nil
	}
	// Every partition has the record by now: what follows it, customers keep by themselves.
	if d.progress.ReadTo == 0 {
		if d.progress.ReadTo, err = d.newest(ctx, topology.Events); err != nil {
			return err
		}
	}
	end := d.progress.ReadTo
	if err := d.begin(ctx, Reading, end); err != nil {
		return err
	}
	if d.progress.Read >= end {
		return nil
	}
	found := past{events: map[string][]pipeline.PastEvent{}, read: d.progress.Read}
	visit := func(e *event.Event, position uint64) error { // of nil nothing counts
		found.read, d.progress.Done = position, position
		if e != nil && plan.Wants(e, now) {
			found.take(e, position, plan)
		}
		if found.count < pastEvents {
			return nil
		}
		return d.appendPast(ctx, &found)
	}
	reader := pastReader{drive: d, plan: plan, since: since, end: end, found: &found, visit: visit}
	for {
		if err := reader.older(ctx); err != nil {
			return err
		}
		err := reader.log(ctx)
		aged := errors.Is(err, errAged)
		if err != nil && !aged {
			return err
		}
		if err := d.appendPast(ctx, &found); err != nil || !aged {
			return err
		}
	}
}

// errAged tells that the log lost what was to be read of it next.
var errAged = errors.New("the log lost it to age")

// pastReader reads what occurred since an instant up to a position: of the log, and of what the log has lost, elsewhere.
type pastReader struct {
	*drive
	plan  Plan
	since event.Instant
	end   uint64
	found *past
	visit func(e *event.Event, position uint64) error
}

// lost is up to where what is to be read next can't be had of the log; 0: the log has it.
func (r *pastReader) lost(ctx context.Context) (before uint64, err error) {
	if r.r.config.Older == nil {
		return 0, nil
	}
	log, err := r.r.config.JetStream.Stream(ctx, topology.Events)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", topology.Events, err)
	}
	state := log.CachedInfo().State
	before = min(state.FirstSeq, r.end+1)
	if r.found.read+1 >= before || state.Msgs > 0 && !r.since.Time().Before(state.FirstTime) {
		return 0, nil
	}
	return before, nil
}

// older visits what the log has lost to age, also what it loses meanwhile: what is found is appended at a bounded rate.
func (r *pastReader) older(ctx context.Context) error {
	for {
		before, err := r.lost(ctx)
		if err != nil {
			return err
		}
		if before == 0 {
			r.progress.Older = false
			return nil
		}
		r.progress.Older = true
		if err := r.note(ctx); err != nil {
			return err
		}
		asked := Older{Names: r.plan.Events(), Since: r.since, After: r.found.read, Before: before}
		if err := r.r.config.Older(ctx, asked, r.visit); err != nil {
			return fmt.Errorf("read what the log does not have any more: %w", err)
		}
		if err := r.visit(nil, before-1); err != nil {
			return err
		}
		r.progress.Older = false
		r.goesOn()
		if err := r.note(ctx); err != nil {
			return err
		}
	}
}

// log visits what the log has, until it lost what comes next: [errAged].
func (r *pastReader) log(ctx context.Context) error {
	if r.found.read >= r.end {
		return nil
	}
	from := jetstream.ConsumerConfig{FilterSubject: topology.Events + ".*"}
	switch began := r.since.Time(); {
	case r.found.read > 0:
		from.DeliverPolicy, from.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.found.read+1
	case r.since > 0:
		from.DeliverPolicy, from.OptStartTime = jetstream.DeliverByStartTimePolicy, &began
	}
	applied := appliedRecords{}
	err := r.read(ctx, topology.Events, from, r.end, func(one bus.Delivery) error {
		if one.Sequence > r.found.read+1 {
			if err := r.check(ctx); err != nil {
				return err
			}
		}
		e, err := event.Decode(one.Data)
		if err != nil || !applied.has(one.Subject, &e) {
			return r.visit(nil, one.Sequence)
		}
		return r.visit(&e, one.Sequence)
	})
	if err != nil {
		return err
	}
	return r.check(ctx)
}

// check tells where the log no longer has what comes next.
func (r *pastReader) check(ctx context.Context) error {
	before, err := r.lost(ctx)
	if err != nil || before == 0 {
		return err
	}
	return errAged
}

// take keeps what is asked of an event.
func (x *past) take(e *event.Event, position uint64, plan Plan) {
	id := e.Profile
	if x.events[id] == nil {
		x.order = append(x.order, id)
	}
	x.events[id] = append(x.events[id], PastOf(e, position, plan))
	x.count++
}

// PastOf is what the plan asks of an event.
func PastOf(e *event.Event, position uint64, plan Plan) pipeline.PastEvent {
	one := pipeline.PastEvent{Position: position, Type: e.Type, Name: e.Name, Occurred: e.Occurred}
	name := e.CountName()
	asked := map[string]any{}
	e.Properties.Fields(func(property string, v event.Value) bool {
		if plan.Asks(name, property) {
			asked[property] = json.RawMessage(v.Raw())
		}
		return true
	})
	if len(asked) > 0 {
		if o, err := event.ObjectOf(asked); err == nil { // it was an object's part before
			one.Properties = o
		}
	}
	return one
}

// appendPast appends what was collected.
func (d *drive) appendPast(ctx context.Context, x *past) error {
	for _, id := range x.order {
		events := x.events[id]
		for len(events) > 0 {
			n := min(len(events), pastOfOne)
			b := pipeline.Preparation{Staged: d.staged.Version, Past: events[:n], Read: events[n-1].Position}
			if events = events[n:]; len(events) == 0 {
				b.Read = x.read
			}
			if err := d.out.add(ctx, id, b); err != nil {
				return err
			}
		}
	}
	if err := d.out.flush(ctx); err != nil {
		return err
	}
	if err := d.r.config.Fault("read back"); err != nil {
		return err
	}
	d.progress.Read = max(d.progress.Read, x.read)
	clear(x.events)
	x.order, x.count = x.order[:0], 0
	return d.goOn(ctx)
}
