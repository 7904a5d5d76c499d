package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// Each profile that is merged is counted once, however often its transfer comes and whoever had gone on in it before, and
// those that stay two by their reason.
func TestMergesAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	loser := &profile.Profile{ID: "l", Now: 5, First: 5, Applied: 1, Merged: []profile.Merged{{ID: "before", At: 4}}}
	records := []event.Event{
		{Type: event.Track, Name: "view", Joins: []event.Join{{Loser: "l"}, {Loser: "m", Refused: "too_many_merges"}}},
		{Type: event.Track, Name: "panic", Joins: []event.Join{{Loser: "n", Refused: "too_many_merges"}}},
		{Type: event.Transfer, Merge: &event.MergeRecord{Loser: "l", Winner: "w", State: profile.Encode(loser)}},
		{Type: event.Transfer, Merge: &event.MergeRecord{Loser: "l", Winner: "w", State: profile.Encode(loser)}},
	}
	for i, e := range records {
		e.ID, e.Profile, e.Accepted, e.Source = "e", "w", 1000, event.Source{Name: "test", Ordinal: uint64(i + 1)}
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.js.Publish(t.Context(), topology.Subject(topology.Events, 0), data); err != nil {
			t.Fatal(err)
		}
	}
	metrics := prometheus.NewRegistry()
	stop, _ := r.worker(func(c *pipeline.CustomerConfig) { c.Metrics = metrics })
	r.waitPosition(uint64(len(records)))
	stop()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "attune_merges_total" {
				counted[m.Label[0].GetValue()] = m.Counter.GetValue()
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{"merged": 1, "too_many_merges": 2}, counted); diff != "" {
		t.Errorf("merges (-want +got):\n%s", diff)
	}
}
