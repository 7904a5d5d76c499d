package pipeline

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// purger is where a worker's partitions tell below which commit nobody needs theirs any more. Once all partitions of the
// stream have told, everything goes that is below the lowest of these: the broker then drops blocks whole, while for
// one subject it reads all that lies between its first commit and its last, and so each block as often as there are
// partitions. What is told stays true, whoever owns the partition by now. A worker that has not heard of every partition,
// since another one owns it or it has no commit to lose, purges each subject as it is told.
type purger struct {
	js jetstream.JetStream

	mu         sync.Mutex
	generation string         // of the stream whose sequences these are
	partitions int            // of the stream
	told       map[int]uint64 // by partition
	fresh      map[int]bool   // those that have told since all went together
	gone       uint64         // below it there is no commit
}

// tell notes that nobody needs a partition's commits below a sequence, and returns below which all may go, 0 while some
// partition has not told anew, and below which they are gone. alone: there are partitions that never told.
func (p *purger) tell(ctx context.Context, generation string, partition int, below uint64) (all, gone uint64, alone bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.generation != generation {
		if p.partitions, err = topology.Partitions(ctx, p.js); err != nil {
			return 0, 0, false, err
		}
		p.generation, p.told, p.fresh, p.gone = generation, map[int]uint64{}, map[int]bool{}, 0
	}
	p.told[partition], p.fresh[partition] = below, true
	if len(p.fresh) < p.partitions {
		return 0, p.gone, len(p.told) < p.partitions, nil
	}
	clear(p.fresh)
	return slices.Min(slices.Collect(maps.Values(p.told))), p.gone, false, nil
}

// purged notes that all below the sequence are gone.
func (p *purger) purged(below uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = max(p.gone, below)
}

// purge drops the partition's commits below the sequence with those of all others, or alone if it must not wait. It
// returns below which sequence none of the partition's is left.
func (p *purger) purge(ctx context.Context, partition int, below uint64, alone bool, faults faults) (uint64, error) {
	stream, err := bus.LookUpStream(ctx, p.js, topology.Commits)
	if err != nil {
		return 0, fmt.Errorf("purge commits: %w", err)
	}
	all, gone, hopeless, err := p.tell(ctx, topology.Generation(stream.CachedInfo()), partition, below)
	if err != nil {
		return 0, fmt.Errorf("purge commits: %w", err)
	}
	upTo := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSequence(all)}
	switch {
	case all != 0:
		below = all
	case alone || hopeless:
		upTo = []jetstream.StreamPurgeOpt{jetstream.WithPurgeSequence(below), jetstream.WithPurgeSubject(topology.Subject(topology.Commits, partition))}
	default:
		return gone, nil
	}
	if err := faults.at(purgeBegun); err != nil {
		return 0, err
	}
	if err := stream.Purge(ctx, upTo...); err != nil {
		return 0, fmt.Errorf("purge commits: %w", err)
	}
	if all != 0 {
		p.purged(all)
	}
	return below, faults.at(purged)
}
