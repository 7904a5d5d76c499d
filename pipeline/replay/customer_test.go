package replay_test

import (
	"errors"
	"strings"
	"testing"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/replay"
)

// A customer as of any instant: by their records up to then, each once, by what was in force for these, and after what
// came due.
func TestCustomerAsOf(t *testing.T) {
	t.Parallel()
	const minute = event.Instant(60_000)
	r := newRig(t, nil)
	var ordinal uint64
	put := func(profile string, at event.Instant) event.Event {
		ordinal++
		e := event.Event{
			ID: "e", Type: event.Track, Name: "view", Profile: profile, Occurred: at, Accepted: at,
			Source: event.Source{Name: "test", Ordinal: ordinal, After: ordinal - 1},
		}
		r.publish(e)
		return e
	}
	definitions := func(version uint64, at event.Instant) {
		r.publish(event.Event{
			ID: "d", Type: event.Control, Accepted: at, Control: &event.ControlRecord{Kind: pipeline.KindDefinitions, Version: version, Hash: "h"},
			Source: event.Source{Name: "control.definitions", Ordinal: version},
		})
	}
	put("ada", 1*minute)
	put("bob", 1*minute)
	second := put("ada", 2*minute)
	definitions(1, 2*minute)
	put("ada", 3*minute) // owes a step an hour later
	r.publish(second)    // once more, by a worker that was too late
	put("bob", 5*minute)
	definitions(2, 10*minute) // by a clock that is ahead
	put("ada", 4*minute)
	put("ada", 70*minute)
	last := put("bob", 71*minute)
	stop := r.work(nil)
	r.wait(9 + 2)
	stop()
	replayer, err := replay.New(replay.Config{JetStream: r.js, Load: r.load})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		at             event.Instant
		count, version uint64
		waits          int
	}{
		{1 * minute, 1, 0, 0}, {2 * minute, 2, 1, 0}, {3*minute - 1, 2, 1, 0}, {3 * minute, 3, 1, 1}, {4 * minute, 4, 2, 1},
		{63*minute - 1, 4, 2, 1}, {63 * minute, 4, 2, 0}, {70 * minute, 5, 2, 0}, {last.Accepted + minute, 5, 2, 0},
	} {
		past, err := replayer.Customer(t.Context(), "ada", 0, k.at, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := past.Profile
		if version := past.Controls[pipeline.KindDefinitions].Version; p.Count("view") != k.count || len(p.Waits) != k.waits || version != k.version || p.Now != k.at {
			t.Errorf("at minute %v: %d views, %d waits, version %d, clock %s; want %+v", float64(k.at)/60_000, p.Count("view"), len(p.Waits), version, p.Now, k)
		}
	}
	// From a snapshot, which must be of before.
	_, end := r.replay(nil)
	if past, err := replayer.Customer(t.Context(), "ada", 0, 80*minute, end); err != nil || past.Profile.Count("view") != 5 || past.Profile.Now != 80*minute {
		t.Errorf("from a snapshot: %+v, %v", past, err)
	}
	if past, err := replayer.Customer(t.Context(), "ada", 0, 69*minute, end); err == nil || !strings.Contains(err.Error(), "give an older one") {
		t.Errorf("from a later snapshot: %+v, %v", past, err)
	}
	for id, at := range map[string]event.Instant{"ada": minute - 1, "eve": 70 * minute} {
		if past, err := replayer.Customer(t.Context(), id, 0, at, nil); !errors.Is(err, replay.ErrUnknown) {
			t.Errorf("%s: %+v, %v", id, past, err)
		}
	}
}
