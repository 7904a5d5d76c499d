package rollout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// hops is how many profiles one after another may each go on in the next, for the first one's past to be sure to arrive
// before the switch.
const hops = 3

// arrive waits until what prepare records have of profiles that went on in others is with those: their workers send it
// on, and what comes after the switch is of no use. Where no past had to be read back nothing is sent on.
func (d *drive) arrive(ctx context.Context) error {
	if d.progress.ReadTo == 0 {
		return nil
	}
	for range hops {
		if err := d.passed(ctx, topology.Events, pipeline.ReaderCustomer); err != nil {
			return err
		}
		if err := d.passed(ctx, topology.Commits, pipeline.ReaderRelay); err != nil {
			return err
		}
	}
	return nil
}

// passed waits until the reader of each partition has passed what the stream holds of it now.
func (d *drive) passed(ctx context.Context, name, reader string) error {
	js := d.r.config.JetStream
	for p := range d.r.config.Partitions {
		last, err := bus.LastAtLeader(ctx, js.Conn(), name, topology.Subject(name, p))
		if err != nil {
			return fmt.Errorf("read the newest of %s.%d: %w", name, p, err)
		}
		if last == 0 {
			continue
		}
		for {
			consumer, err := js.Consumer(ctx, name, topology.Durable(reader, p))
			if err == nil && consumer.CachedInfo().AckFloor.Stream >= last {
				break
			}
			if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) { // it is made anew when the partition changes hands
				return fmt.Errorf("look up who reads %s.%d: %w", name, p, err)
			}
			if err := d.goOn(ctx); err != nil {
				return err
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
