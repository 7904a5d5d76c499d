package rollout

import (
	"context"
	"encoding/json"
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
	found := past{events: map[string][]pipeline.PastEvent{}}
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
	if err := d.readOlder(ctx, plan, since, visit); err != nil {
		return err
	}
	from := jetstream.ConsumerConfig{FilterSubject: topology.Events + ".*"}
	switch began := since.Time(); {
	case d.progress.Read > 0:
		from.DeliverPolicy, from.OptStartSeq = jetstream.DeliverByStartSequencePolicy, d.progress.Read+1
	case since > 0:
		from.DeliverPolicy, from.OptStartTime = jetstream.DeliverByStartTimePolicy, &began
	}
	applied := appliedRecords{}
	err = d.read(ctx, topology.Events, from, end, func(one bus.Delivery) error {
		e, err := event.Decode(one.Data)
		if err != nil || !applied.has(one.Subject, &e) {
			return visit(nil, one.Sequence)
		}
		return visit(&e, one.Sequence)
	})
	if err != nil {
		return err
	}
	return d.appendPast(ctx, &found)
}

// readOlder visits what the log has lost to age.
func (d *drive) readOlder(ctx context.Context, plan Plan, since event.Instant, visit func(*event.Event, uint64) error) error {
	log, err := d.r.config.JetStream.Stream(ctx, topology.Events)
	if err != nil {
		return fmt.Errorf("look up %s: %w", topology.Events, err)
	}
	state := log.CachedInfo().State
	if d.r.config.Older == nil || d.progress.Read+1 >= state.FirstSeq || state.Msgs > 0 && !since.Time().Before(state.FirstTime) {
		d.progress.Older = false
		return nil
	}
	d.progress.Older = true
	if err := d.note(ctx); err != nil {
		return err
	}
	asked := Older{Names: plan.Events(), Since: since, After: d.progress.Read, Before: state.FirstSeq}
	if err := d.r.config.Older(ctx, asked, visit); err != nil {
		return fmt.Errorf("read what the log does not have any more: %w", err)
	}
	d.progress.Older, d.progress.Failure = false, ""
	return d.note(ctx)
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
