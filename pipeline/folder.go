package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/profile"
	"attune/pipeline/state"
	"attune/pipeline/topology"
)

const (
	foldBatch    = 250
	foldAttempts = 5
	// purgePatience is how many rounds a partition's commits wait to go with those of the others.
	purgePatience = 4
)

// folder writes profiles from the commits into the bucket in the background, oldest commits first, each once
// per round however often it changed, and purges commits that nobody needs any more.
type folder struct {
	c         *Customer
	number    int
	cache     *cache
	bucket    *state.Bucket
	committer *committer
	tracer    *tracer

	once   sync.Once
	stop   chan struct{}
	purged uint64 // commits below it are gone
	waited int    // rounds in which commits could have gone, but waited for those of other partitions
}

// finish folds what is left and ends.
func (f *folder) finish() { f.once.Do(func() { close(f.stop) }) }

func (f *folder) run(ctx context.Context) {
	defer f.bucket.Close()
	every := f.c.config.FoldEvery
	tick := time.NewTimer(every/2 + every/32*time.Duration(f.number%16)) // the partitions of a worker take turns
	defer tick.Stop()
	for ending, urgent := false, false; !ending; {
		select {
		case <-tick.C:
			tick.Reset(every)
		case <-f.committer.heavy:
			urgent = true
		case <-f.stop:
			ending = true
		}
		if f.committer.failed() != nil {
			return // the partition is lost: its new owner folds
		}
		if err := f.round(ctx, ending, urgent || ending); err != nil && ctx.Err() == nil {
			f.c.config.Log.Warn("fold profiles", "partition", f.number, "error", err)
		}
		urgent = false
	}
}

func (f *folder) round(ctx context.Context, ending, urgent bool) error {
	traced := f.tracer.round(ctx, ending) // what has no trail is not purged
	return errors.Join(traced, f.fold(ctx, urgent), f.purge(ctx, ending))
}

// fold writes what was committed before it began. What changes meanwhile waits for the next round: under load there
// would be no end to it. Where it isn't urgent it works a quarter of the time, so that decisions don't wait for it.
func (f *folder) fold(ctx context.Context, urgent bool) error {
	upTo := f.committer.lighten()
	for {
		folds := f.cache.toFold(foldBatch, upTo)
		if len(folds) == 0 {
			break
		}
		began := time.Now()
		if err := f.write(ctx, folds); err != nil {
			return err
		}
		if !urgent {
			urgent = f.ease(3 * time.Since(began))
		}
		f.c.metrics.folded.Add(float64(len(folds)))
	}
	f.c.metrics.unfolded.WithLabelValues(strconv.Itoa(f.number)).Set(float64(f.cache.unfolded()))
	return nil
}

// ease waits for so long, unless it becomes urgent meanwhile.
func (f *folder) ease(pause time.Duration) (urgent bool) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-f.committer.heavy:
	case <-f.stop:
	}
	return true
}

// write stores the profiles with compare-and-set. A conflict means that the bucket's revision was not known,
// or that another owner folded: what is older there is overwritten, what is newer stays.
func (f *folder) write(ctx context.Context, folds []fold) error {
	put := f.store
	for range foldAttempts {
		writes := make([]state.Write, len(folds))
		for i, x := range folds {
			writes[i] = state.Write{Key: x.id, Value: x.state, Revision: x.revision}
		}
		if err := f.c.config.faults.at(foldBegun); err != nil {
			return err
		}
		revisions, conflicts, err := put(ctx, writes)
		if err != nil {
			return err
		}
		if err := f.c.config.faults.at(foldWritten); err != nil {
			return err
		}
		for i, revision := range revisions {
			if revision != 0 {
				f.cache.folded(folds[i], revision)
			}
		}
		if len(conflicts) == 0 {
			return f.c.config.faults.at(foldNoted)
		}
		if folds, err = f.resolve(ctx, folds, conflicts); err != nil || len(folds) == 0 {
			return err
		}
		put = f.bucket.Put
	}
	return fmt.Errorf("%d profiles keep changing in the bucket under other hands", len(folds))
}

// store has the broker say which of the writes lost only where some did: mostly it is none.
func (f *folder) store(ctx context.Context, writes []state.Write) (revisions []uint64, conflicts []int, err error) {
	if revisions, err = f.bucket.Store(ctx, writes); bus.IsConflict(err) {
		return f.bucket.Put(ctx, writes)
	}
	return revisions, nil, err
}

func (f *folder) resolve(ctx context.Context, folds []fold, conflicts []int) ([]fold, error) {
	keys := make([]string, len(conflicts))
	for i, at := range conflicts {
		keys[i] = folds[at].id
	}
	if err := f.c.config.faults.at(foldConflicted); err != nil {
		return nil, err
	}
	found, err := f.bucket.Get(ctx, keys)
	if err != nil {
		return nil, err
	}
	if err := f.c.config.faults.at(foldResolved); err != nil {
		return nil, err
	}
	var again []fold
	for _, at := range conflicts {
		x := folds[at]
		there := found[x.id]
		if there.Value != nil {
			theirs, err := profile.Decode(there.Value)
			if err != nil {
				return nil, fmt.Errorf("profile %s in the bucket: %w", x.id, err)
			}
			ours, err := profile.Decode(x.state)
			if err != nil {
				return nil, err
			}
			if theirs.Applied > ours.Applied {
				// The next owner's. Its revision must not become ours: what we fold next may be older as well.
				f.cache.stored(there.Revision)
				f.cache.folded(x, x.revision)
				continue
			}
			if theirs.Applied == ours.Applied {
				f.cache.folded(x, there.Revision)
				continue
			}
		}
		x.revision = there.Revision
		again = append(again, x)
	}
	return again, nil
}

// purge drops the commits that are folded and that every reader has passed; the last one always stays. Folded is
// what a stored commit says: a next owner may be reading all above that mark at this moment, and would miss a newer
// state of a profile that it has read already.
func (f *folder) purge(ctx context.Context, ending bool) error {
	last := f.committer.confirmed()
	upTo := min(f.committer.stated(), f.tracer.settled(last))
	if min(upTo+1, last) <= f.purged {
		return nil
	}
	for _, reader := range f.c.config.Readers(f.number) {
		consumer, err := bus.LookUp(ctx, f.c.config.JetStream, topology.Commits, reader)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil // it has not read anything yet
		}
		if err != nil {
			return fmt.Errorf("look up reader %s: %w", reader, err)
		}
		upTo = min(upTo, consumer.CachedInfo().AckFloor.Stream)
	}
	below := min(upTo+1, last)
	if below <= max(f.purged, 1) {
		return nil
	}
	gone, err := f.c.purger.purge(ctx, f.number, below, ending || f.waited >= purgePatience, f.c.config.faults)
	if err != nil {
		return err
	}
	if f.waited++; gone > f.purged {
		f.purged, f.waited = gone, 0
	}
	return nil
}
