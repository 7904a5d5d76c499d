package enrich_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/propensity"
)

// purchase is a model by which whoever looked at a product lately buys soon, and whoever is silent doesn't.
func purchase(t testing.TB) enrich.PropensityModel {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 7))
	names := enrich.Features()
	var examples []propensity.Example
	for range 3000 {
		row := make(propensity.Row, len(names))
		for i := range row {
			row[i] = propensity.Number(r.ExpFloat64() * 10)
		}
		soon, _ := rowValue(row, names, "days_since_view")
		examples = append(examples, propensity.Example{Row: row, Label: r.Float64() < 0.6/(1+soon)})
	}
	m, err := propensity.Train(names, examples)
	if err != nil {
		t.Fatal(err)
	}
	return enrich.PropensityModel{Propensity: enrich.DefaultConfig().Propensities[0], Model: m}
}

func rowValue(row propensity.Row, names []string, name string) (float64, bool) {
	for i := range names {
		if names[i] == name {
			return row[i].Number()
		}
	}
	return 0, false
}

func foretelling(t testing.TB, asked bool, models ...enrich.PropensityModel) *enrich.Stage {
	t.Helper()
	all := enrich.DefaultModels()
	all.Propensities = models
	st, err := enrich.New(enrich.DefaultConfig(), all, enrich.Asked{Propensity: asked})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestPropensityIsScored(t *testing.T) {
	m := purchase(t)
	fresh := apply(t, foretelling(t, false, m), track("Product Viewed", start, `{"product_id":"a","category":"shoes","price":30}`))
	if got := fresh.Propensities; len(got.Scores) != 1 || got.At != start || got.Next != 0 {
		t.Fatalf("propensities %+v", got)
	}
	stale := apply(t, foretelling(t, false, m), track("Product Viewed", start.Add(-90*day), `{"product_id":"a"}`), track("Page", start, `{}`))
	now, _, _, _ := fresh.Propensity("purchase", start)
	then, _, _, _ := stale.Propensity("purchase", start)
	if !(now.Value > 2*then.Value && then.Value > 0 && now.Confidence > 0) {
		t.Errorf("right after a view %+v, 90 days after it %+v", now, then)
	}
	// A model for something else than the workspace names scores nobody.
	for _, change := range []func(*enrich.PropensityModel){
		func(m *enrich.PropensityModel) { m.Name = "renewal" },
		func(m *enrich.PropensityModel) { m.Event = "Product Added" },
		func(m *enrich.PropensityModel) { m.Within = 7 * day },
	} {
		other := m
		change(&other)
		if got := apply(t, foretelling(t, true, other), track("Product Viewed", start, `{}`)); got.Propensities.At != 0 {
			t.Errorf("%s of %s within %s: %+v", other.Name, other.Event, other.Within, got.Propensities)
		}
	}
}

// Where a rule asks, time alone changes a score: at the due instant it is what a computation of then gives, between two
// of them a computation gives the same, and there is an end to it. Where none asks nobody is woken.
func TestPropensityChangesByTime(t *testing.T) {
	m := purchase(t)
	asking, silent := foretelling(t, true, m), foretelling(t, false, m)
	events := []event.Event{track("Product Viewed", start.Add(-3*day), `{"product_id":"a"}`), order(start, "20")}
	p := apply(t, asking, events...)
	c := &pipeline.Chain{Stages: []pipeline.Stage{asking}}
	woken := 0
	for at := start.Add(day); at < start.Add(200*day); at = at.Add(day) {
		due := p.Propensities.Next != 0 && p.Propensities.Next <= at
		if due && p.Propensities.Next != at {
			t.Fatalf("due at %s, which is no daily tick", p.Propensities.Next)
		}
		if due {
			woken++
		}
		wake := event.Event{Type: event.Wake, Profile: "p1", Accepted: at, Occurred: at}
		if _, err := c.Apply(p, &wake, p.Applied+1); err != nil {
			t.Fatal(err)
		}
		// The same customer, scored at this very moment: by an event that no feature but the counts of events sees.
		want := apply(t, silent, events...)
		want.Propensities.Next = at
		step := pipeline.Step{Now: at, Profile: want}
		silent.Apply(&step)
		if diff := cmp.Diff(want.Propensities.Scores, p.Propensities.Scores); diff != "" {
			t.Fatalf("%s (due: %v; -computed then +kept):\n%s", at, due, diff)
		}
	}
	if woken < 3 || woken > 60 || p.Propensities.Next != 0 {
		t.Errorf("woken %d times in 200 days, and then at %s", woken, p.Propensities.Next)
	}
	if q := apply(t, silent, events...); q.Propensities.Next != 0 {
		t.Errorf("nobody asks, and yet it is due at %s", q.Propensities.Next)
	}
}

func TestModelsOfPropensitiesAreChecked(t *testing.T) {
	models := enrich.DefaultModels()
	models.Propensities = []enrich.PropensityModel{purchase(t)}
	object, err := json.Marshal(models)
	if err != nil {
		t.Fatal(err)
	}
	read, err := enrich.DecodeModels(object)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(models.Propensities, read.Propensities); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
	for old, change := range map[string][2]string{
		`"days_silent"`:       {`"moon"`, "doesn't know"},
		`"name":"purchase"`:   {`"name":"Purchase"`, "lower-case"},
		`"slope"`:             {`"weights":[],"slope"`, "weights"},
		`"within":2592000000`: {`"within":2`, "within"},
	} {
		if strings.Count(string(object), old) == 0 {
			t.Fatalf("the object has no %s", old)
		}
		if _, err := enrich.DecodeModels([]byte(strings.Replace(string(object), old, change[0], 1))); err == nil || !strings.Contains(err.Error(), change[1]) {
			t.Errorf("%s: %v, want %q", change[0], err, change[1])
		}
	}
}

// What a customer costs to score: P(alive), value with its confidence, and propensity of all features.
func BenchmarkScores(b *testing.B) {
	likely := purchase(b).Model
	r := rand.New(rand.NewPCG(1, 1))
	rows := make([]propensity.Row, 512)
	for i := range rows {
		for range enrich.Features() {
			rows[i] = append(rows[i], propensity.Number(r.ExpFloat64()*10))
		}
	}
	value := clv.CDNOW()
	customers := []clv.Purchases{
		{AgeWeeks: 27}, {AgeWeeks: 38.86}, {AgeWeeks: 33}, {Repeats: 1, LastWeek: 1.71, AgeWeeks: 38.86, MeanSpend: 11.77},
		{Repeats: 2, LastWeek: 30.43, AgeWeeks: 38.86, MeanSpend: 22.35}, {Repeats: 10, LastWeek: 38, AgeWeeks: 38.86, MeanSpend: 20},
	}
	b.ReportAllocs()
	sum := 0.0
	for i := 0; b.Loop(); i++ {
		p := customers[i%len(customers)]
		alive := value.Alive(p)
		sum += alive + value.Value(p, 52) + value.Confidence(p, alive) + likely.Score(rows[i%len(rows)]).Probability
	}
	_ = sum
}

// What an event costs in this stage, with and without a propensity to foretell.
func BenchmarkApplyForetelling(b *testing.B) {
	for name, models := range map[string][]enrich.PropensityModel{"value": nil, "propensity": {purchase(b)}} {
		b.Run(name, func(b *testing.B) {
			st := foretelling(b, true, models...)
			p := profile.New("p1")
			e := track("Product Viewed", start, `{"product_id":"a","category":"shoes","brand":"b","price":30}`)
			first := order(start.Add(-30*day), "20")
			st.Apply(&pipeline.Step{Now: start, Event: &first, Profile: p})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now := start.Add(time.Duration(i) * time.Second)
				e.Occurred = now
				st.Apply(&pipeline.Step{Now: now, Event: &e, Profile: p})
			}
		})
	}
}
