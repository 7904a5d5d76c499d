package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// worker runs the customer chain on partition 0 over a connection of its own, until stop is called; kill takes
// its connection away.
func (r *rig) worker(edit func(*pipeline.CustomerConfig)) (stop, kill func()) {
	r.t.Helper()
	conn, err := r.n.Connect()
	if err != nil {
		r.t.Fatal(err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		r.t.Fatal(err)
	}
	config := pipeline.CustomerConfig{
		JetStream: js, CachedProfiles: 3, FoldEvery: 5 * time.Millisecond, CommitBytes: 4 << 10,
		Readers: func(int) []string { return []string{"nobody"} }, // every commit stays, for the test to look at
		Load:    func(context.Context, pipeline.Controls) (*pipeline.Chain, error) { return tallyChain(0), nil },
	}
	if edit != nil {
		edit(&config)
	}
	customer, err := pipeline.NewCustomer(config)
	if err != nil {
		r.t.Fatal(err)
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		r.t.Fatal(err)
	}
	subscriber, handle := customer.Subscriber(), customer.Handle
	if r.serve != nil {
		subscriber, handle = r.serve(customer)
	}
	router.AddConsumerHandler("customer-0", topology.Subject(topology.Events, r.number), subscriber, handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := router.Close(); err != nil {
			r.t.Error(err)
		}
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		conn.Close()
	}), conn.Close
}

func tallyChain(version uint64) *pipeline.Chain {
	return &pipeline.Chain{Stages: []pipeline.Stage{tally{}}, Version: version}
}

// flow appends events of many people, some of them twice, and returns how many there are; begun tells how far
// it is.
func (r *rig) flow(count uint64, begun *atomic.Uint64) (records uint64) {
	chance := rand.New(rand.NewPCG(count, 1))
	for i := range count {
		person := fmt.Sprintf("p%d", chance.IntN(40))
		r.append(i+1, i, person, "view")
		records++
		if chance.IntN(10) == 0 {
			r.append(i+1, i, person, "view")
			records++
		}
		begun.Store(records)
	}
	return records
}

// settle appends a last event and lets a worker end in peace after it: it folds what its predecessors left in
// the commits.
func (r *rig) settle(ordinal, position uint64) {
	r.t.Helper()
	r.append(ordinal, ordinal-1, "last", "view")
	stop, _ := r.worker(nil)
	r.waitPosition(position)
	stop()
}

// The worker's connection dies again and again while events flow, and the next one goes on.
func TestCustomerSurvivesTheDeathOfItsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	chance := rand.New(rand.NewPCG(9, 10))
	var begun atomic.Uint64
	flowing := make(chan uint64, 1)
	go func() { flowing <- r.flow(3000, &begun) }()
	var total uint64
	deaths := 0
	for at := uint64(50); total == 0; at += 20 + chance.Uint64N(120) {
		stop, kill := r.worker(nil)
		select {
		case total = <-flowing:
		default:
			r.waitPosition(min(at, begun.Load()))
			time.Sleep(time.Duration(chance.IntN(3000)) * time.Microsecond) // any moment of a commit's way
			kill()
			deaths++
		}
		stop()
	}
	r.settle(3001, total+1)
	r.compare()
	if deaths < 2 {
		t.Errorf("%d deaths: the test shows little", deaths)
	}
	t.Logf("%d deaths, %d commits, %d records", deaths, len(r.commits()), total)
}

// Two workers hold themselves for the owner: only the one that claimed last commits.
func TestCustomerIsFencedByTheNextOwner(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	var begun atomic.Uint64
	flowing := make(chan uint64, 1)
	go func() { flowing <- r.flow(2000, &begun) }()
	stopFirst, _ := r.worker(nil)
	r.waitPosition(1)
	stopSecond, _ := r.worker(nil)
	total := <-flowing
	r.waitPosition(total - 1) // the last may be a repeat, which needs no commit
	stopFirst()
	stopSecond()
	r.settle(2001, total+1)
	r.compare()
	if epoch := r.lastCommit().Epoch; epoch < 2 {
		t.Errorf("epoch %d: nobody took over", epoch)
	}
	t.Logf("%d claims, %d commits", r.lastCommit().Epoch, len(r.commits()))
}

// A conflict in the bucket: what is older there is overwritten, what is newer stays.
func TestCustomerFoldsOverWhatIsOlder(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) { c.FoldEvery = time.Hour })
	for i, id := range []string{"older", "newer", "deleted"} {
		r.append(uint64(i+1), uint64(i), id, "view")
	}
	r.waitPosition(3)
	kv, err := r.js.KeyValue(t.Context(), topology.Profiles)
	if err != nil {
		t.Fatal(err)
	}
	for id, applied := range map[string]uint64{"older": 0, "newer": 1000, "deleted": 1000} {
		encoded := profile.Encode(&profile.Profile{ID: id, Applied: applied})
		if _, err := kv.Put(t.Context(), id, encoded); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	stop()
	want := map[string]uint64{"older": 1, "newer": 1000, "deleted": 3}
	got := map[string]uint64{}
	for id, p := range r.profiles() {
		got[id] = p.Applied
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
