package control

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

var errDead = errors.New("dead")

// dying dies before it has told the last partition.
type dying struct{ jetstream.JetStream }

func (d dying) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if subject == topology.Subject(topology.Events, partitions-1) {
		return nil, errDead
	}
	return d.JetStream.Publish(ctx, subject, data, opts...)
}

// messages are how many records the log holds.
func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	stream, err := js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// Who took a version has died before every partition was told. Somebody else finishes it, and only that.
func TestFinish(t *testing.T) {
	t.Parallel()
	s, js := open(t)
	now := time.UnixMilli(1)
	if _, _, err := s.Apply(t.Context(), "stock", []byte("a"), now); err != nil {
		t.Fatal(err)
	}
	victim, err := Open(t.Context(), dying{js}, partitions)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"stock", "guards"} {
		if _, _, err := victim.Apply(t.Context(), kind, []byte("b"), now); !errors.Is(err, errDead) {
			t.Fatal(err)
		}
	}
	before := messages(t, js)
	if err := s.Finish(t.Context(), now, "stock", "guards", "never"); err != nil {
		t.Fatal(err)
	}
	if got := messages(t, js); got != before+2*partitions {
		t.Errorf("%d records were appended, want %d", got-before, 2*partitions)
	}
	if got := kinds(t, js, partitions-1); !cmp.Equal(got, map[string]uint64{"stock": 2, "guards": 1}) {
		t.Errorf("the last partition has %v", got)
	}
	// Now all know.
	before = messages(t, js)
	if err := s.Finish(t.Context(), now, "stock", "guards", "never"); err != nil {
		t.Fatal(err)
	}
	if _, changed, err := s.Change(t.Context(), "stock", now, func(object []byte) ([]byte, error) { return object, nil }); err != nil || changed {
		t.Fatal(changed, err)
	}
	if got := messages(t, js); got != before {
		t.Errorf("%d records were appended though all know", got-before)
	}
	// A broker that lost its power may have lost what it had confirmed.
	if err := s.Repeat(t.Context(), now, "stock", "guards", "never"); err != nil {
		t.Fatal(err)
	}
	if got := messages(t, js); got != before+2*partitions {
		t.Errorf("%d records were repeated, want %d", got-before, 2*partitions)
	}
}
