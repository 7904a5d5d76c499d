package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// ledger is a sink that keeps every batch by its range, and fails where it is told to.
type ledger struct {
	mu      sync.Mutex
	batches map[[2]uint64]pipeline.SinkBatch
	order   [][2]uint64
	writes  int
	wrong   []string
	// fail is asked before and after a batch is kept.
	fail func(kept bool) error
	// block holds up every Write until it is closed.
	block   chan struct{}
	waiting atomic.Int32 // how many Writes came to that
}

func (l *ledger) Write(ctx context.Context, b pipeline.SinkBatch) error {
	if l.block != nil {
		l.waiting.Add(1)
		select {
		case <-l.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	if err := l.failure(false); err != nil {
		return err
	}
	if l.batches == nil {
		l.batches = map[[2]uint64]pipeline.SinkBatch{}
	}
	key := [2]uint64{b.From, b.To}
	if before, ok := l.batches[key]; ok {
		if diff := cmp.Diff(before, b, cmpopts.IgnoreFields(b, "Courtesy"), cmpopts.IgnoreUnexported(b)); diff != "" {
			l.wrong = append(l.wrong, fmt.Sprintf("range %v came again with another content: %s", key, diff))
		}
	} else {
		l.batches[key] = b
		l.order = append(l.order, key)
	}
	return l.failure(true)
}

func (l *ledger) failure(kept bool) error {
	if l.fail == nil {
		return nil
	}
	return l.fail(kept)
}

// commits are the sequences of all that was written, a repeated batch once.
func (l *ledger) commits() (all []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range l.order {
		for _, part := range l.batches[key].Parts {
			all = append(all, part.Sequence)
		}
	}
	return all
}

func (l *ledger) check(t *testing.T, r *rig, want uint64) {
	t.Helper()
	var sequences []uint64
	for i := range want {
		sequences = append(sequences, i+1)
	}
	if diff := cmp.Diff(sequences, l.commits()); diff != "" {
		t.Errorf("commits are not written once each, in order: %s", diff)
	}
	for _, wrong := range l.wrong {
		t.Error(wrong)
	}
	for key, b := range l.batches {
		if key[0] > key[1] || b.Parts[len(b.Parts)-1].Sequence != b.To {
			t.Errorf("range %v ends with commit %d", key, b.Parts[len(b.Parts)-1].Sequence)
		}
		newest := map[string]uint64{}
		for _, part := range b.Parts {
			newest[profileAt(part.Sequence)] = part.Sequence
		}
		for _, part := range b.Parts {
			profiles := 0 // of a profile only the last state in the range is read
			if newest[profileAt(part.Sequence)] == part.Sequence {
				profiles = 1
			}
			if len(part.Facts.Events) != 3 || part.Facts.Events[0].Position != part.Sequence || part.Partition != int(part.Sequence)%2 ||
				len(part.Profiles) != profiles || profiles > 0 && part.Profiles[0].Applied != part.Sequence {
				t.Errorf("commit %d was read as %+v", part.Sequence, part)
			}
		}
	}
}

// profileAt is the profile that a commit of the rig holds: one of three.
func profileAt(sequence uint64) string { return "p" + strconv.FormatUint(sequence%3, 10) }

// commit appends count commits of three events and a profile, 4 rows, from the given sequence on.
func (r *rig) commit(from, count uint64) {
	r.t.Helper()
	commits, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for sequence := from; sequence < from+count; sequence++ {
		e := event.Event{ID: fmt.Sprint(sequence)}
		record, err := e.Encode()
		if err != nil {
			r.t.Fatal(err)
		}
		encoded, err := commits.AppendFacts(nil, record, &pipeline.Facts{Events: []pipeline.Enriched{{Event: e}}})
		if err != nil {
			r.t.Fatal(err)
		}
		var facts []byte
		for range 3 {
			facts = pipeline.AppendRecordFacts(facts, sequence, encoded)
		}
		state := profile.Encode(&profile.Profile{ID: profileAt(sequence), Applied: sequence})
		data, err := commits.Encode(&pipeline.Commit{Position: sequence, Facts: facts, Profiles: []pipeline.ProfileState{{ID: profileAt(sequence), State: state}}})
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.js.Publish(r.t.Context(), topology.Subject(topology.Commits, sequence%2), data); err != nil {
			r.t.Fatal(err)
		}
	}
}

// read runs a sink's reader until stop is called.
func (r *rig) read(ctx context.Context, sink pipeline.Sink, rows int, interval time.Duration) (stop func()) {
	r.t.Helper()
	reader, err := pipeline.NewSinkReader(pipeline.SinkConfig{JetStream: r.js, Name: "sink", Sink: sink, Rows: rows, Interval: interval})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); reader.Run(ctx) }()
	return func() { cancel(); <-done }
}

