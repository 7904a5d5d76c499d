package ingest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	b := newBench(t, func(_ *Config, d *Deps) { d.Metrics = reg })
	b.post("/v1/t", `{"userId":"u","event":"E"}`)
	b.post("/v1/track", `{"userId":"u"}`)
	b.post("/v1/batch", `{"batch":[{"type":"page","userId":"u"},{"type":"page"},{"type":"pge"},7]}`)
	b.post("/v1/batch?strict=1", `{"batch":[{"type":"page","userId":"u"},{"type":"page"},{"type":"pge"}]}`)
	b.post("/v1/u/someone@example.com", `{}`)
	b.log.fail = func(context.Context) error { return ErrBusy }
	b.post("/v1/page", `{"userId":"u"}`)
	want := []string{
		"attune_ingest_duration_seconds route=batch: 2 observed",
		"attune_ingest_duration_seconds route=other: 1 observed",
		"attune_ingest_duration_seconds route=page: 1 observed",
		"attune_ingest_duration_seconds route=track: 2 observed",
		"attune_ingest_events_total outcome=accepted type=page: 1",
		"attune_ingest_events_total outcome=accepted type=track: 1",
		"attune_ingest_events_total outcome=failed type=page: 1",
		"attune_ingest_events_total outcome=parked type=page: 1",
		"attune_ingest_events_total outcome=parked type=unknown: 2",
		"attune_ingest_events_total outcome=refused type=track: 1",
		"attune_ingest_events_total outcome=refused type=unknown: 2",
		"attune_ingest_requests_total code=200 route=batch: 1",
		"attune_ingest_requests_total code=200 route=track: 1",
		"attune_ingest_requests_total code=400 route=batch: 1",
		"attune_ingest_requests_total code=400 route=track: 1",
		"attune_ingest_requests_total code=404 route=other: 1",
		"attune_ingest_requests_total code=503 route=page: 1",
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += " " + l.GetName() + "=" + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				line += fmt.Sprintf(": %d observed", h.GetSampleCount())
			} else {
				line += fmt.Sprintf(": %g", m.GetCounter().GetValue())
			}
			got = append(got, line)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	cfg := DefaultConfig()
	cfg.WriteKeys = []WriteKey{{Name: "n", Key: "k"}}
	_, err = Handler(cfg, b.log, b.dead, Deps{Now: time.Now, NewID: func() string { return "" }, Metrics: reg})
	if err == nil {
		t.Error("a second handler on the same registry is no error")
	}
}
