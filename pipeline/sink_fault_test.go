package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/topology"
)

// sink runs a reader of the commits under the name of this test's sink.
func (f *fate) sink(r *rig, js jetstream.JetStream, name string, l *ledger, rows int) (stop func()) {
	r.t.Helper()
	config := pipeline.SinkConfig{JetStream: js, Name: name, Sink: l, Rows: rows, Interval: 5 * time.Millisecond}
	if f != nil {
		config.FailAt(f.strike)
	}
	reader, err := pipeline.NewSinkReader(config)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); reader.Run(ctx) }()
	return func() { cancel(); <-done }
}

// A sink's reader dies at every point, in every way; the next one, which cuts its batches otherwise, writes each
// commit once.
func TestSinkReaderDiesAtEveryPoint(t *testing.T) {
	t.Parallel()
	const commits = 40
	r := newRig(t, 2)
	r.commit(1, commits)
	for at := pipeline.RangeCollected; at < pipeline.Points; at++ {
		for how := range deaths {
			t.Run(fmt.Sprintf("%s/%s", at, how), func(t *testing.T) {
				t.Parallel()
				mine := *r
				mine.t = t
				l, at := mine.sinkOrdeal(at, how, nil)
				if !at.happened() {
					t.Errorf("%s was never reached", at.at)
				}
				l.check(t, &mine, commits)
			})
		}
	}
}

func (r *rig) sinkOrdeal(at pipeline.Point, how death, mutate func(jetstream.JetStream) jetstream.JetStream) (*ledger, *fate) {
	r.t.Helper()
	if mutate == nil {
		mutate = func(js jetstream.JetStream) jetstream.JetStream { return js }
	}
	l := &ledger{}
	name := fmt.Sprintf("sink-%d-%d", at, how)
	f := r.fate(at, 2, how, nil)
	stop := f.sink(r, mutate(f.js), name, l, 4*7)
	eventually(r.t, "the reader dies", f.happened)
	if how != stopped && how != slept && how != stumbled {
		stop()
	}
	through := func() bool { return len(l.commits()) >= 40 }
	if how == stumbled {
		eventually(r.t, "all is written", through)
		stop()
	}
	var none *fate
	next := none.sink(r, mutate(r.js), name, l, 4*5)
	if how == stopped {
		f.goOn()
	}
	eventually(r.t, "all is written", through)
	if how == stopped || how == slept {
		f.goOn()
		stop()
	}
	next()
	slices.SortFunc(l.order, func(a, b [2]uint64) int { return int(a[0]) - int(b[0]) }) // a late repeat may come after its successor
	return l, f
}

// forgetful is a broker whose journals remember nothing.
type forgetful struct{ jetstream.JetStream }

func (f forgetful) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := f.JetStream.KeyValue(ctx, bucket)
	if bucket == topology.Journal {
		kv = blank{kv}
	}
	return kv, err
}

type blank struct{ jetstream.KeyValue }

func (blank) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	return nil, jetstream.ErrKeyNotFound
}

func (blank) Create(context.Context, string, []byte, ...jetstream.KVCreateOpt) (uint64, error) {
	return 1, nil
}

func (blank) Update(context.Context, string, []byte, uint64) (uint64, error) { return 1, nil }

// Without its journal the next reader closes another range over the same commits: they are there twice.
func TestSinkReaderWithoutItsJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.commit(1, 40)
	l, _ := r.sinkOrdeal(pipeline.RangeWritten, cut, func(js jetstream.JetStream) jetstream.JetStream { return forgetful{js} })
	if all := l.commits(); slices.Equal(all, slices.Compact(slices.Clone(all))) && slices.IsSorted(all) {
		t.Errorf("no commit was written twice: %v", all)
	}
}