// loseAcks takes back what the sink's consumer knows as acknowledged after the given sequence.
func (r *rig) loseAcks(after uint64) {
	r.t.Helper()
	if err := r.js.DeleteConsumer(r.t.Context(), topology.Commits, "sink"); err != nil {
		r.t.Fatal(err)
	}
	consumer, err := r.js.CreateConsumer(r.t.Context(), topology.Commits, jetstream.ConsumerConfig{
		Durable: "sink", AckPolicy: jetstream.AckAllPolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if floor := consumer.CachedInfo().AckFloor.Stream; floor != after {
		r.t.Fatalf("the consumer stands at %d, want %d", floor, after)
	}
}

func TestSinkReaderClosesABatchByRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.commit(1, 20)
	var l ledger
	stop := r.read(t.Context(), &l, 19, time.Hour) // five commits of four rows
	eventually(t, "all is written", func() bool { return len(l.commits()) == 20 })
	stop()
	l.check(t, r, 20)
	if diff := cmp.Diff([][2]uint64{{1, 5}, {6, 10}, {11, 15}, {16, 20}}, l.order); diff != "" {
		t.Error(diff)
	}
	for _, key := range l.order[1:] { // nobody stands back while more is waiting
		if l.batches[key].Courtesy != nil {
			t.Errorf("batch %v stands back", key)
		}
	}
}

func TestSinkReaderClosesABatchByTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var l ledger
	stop := r.read(t.Context(), &l, 1_000_000, 50*time.Millisecond)
	for i := range uint64(3) {
		r.commit(1+4*i, 4)
		eventually(t, "what is there is written", func() bool { return uint64(len(l.commits())) == 4+4*i })
	}
	stop()
	l.check(t, r, 12)
	if len(l.batches) < 3 {
		t.Errorf("%d batches", len(l.batches))
	}
	for key, b := range l.batches {
		if b.Courtesy == nil {
			t.Errorf("batch %v does not stand back", key)
		}
	}
}

// What comes after a pause is written soon; what comes after that waits until the interval has passed.
func TestSinkReaderRestsBetweenBatches(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var l ledger
	const interval = 3 * time.Second
	stop := r.read(t.Context(), &l, 1_000_000, interval)
	began := time.Now()
	r.commit(1, 4)
	eventually(t, "the first is written", func() bool { return len(l.commits()) == 4 })
	first := time.Now()
	r.commit(5, 4)
	eventually(t, "the second is written", func() bool { return len(l.commits()) == 8 })
	second := time.Now()
	stop()
	l.check(t, r, 8)
	if took := first.Sub(began); took > interval*2/3 {
		t.Errorf("the first batch took %s", took)
	}
	if took := second.Sub(first); took < interval*2/3 {
		t.Errorf("the second batch came %s after the first", took)
	}
}

