package replay

import (
	"context"
	"errors"
	"fmt"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// ErrUnknown is returned where a customer had done nothing yet.
var ErrUnknown = errors.New("nothing was known of this customer")

// Past is a customer as they were, with what was in force then.
type Past struct {
	Profile  *profile.Profile
	Controls pipeline.Controls
}

// Customer is a customer as of an instant: by all of their records that were accepted up to then and are committed, and
// what came due. It reads the log of their partition from a state of it on, which must not be used any more, or, where
// that is nil, the whole. The error wraps ErrAged when the log does not reach back far enough, and ErrUnknown when the
// customer's first record was accepted later.
func (r *Replayer) Customer(ctx context.Context, id string, partition int, at event.Instant, from *State) (*Past, error) {
	past, err := r.customer(ctx, id, partition, at, from)
	if err != nil {
		return nil, fmt.Errorf("replay customer %s in partition %d: %w", id, partition, err)
	}
	return past, nil
}

func (r *Replayer) customer(ctx context.Context, id string, partition int, at event.Instant, from *State) (*Past, error) {
	if from == nil {
		from = newState(partition)
	}
	end, err := r.newest(ctx, partition)
	if err != nil {
		return nil, err
	}
	if _, err := r.reaches(ctx, from, end.position); err != nil {
		return nil, err
	}
	m, err := newMachine(ctx, r.config, r.commits, from)
	if err != nil {
		return nil, err
	}
	p, err := m.profile(id)
	if err != nil {
		return nil, err
	}
	if p.Now > at {
		return nil, fmt.Errorf("the snapshot has the customer as of %s, after %s: give an older one", p.Now, at)
	}
	log := newLogReader(r.config.JetStream, partition, max(from.Position, from.Read), end.position)
	defer log.close()
	t := travel{machine: m, id: id, at: at}
	for !t.arrived {
		batch, err := log.batch(ctx)
		if err != nil {
			return nil, err
		}
		if batch == nil {
			break
		}
		for _, d := range batch {
			if err := t.take(ctx, d); err != nil {
				return nil, fmt.Errorf("position %d: %w", d.Sequence, err)
			}
		}
		m.settle()
		if r.config.Progress != nil {
			r.config.Progress(partition, m.state.Position, end.position)
		}
	}
	return t.end()
}

// travel goes through a partition's log for the sake of one customer.
type travel struct {
	machine *machine
	id      string
	at      event.Instant
	// pending are control records that were appended after the instant. The clocks of those who append differ: where
	// the customer's own records that follow are of before it, they were in force for these all the same.
	pending []bus.Delivery
	arrived bool // at the customer's first record after the instant
}

func (t *travel) take(ctx context.Context, d bus.Delivery) error {
	m := t.machine
	if t.arrived {
		return nil
	}
	e, err := event.Decode(d.Data)
	switch {
	case err != nil:
		return nil // it was parked
	case e.Type == event.Control && e.Accepted > t.at:
		t.pending = append(t.pending, d)
		return nil
	case e.Type != event.Control && e.Profile != t.id:
		if e.Source.Name != "" && e.Source.News(m.state.Sources[e.Source.Name]) {
			m.state.Sources[e.Source.Name] = e.Source.Ordinal
		}
		return nil
	case e.Accepted > t.at:
		t.arrived = true
		return nil
	}
	for _, control := range t.pending {
		if _, err := m.apply(ctx, control, false); err != nil {
			return err
		}
	}
	t.pending = nil
	_, err = m.apply(ctx, d, false)
	return err
}

// end is the customer at the instant, after what came due since their last record.
func (t *travel) end() (*Past, error) {
	p, err := t.machine.profile(t.id)
	if err != nil {
		return nil, err
	}
	if p.Applied == 0 {
		return nil, fmt.Errorf("%w at %s: their first record came later, or is not committed yet", ErrUnknown, t.at)
	}
	if _, err := t.machine.chain.Try(p, &event.Event{Type: event.Wake, Profile: t.id, Accepted: t.at}, p.Applied); err != nil {
		return nil, err
	}
	return &Past{Profile: p, Controls: t.machine.state.Controls}, nil
}
