package pipeline_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/topology"
)

// Commits go once they are folded and every reader has passed them; the last one stays.
func TestCustomerPurgesWhatNobodyNeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	readers := map[string]jetstream.Consumer{}
	for _, name := range []string{"swift", "slow"} {
		consumer, err := r.js.CreateConsumer(t.Context(), topology.Commits, jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		readers[name] = consumer
	}
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) {
		c.Readers = func(int) []string { return []string{"swift", "slow"} }
	})
	defer stop()
	for i := range uint64(200) {
		r.append(i+1, i, fmt.Sprintf("p%d", i%30), "view")
	}
	r.waitPosition(200)
	all := r.commits()
	if len(all) < 6 || all[0].sequence != 1 {
		t.Fatalf("%d commits from %d on", len(all), all[0].sequence)
	}
	pass := func(name string, upTo uint64) {
		t.Helper()
		for {
			m, err := readers[name].Next(jetstream.FetchMaxWait(patience))
			if err != nil {
				t.Fatal(err)
			}
			if meta, err := m.Metadata(); err != nil {
				t.Fatal(err)
			} else if meta.Sequence.Stream == upTo {
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	last := all[len(all)-1].sequence
	pass("swift", last)
	pass("slow", 3)
	next := uint64(200)
	commit := func() { // what is folded, a stored commit must say
		t.Helper()
		next, last = next+1, last+1
		r.append(next, next-1, "other", "view")
		r.waitPosition(next)
		pass("swift", last)
	}
	eventually(t, "commits are purged", func() bool { commit(); return r.commits()[0].sequence > 3 })
	if first := r.commits()[0].sequence; first != 4 {
		t.Errorf("the oldest commit is %d, though the slow reader stands at 3", first)
	}
	eventually(t, "only the last commit is left", func() bool { commit(); pass("slow", last); return len(r.commits()) == 1 })
	if left := r.commits(); left[0].sequence != last || left[0].Position != next {
		t.Errorf("commit %d is left, want %d", left[0].sequence, last)
	}
	stop()
	if end, traces := r.trail(); end.To != next || uint64(len(traces)) != next {
		t.Errorf("%d records up to position %d have a trail, want %d", len(traces), end.To, next)
	}
	// The next owner reads all of it from there and from the bucket.
	stop, _ = r.worker(nil)
	r.append(next+1, next, "p1", "view")
	r.waitPosition(next + 1)
	stop()
	if p := r.profiles()["p1"]; p.Count("view") != 8 {
		t.Errorf("p1 counts %v, want 8 views", p.Activities)
	}
}