// The sink fails and the reader is stopped at any moment, also between the journal and the write and between
// the write and its acknowledgement; acknowledgements get lost, and the consumer too.
func TestSinkReaderWritesEachCommitOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	chance := rand.New(rand.NewPCG(7, 8))
	const runs, each = 40, 25
	var l ledger
	for run := range uint64(runs) {
		ctx, crash := context.WithCancel(t.Context())
		left := chance.IntN(3) // steps until the crash
		where := chance.IntN(2) == 0
		l.mu.Lock()
		l.fail = func(kept bool) error {
			if kept == where {
				if left--; left < 0 {
					crash()
					return errors.New("crashed")
				}
			}
			return nil
		}
		l.mu.Unlock()
		r.commit(1+run*each, each)
		stop := r.read(ctx, &l, 4*(1+chance.IntN(12)), time.Duration(1+chance.IntN(5))*time.Millisecond)
		eventually(t, "the crash, or all is written", func() bool { return ctx.Err() != nil || uint64(len(l.commits())) == (run+1)*each })
		stop()
		crash()
		switch chance.IntN(4) {
		case 0: // the newest acknowledgements are lost
			consumer, err := r.js.Consumer(t.Context(), topology.Commits, "sink")
			if err != nil {
				t.Fatal(err)
			}
			floor := consumer.CachedInfo().AckFloor.Stream
			r.loseAcks(floor - min(floor, 30))
		case 1:
			if chance.IntN(3) == 0 {
				if err := r.js.DeleteConsumer(t.Context(), topology.Commits, "sink"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	l.mu.Lock()
	l.fail = nil
	l.mu.Unlock()
	stop := r.read(t.Context(), &l, 100, 5*time.Millisecond)
	eventually(t, "all is written", func() bool { return len(l.commits()) >= runs*each })
	stop()
	l.check(t, r, runs*each)
	if l.writes <= len(l.batches) {
		t.Errorf("%d writes of %d batches: nothing was repeated, the test shows nothing", l.writes, len(l.batches))
	}
}

// Two readers of one name, as after a takeover whose loser lives on.
func TestSinkReadersShareTheJournal(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var l ledger
	first := r.read(t.Context(), &l, 7, 3*time.Millisecond)
	second := r.read(t.Context(), &l, 11, 2*time.Millisecond)
	for i := range uint64(20) {
		r.commit(1+10*i, 10)
	}
	eventually(t, "the two have written much", func() bool { return len(l.commits()) >= 20 })
	first()
	eventually(t, "all is written", func() bool { return len(l.commits()) >= 200 })
	second()
	slices.SortFunc(l.order, func(a, b [2]uint64) int { return int(a[0]) - int(b[0]) }) // a late repeat may come after its successor
	l.check(t, r, 200)
}

// A range that was written, acknowledged and purged does not hold up the reader when the acknowledgement is lost.
func TestSinkReaderGoesOnAfterAPurge(t *testing.T) {
	t.Parallel()
	for _, upTo := range []uint64{5, 10} { // in the midst of the last range, and all of it
		t.Run(fmt.Sprint(upTo), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2)
			r.commit(1, 10)
			var l ledger
			stop := r.read(t.Context(), &l, 40, time.Hour)
			eventually(t, "all is written", func() bool { return len(l.commits()) == 10 })
			consumer, err := r.js.Consumer(t.Context(), topology.Commits, "sink")
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "all is acknowledged", func() bool {
				info, err := consumer.Info(t.Context())
				return err == nil && info.AckFloor.Stream == 10
			})
			stop()
			stream, err := r.js.Stream(t.Context(), topology.Commits)
			if err != nil {
				t.Fatal(err)
			}
			for sequence := uint64(2); sequence <= upTo; sequence++ { // the first stays, as a partition's last does
				if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
					t.Fatal(err)
				}
			}
			r.loseAcks(0)
			r.commit(11, 10)
			l.mu.Lock()
			delete(l.batches, [2]uint64{1, 10}) // it may come again, with what is left of it
			l.order = nil
			l.mu.Unlock()
			stop = r.read(t.Context(), &l, 40, time.Hour)
			eventually(t, "the next range is written", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				_, ok := l.batches[[2]uint64{11, 20}]
				return ok
			})
			stop()
			for key := range l.batches {
				if key != [2]uint64{1, 10} && key != [2]uint64{11, 20} {
					t.Errorf("a new range %v was closed", key)
				}
			}
		})
	}
}

