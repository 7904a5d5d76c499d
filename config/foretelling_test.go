package config_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"testing/fstest"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
	"attune/stages/enrich/propensity"
)

// lately is a model by which who looked at a product lately buys soon, and who is silent doesn't.
func lately(t *testing.T) enrich.Models {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	names := enrich.Features()
	var examples []propensity.Example
	for range 3000 {
		row, odds := make(propensity.Row, len(names)), 0.0
		for i := range row {
			days := r.ExpFloat64() * 10
			row[i] = propensity.Number(days)
			if names[i] == "days_since_view" {
				odds = 0.6 / (1 + days)
			}
		}
		examples = append(examples, propensity.Example{Row: row, Label: r.Float64() < odds})
	}
	m, err := propensity.Train(names, examples)
	if err != nil {
		t.Fatal(err)
	}
	models := enrich.DefaultModels()
	models.Propensities = []enrich.PropensityModel{{Propensity: enrich.DefaultConfig().Propensities[0], Model: m}}
	return models
}

func workspaceOf(t *testing.T, segments map[string]string) *config.Workspace {
	t.Helper()
	files := fstest.MapFS{config.WorkspaceFile: {Data: []byte("name: shop\n")}}
	for id, when := range segments {
		files["segments/"+id+".yaml"] = &fstest.MapFile{Data: []byte("id: " + id + "\nwhen: '" + when + "'\n")}
	}
	ws, err := config.CheckWorkspace(files, config.DefaultInstallation())
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

// The first rule that asks for a propensity is put in force while a customer is silent: from then on time makes the
// propensity due, without a single event. Who was there by their score enters with the definitions and leaves by time; who
// was there by a score of long ago never enters.
func TestTheFirstRuleOnAPropensityReachesTheSilent(t *testing.T) {
	models := lately(t)
	t.Run("lately", func(t *testing.T) {
		entered, left := putInForce(t, models, hour)
		if entered == 0 || left <= entered {
			t.Errorf("entered at %s, left at %s", entered, left)
		}
	})
	t.Run("long ago", func(t *testing.T) {
		if entered, left := putInForce(t, models, 300*24*hour); entered != 0 || left != 0 {
			t.Errorf("entered at %s, left at %s", entered, left)
		}
	})
}

const hour = 3_600_000

// putInForce prepares a customer so long after their only event, switches an hour later, and lets time pass. It gives when
// they entered the segment at the switch, and when they left it for the last time; zero: they didn't.
func putInForce(t *testing.T, models enrich.Models, silence event.Instant) (entered, left event.Instant) {
	t.Helper()
	start := event.At(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))
	before := workspaceOf(t, map[string]string{"seen": `ever("Product Viewed")`})
	after := workspaceOf(t, map[string]string{"seen": `ever("Product Viewed")`, "likely": `propensity("purchase") >= 0.15`})
	chain, err := before.Chain(1, models)
	if err != nil {
		t.Fatal(err)
	}
	p, position := profile.New("p1"), uint64(0)
	var armed event.Instant // by the broker
	apply := func(e event.Event) (flips []pipeline.SegmentChange) {
		t.Helper()
		position++
		e.Profile, e.Occurred = "p1", e.Accepted
		r, err := chain.Apply(p, &e, position)
		if err != nil {
			t.Fatal(err)
		}
		if r.Wake != 0 {
			armed = r.Wake
		}
		return r.Facts.Changes
	}
	apply(event.Event{Type: event.Track, Name: "Product Viewed", Accepted: start, Properties: event.Object(`{"product_id":"a"}`)})
	if fresh, _, _, ok := p.Propensity("purchase", start); !ok || fresh.Value < 0.15 || armed != 0 {
		t.Fatalf("before: %+v, a wake-up at %s", fresh, armed)
	}

	succession, err := after.After(before, 1)
	if err != nil {
		t.Fatal(err)
	}
	staged := *chain
	staged.Staged = succession.Staged
	chain = &staged
	b, err := json.Marshal(pipeline.Preparation{Staged: 1, Filled: true})
	if err != nil {
		t.Fatal(err)
	}
	apply(event.Event{Type: event.Prepare, Accepted: start + silence, Properties: b})
	if armed == 0 || armed > start+silence+24*hour {
		t.Fatalf("the step that takes the definitions over: a wake-up at %s", armed)
	}
	at := start + silence + hour
	if chain, err = after.InForce(event.ControlRecord{Version: 2, At: at, Staged: 1}, before, models); err != nil {
		t.Fatal(err)
	}
	for i := 0; armed != 0 && i < 100; i++ {
		wake := armed
		armed = 0
		for _, c := range apply(event.Event{Type: event.Wake, Accepted: wake}) {
			switch {
			case c.Segment != "likely", (c.At == at) != (c.Reason == pipeline.BecauseDefinitions):
				t.Errorf("flip %+v", c)
			case c.At == at && c.Entered:
				entered = c.At
			case !c.Entered:
				left = c.At
			}
		}
	}
	if score, _, _, _ := p.Propensity("purchase", p.Now); score.Value >= 0.15 || p.Propensities.At < at {
		t.Errorf("in the end the score is %+v, of %s", score, p.Propensities.At)
	}
	return entered, left
}
