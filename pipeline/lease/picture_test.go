package lease

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// entry is one of the bucket's.
type entry struct {
	key, value string
	at         time.Duration
	revision   uint64
	operation  jetstream.KeyValueOp
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func (e entry) Bucket() string                  { return "leases" }
func (e entry) Key() string                     { return e.key }
func (e entry) Value() []byte                   { return []byte(e.value) }
func (e entry) Revision() uint64                { return e.revision }
func (e entry) Created() time.Time              { return epoch.Add(e.at) }
func (e entry) Delta() uint64                   { return 0 }
func (e entry) Operation() jetstream.KeyValueOp { return e.operation }

// Who lives, as heartbeats come in at times of the broker.
func TestPictureTellsTheDead(t *testing.T) {
	t.Parallel()
	type step struct {
		id   string
		at   time.Duration
		op   jetstream.KeyValueOp
		want string // who lives then
	}
	const put = jetstream.KeyValuePut
	for name, steps := range map[string][]step{
		"one stops": {
			{"ada", 0, put, "[ada]"}, {"bob", 100 * time.Millisecond, put, "[ada bob]"}, {"bob", time.Second, put, "[ada bob]"},
			{"bob", 2 * time.Second, put, "[ada bob]"}, {"bob", 2500 * time.Millisecond, put, "[bob]"},
		},
		"one stops and comes back": {
			{"ada", 0, put, "[ada]"}, {"bob", time.Second, put, "[ada bob]"}, {"bob", 2 * time.Second, put, "[ada bob]"},
			{"bob", 3 * time.Second, put, "[bob]"}, {"ada", 3500 * time.Millisecond, put, "[ada bob]"},
		},
		"one leaves": {
			{"ada", 0, put, "[ada]"}, {"bob", 100 * time.Millisecond, put, "[ada bob]"}, {"ada", 200 * time.Millisecond, jetstream.KeyValuePurge, "[bob]"},
		},
		"the broker drops one later": {
			{"ada", 0, put, "[ada]"}, {"bob", time.Second, put, "[ada bob]"}, {"bob", 2 * time.Second, put, "[ada bob]"},
			{"bob", 2900 * time.Millisecond, put, "[bob]"}, {"ada", 3 * time.Second, jetstream.KeyValueDelete, "[bob]"},
		},
		"the broker was away, and nobody is to blame": {
			{"ada", 0, put, "[ada]"}, {"bob", 100 * time.Millisecond, put, "[ada bob]"}, {"bob", 9 * time.Second, put, "[ada bob]"},
			{"ada", 9200 * time.Millisecond, put, "[ada bob]"}, {"ada", 10 * time.Second, put, "[ada bob]"},
			{"ada", 10900 * time.Millisecond, put, "[ada bob]"}, {"ada", 11100 * time.Millisecond, put, "[ada]"},
		},
		"its clock was set back": {
			{"ada", time.Hour, put, "[ada]"}, {"bob", 0, put, "[ada bob]"}, {"ada", 500 * time.Millisecond, put, "[ada bob]"},
			{"ada", 1500 * time.Millisecond, put, "[ada bob]"}, {"ada", 2100 * time.Millisecond, put, "[ada]"},
		},
		"its clock was set back, and one has stopped": {
			{"ada", time.Hour, put, "[ada]"}, {"bob", 0, put, "[ada bob]"}, {"bob", time.Second, put, "[ada bob]"},
			{"bob", 2 * time.Second, put, "[ada bob]"}, {"bob", 2100 * time.Millisecond, put, "[bob]"},
		},
	} {
		p := newPicture()
		p.live = true
		for i, s := range steps {
			before := slices.Sorted(maps.Keys(p.Members))
			moved := p.note(entry{memberPrefix + s.id, fmt.Sprintf(`{"id":%q}`, s.id), s.at, uint64(i + 1), s.op})
			after := slices.Sorted(maps.Keys(p.Members))
			if got := fmt.Sprint(after); got != s.want {
				t.Errorf("%s: after step %d (%s at %s) %s live, want %s", name, i, s.id, s.at, got, s.want)
			}
			if changed := !slices.Equal(before, after); moved != changed {
				t.Errorf("%s: step %d says that others are there than before: %t, and it is %t", name, i, moved, changed)
			}
		}
	}
}

// What is read at first was stored at any time; what the broker has kept for too long is to be taken away, once.
func TestPictureOfOldHeartbeats(t *testing.T) {
	t.Parallel()
	p := newPicture()
	for i, at := range []time.Duration{0, time.Minute, 2*time.Minute - time.Second, 2 * time.Minute} {
		id := fmt.Sprint("w", i)
		p.note(entry{memberPrefix + id, fmt.Sprintf(`{"id":%q}`, id), at, uint64(i + 1), jetstream.KeyValuePut})
	}
	if diff := cmp.Diff([]string{"w2", "w3"}, slices.Sorted(maps.Keys(p.Members))); diff != "" {
		t.Errorf("who lives: %s", diff)
	}
	if diff := cmp.Diff([]string{"w0"}, slices.Sorted(maps.Keys(p.graves()))); diff != "" {
		t.Errorf("whose heartbeat is to be taken away: %s", diff)
	}
}
