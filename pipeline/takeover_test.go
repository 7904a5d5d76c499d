package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/embedded"
	"attune/pipeline/topology"
)

// A process that stood still goes on while the next owner is at work: it finds newer profiles in the bucket, and the
// older ones that it commits late must not lie over them.
func TestCustomerFoldsNothingOlderOverTheNextOwner(t *testing.T) {
	t.Parallel()
	w := newRig(t, 1).world(t, 0)
	w.eventOf("p", "view")
	first := w.fate(0, 0, cut, nil)
	stop := w.customer(func(c *pipeline.CustomerConfig) { c.JetStream, c.FoldEvery = first.js, time.Hour })
	w.reach(w.end)
	first.wire.cut() // the state lies in the tail
	stop()

	w.eventOf("p", "view")
	picked, noted, wake := make(chan struct{}), make(chan struct{}), make(chan struct{})
	pick, note := sync.OnceFunc(func() { close(picked) }), sync.OnceFunc(func() { close(noted) })
	var batches atomic.Int64
	sleeper := w.customer(func(c *pipeline.CustomerConfig) {
		c.FailAt(func(at pipeline.Point) error {
			switch at {
			case pipeline.BatchComputed:
				if batches.Add(1) > 1 {
					return errDead // its commit would be refused, and it would fold no more
				}
			case pipeline.FoldBegun:
				pick()
				<-noted
			case pipeline.CommitStored:
				<-wake
			case pipeline.CommitNoted:
				note()
			}
			return nil
		})
	})
	t.Cleanup(note)
	w.reach(w.end)
	<-picked

	w.eventOf("p", "view")
	stop = w.customer(nil)
	w.reach(w.end)
	newest := w.witness.last().sequence
	eventually(t, "a commit says that it is folded", func() bool {
		w.eventOf("other", "view")
		w.reach(w.end)
		return w.witness.last().Mark >= newest
	})
	stop()
	close(wake)
	sleeper()
	for _, difference := range w.settle() {
		t.Error(difference)
	}
}

// A former owner folds and purges while the next one reads the tail: what is purged must not be missed there.
func TestCustomerReadsTheTailBesideAPurge(t *testing.T) {
	t.Parallel()
	const commits = 200 // more than are under way to the reader
	w := newRig(t, 1).world(t, 0)
	w.eventOf("p", "view")
	for i := range commits {
		w.eventOf(fmt.Sprint("other", i), "view")
	}
	w.eventOf("p", "view")
	w.eventOf("other", "view")
	closing, claimed := make(chan struct{}), make(chan struct{})
	leave, read := sync.OnceFunc(func() { close(closing) }), sync.OnceFunc(func() { close(claimed) })
	stop := w.customer(func(c *pipeline.CustomerConfig) {
		c.FoldEvery, c.CachedProfiles, c.CommitBytes = time.Hour, 1000, 1
		c.FailAt(func(at pipeline.Point) error {
			if at == pipeline.FoldBegun {
				leave()
				<-claimed
			}
			return nil
		})
	})
	w.reach(w.end)
	w.settled()
	left := make(chan struct{})
	go func() { defer close(left); stop() }()
	<-closing

	w.eventOf("p", "view")
	stop = w.customer(func(c *pipeline.CustomerConfig) {
		c.FailAt(func(at pipeline.Point) error {
			if at == pipeline.TailRead {
				read()
				<-left
			}
			return nil
		})
	})
	w.reach(w.end)
	stop()
	for _, difference := range w.settle() {
		t.Error(difference)
	}
}

// The first claim of a partition, of which nothing is there yet.
func TestCustomerDiesInTheFirstClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t, 64)
	number := 0
	for at := pipeline.ClaimBegun; at <= pipeline.CommitStored; at++ {
		for _, how := range []death{cut, closed, stopped, slept} {
			mine := number
			number++
			t.Run(fmt.Sprintf("%s/%s", at, how), func(t *testing.T) {
				t.Parallel()
				w := r.world(t, mine)
				w.events(8)
				f := w.fate(at, 1, how, nil)
				w.takeOver(f, w.victim(f))
				if !f.happened() {
					t.Errorf("%s was never reached", at)
				}
				for _, difference := range w.settle() {
					t.Error(difference)
				}
			})
		}
	}
}

// A commit of a single record that is too large for the broker stops the partition and says why. Once the broker takes
// more, it goes on where it stood.
func TestCustomerGoesOnWhenTheBrokerTakesMore(t *testing.T) {
	t.Parallel()
	const events, size = 20, 4 << 10
	dir := t.TempDir()
	hoarding := func(log *journal) func(*pipeline.CustomerConfig) {
		return func(c *pipeline.CustomerConfig) {
			c.CommitBytes, c.Log = 1, slog.New(slog.NewTextHandler(log, nil))
			c.Load = func(context.Context, pipeline.Controls) (*pipeline.Chain, error) {
				return &pipeline.Chain{Stages: []pipeline.Stage{hoard{}}}, nil
			}
		}
	}
	n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir, MaxPayload: 32 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r := newRigOn(t, n, 1)
	for i := range uint64(events) {
		r.appendProperties(i+1, "p", size) // a profile of 80 KiB in the end
	}
	var log journal
	stop, _ := r.worker(hoarding(&log))
	eventually(t, "the log says what to do", func() bool { return log.has("max_payload of 32768") && log.has("raise it") })
	stop()
	stood := r.lastCommit().Position
	if stood == 0 || stood >= events {
		t.Errorf("the partition stands at %d", stood)
	}
	r.js.Conn().Close()
	n.Close()

	if n, err = embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir, MaxPayload: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r = newRigOn(t, n, 1)
	stop, _ = r.worker(hoarding(&log))
	r.waitPosition(events)
	stop()
	if p := r.profiles()["p"]; len(p.Traits) != events {
		t.Errorf("%d traits of %d events", len(p.Traits), events)
	}
}

// An owner that has lost its partition leaves its folding to the next one, also where the bucket is silent: else it would
// claim again only when the broker's answers are given up.
func TestALostPartitionDoesNotWaitForItsFolding(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	stop := r.work(0)
	defer stop()
	r.append(1, 0, "p", "view")
	owned := r.waitPosition(1)

	if err := r.js.DeleteStream(t.Context(), "KV_"+topology.Profiles); err != nil {
		t.Fatal(err)
	}
	folding, refused := make(chan struct{}, 100), make(chan struct{})
	bucket, err := r.js.Conn().Subscribe("$KV."+topology.Profiles+".>", func(m *nats.Msg) {
		folding <- struct{}{}
		<-refused
		_ = m.Respond([]byte(`{"error":{"code":503}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bucket.Unsubscribe() }()
	defer close(refused)
	r.append(2, 1, "p", "view")
	<-folding

	claim := r.waitPosition(2)
	claim.Epoch++
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	data, err := codec.Encode(claim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Commits, 0), data); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.append(3, 2, "p", "view")
	eventually(t, "it is claimed again", func() bool { return r.lastCommit().Epoch > owned.Epoch+1 })
	if took := time.Since(began); took > bus.AckTimeout/2 {
		t.Errorf("it took %s", took)
	}
}
