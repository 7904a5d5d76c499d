package topology_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

// A lower limit of the queues would have the broker delete what is in them: it is refused until there is room.
func TestEnsureDeletesNoDelivery(t *testing.T) {
	t.Parallel()
	js := enginetest.JetStream(t)
	ensure := func(messages int64) error {
		c := topology.DefaultConfig()
		c.OutboxMessages = messages
		return topology.Ensure(t.Context(), js, c)
	}
	if err := ensure(10); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := js.Publish(t.Context(), topology.Subject(topology.Outbox, "mail"), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := ensure(4); err == nil || !strings.Contains(err.Error(), "the queue OUTBOX.mail holds 5 deliveries") {
		t.Errorf("error %v", err)
	}
	if err := ensure(5); err != nil {
		t.Error(err)
	}
	stream, err := js.Stream(t.Context(), topology.Outbox)
	if err != nil {
		t.Fatal(err)
	}
	if held := stream.CachedInfo().State.Msgs; held != 5 {
		t.Errorf("%d deliveries are left of 5", held)
	}
}

// Of several that start for the first time with different files one decides, and the others are told.
func TestEnsureAtTheSameMoment(t *testing.T) {
	t.Parallel()
	js := enginetest.JetStream(t)
	errs := make([]error, 8)
	var work sync.WaitGroup
	for i := range errs {
		work.Go(func() {
			c := topology.DefaultConfig()
			c.Partitions = 1 + i
			errs[i] = topology.Ensure(t.Context(), js, c)
		})
	}
	work.Wait()
	partitions, err := topology.Partitions(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if won := 1+i == partitions; won != (err == nil) || !won && !strings.Contains(err.Error(), fmt.Sprintf("set partitions: %d", partitions)) {
			t.Errorf("%d partitions, of %d that were asked for: %v", partitions, 1+i, err)
		}
	}
	raw, err := js.Stream(t.Context(), topology.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := raw.CachedInfo().Config.SubjectTransform.Destination; !strings.Contains(got, fmt.Sprintf("partition(%d,", partitions)) {
		t.Errorf("RAW is shared out by %s, want %d partitions", got, partitions)
	}
}