// After a batch that was full nothing is to be spared: what is left does not wait until the interval has passed.
func TestSinkReaderFollowsAFullBatchAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.commit(1, 5)
	var l ledger
	stop := r.read(t.Context(), &l, 19, 3*patience/2)
	eventually(t, "a full batch is written", func() bool { return len(l.commits()) == 5 })
	r.commit(6, 1)
	eventually(t, "the rest is written", func() bool { return len(l.commits()) == 6 })
	stop()
	l.check(t, r, 6)
}

// A batch that only waited for the one before it to be written is not behind: the next one rests.
func TestSinkReaderRestsAfterABatchThatWaited(t *testing.T) {
	t.Parallel()
	const interval = 3 * time.Second
	r := newRig(t, 2)
	r.commit(1, 5)
	l := ledger{block: make(chan struct{})}
	stop := r.read(t.Context(), &l, 19, interval)
	eventually(t, "a full batch is the sink's", func() bool { return l.waiting.Load() == 1 })
	r.commit(6, 1)
	time.Sleep(interval / 5) // twice as long as the next one's time
	close(l.block)
	eventually(t, "the one that waited is written", func() bool { return len(l.commits()) == 6 })
	waited := time.Now()
	r.commit(7, 1)
	eventually(t, "the next one is written", func() bool { return len(l.commits()) == 7 })
	took := time.Since(waited)
	stop()
	l.check(t, r, 7)
	if took < interval*2/3 {
		t.Errorf("the next batch came %s after the one that waited", took)
	}
}

// What comes while a batch is written is the next batch, and read by then.
func TestSinkReaderCollectsWhileTheSinkWrites(t *testing.T) {
	t.Parallel()
	const commits = 400
	r := newRig(t, 2)
	l := ledger{block: make(chan struct{})}
	stop := r.read(t.Context(), &l, 1_000_000, 5*time.Millisecond)
	defer stop()
	r.commit(1, 1)
	eventually(t, "the first batch is the sink's", func() bool { return l.waiting.Load() == 1 })
	r.commit(2, commits-1)
	eventually(t, "all is read", func() bool {
		consumer, err := r.js.Consumer(t.Context(), topology.Commits, "sink")
		return err == nil && consumer.CachedInfo().Delivered.Stream == commits
	})
	close(l.block)
	eventually(t, "all is written", func() bool { return len(l.commits()) == commits })
	l.check(t, r, commits)
	if second := l.order[1]; second[0] != 2 || second[1] < commits/2 {
		t.Errorf("the second batch has commits %d to %d", second[0], second[1])
	}
}

// While the sink is away, the broker keeps what is not read, not we.
func TestSinkReaderHoldsLittleWhileTheSinkBlocks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.commit(1, 600)
	l := ledger{block: make(chan struct{})}
	stop := r.read(t.Context(), &l, 40, 5*time.Millisecond)
	defer stop()
	var consumer jetstream.Consumer
	eventually(t, "the reader reads", func() bool {
		var err error
		consumer, err = r.js.Consumer(t.Context(), topology.Commits, "sink")
		return err == nil && consumer.CachedInfo().Delivered.Stream >= 40
	})
	r.commit(601, 100)
	var info *jetstream.ConsumerInfo
	eventually(t, "the broker counts all for the reader", func() bool { // it tells the consumer after the publisher
		var err error
		info, err = consumer.Info(t.Context())
		return err == nil && info.Delivered.Stream+info.NumPending == 700
	})
	if info.Delivered.Stream > 200 {
		t.Errorf("%d commits are in the reader's hands, %d still at the broker", info.Delivered.Stream, info.NumPending)
	}
	close(l.block)
	eventually(t, "all is written", func() bool { return len(l.commits()) == 700 })
	l.check(t, r, 700)
}
