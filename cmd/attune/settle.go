package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// settle waits until everything that is stored now has gone through the chains and into the sink, and for nothing that comes
// after it: there may always be some.
func settle(ctx context.Context, js jetstream.JetStream, partitions int) error {
	for _, hop := range []struct {
		stream string
		reader func(partition int) string
	}{
		{topology.Raw, func(p int) string { return topology.Durable(pipeline.ReaderNormalize, p) }},
		{topology.Events, func(p int) string { return topology.Durable(pipeline.ReaderCustomer, p) }},
		{topology.Commits, func(int) string { return pipeline.ReaderClickHouse }},
	} {
		newest := make([]uint64, partitions) // of what the hop before it has led to
		for p := range newest {
			last, err := bus.LastAtLeader(ctx, js.Conn(), hop.stream, topology.Subject(hop.stream, p))
			if err != nil {
				return fmt.Errorf("read the newest of %s.%d: %w", hop.stream, p, err)
			}
			newest[p] = last
		}
		for p, last := range newest {
			if err := passed(ctx, js, hop.stream, hop.reader(p), last); err != nil {
				return err
			}
		}
	}
	return nil
}

// passed waits until a reader has acknowledged all up to a sequence. One that was made anew and has nothing to read has
// acknowledged nothing, and is done too.
func passed(ctx context.Context, js jetstream.JetStream, stream, reader string, last uint64) error {
	for last > 0 {
		consumer, err := bus.LookUp(ctx, js, stream, reader)
		if err == nil {
			info := consumer.CachedInfo()
			if info.AckFloor.Stream >= last || info.NumPending == 0 && info.NumAckPending == 0 {
				return nil
			}
		}
		// It is being claimed at the moment, or the brokers elect who answers for it.
		passing := err == nil || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders)
		if !passing {
			return fmt.Errorf("look up reader %s: %w", reader, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
