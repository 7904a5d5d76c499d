package enrich_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
)

const day = 24 * time.Hour

// start is a Monday, 00:00 UTC.
var start = event.At(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))

func stage(t testing.TB, asked ...string) *enrich.Stage {
	t.Helper()
	st, err := enrich.New(enrich.DefaultConfig(), enrich.DefaultModels(), enrich.Asked{Totals: asked})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// apply runs the events through the chain in the order given and returns the profile.
func apply(t testing.TB, st *enrich.Stage, events ...event.Event) *profile.Profile {
	t.Helper()
	c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
	p := profile.New("p1")
	for i := range events {
		if _, err := c.Apply(p, &events[i], uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func track(name string, at event.Instant, properties string) event.Event {
	return event.Event{Type: event.Track, Name: name, Profile: "p1", Occurred: at, Accepted: at, Properties: event.Object(properties)}
}

func order(at event.Instant, revenue string) event.Event {
	return track(event.OrderCompleted, at, `{"revenue":`+revenue+`}`)
}

func money(t testing.TB, s string) event.Money {
	t.Helper()
	m, err := event.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConfig(t *testing.T) {
	if err := enrich.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		cfg  enrich.Config
		want []string
	}{
		{enrich.Config{}, []string{"horizon_weeks: 0: want 1 to 520", "margin: 0: want more than 0"}},
		{enrich.Config{HorizonWeeks: 521, Margin: 1}, []string{"horizon_weeks: 521"}},
		{enrich.Config{HorizonWeeks: math.NaN(), Margin: math.NaN()}, []string{"horizon_weeks: NaN", "margin: NaN"}},
		{enrich.Config{HorizonWeeks: 52, Margin: 1.5}, []string{"margin: 1.5"}},
	} {
		_, err := enrich.New(tt.cfg, enrich.DefaultModels(), enrich.Asked{})
		if err == nil {
			t.Errorf("%+v: no error", tt.cfg)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %q does not say %q", tt.cfg, err, want)
			}
		}
	}
}

func BenchmarkApply(b *testing.B) {
	st := stage(b)
	c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
	p := profile.New("p1")
	for i := range 20 {
		e := order(start.Add(time.Duration(i)*7*day), "20")
		if _, err := c.Apply(p, &e, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	e := track("Product Viewed", p.Now, `{"category":"sneakers"}`)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := c.Apply(p, &e, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
}
