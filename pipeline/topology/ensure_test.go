package topology_test

import (
	"strings"
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
