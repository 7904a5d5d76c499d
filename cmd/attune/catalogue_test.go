package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/propensity"
	"attune/stages/trigger/recommend"
)

// What is worse on the hold-out is kept and not put in force, unless it is told to; one that was in force comes back.
func TestTrainedModelsComeIntoForce(t *testing.T) {
	a := install(t, 1)
	store := a.definitions.store
	inForce := func(number uint64) {
		t.Helper()
		if _, n, err := modelInForce(t.Context(), store); err != nil || n != number {
			t.Errorf("model %d is in force, want %d: %v", n, number, err)
		}
		line := strings.Split(a.printed("", "model", "list"), "\n")[number+1]
		if !strings.HasPrefix(line, fmt.Sprint(number)) || !strings.Contains(line, "in force") {
			t.Errorf("the list says of model %d: %s", number, line)
		}
	}
	train := func(rmse, before float64, force bool) error {
		object := modelObject{Models: enrich.DefaultModels(), Calibrated: clv.CDNOW()}
		object.CLV.Spend.V = 10 + rmse
		object.Card.Holdout.Value.RMSE, object.Card.Before.Holdout.Value.RMSE = rmse, before
		old, number, err := modelInForce(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		report, err := (&trainer{store: store, force: force}).settle(t.Context(), object, &old, number)
		if err != nil {
			t.Fatal(err)
		}
		var out, errs strings.Builder
		return (&trainCommand{Force: force}).tell(streams{out: &out, err: &errs}, report)
	}

	inForce(0)
	if err := train(5, 6, false); err != nil {
		t.Error(err)
	}
	inForce(1)
	if err := train(7, 5, false); err == nil || !strings.Contains(err.Error(), "worse") {
		t.Errorf("a worse model: %v", err)
	}
	inForce(1)
	if err := train(7, 5, true); err != nil {
		t.Error(err)
	}
	inForce(2)
	if err := train(7, 7, false); err != nil { // as good, and another object
		t.Error(err)
	}
	inForce(3)
	for _, back := range []uint64{1, 0, 2} {
		a.printed("", "model", "use", fmt.Sprint(back))
		inForce(back)
	}
	if again := a.printed("", "model", "use", "2"); !strings.Contains(again, "nothing changed") {
		t.Errorf("once more: %s", again)
	}
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"model", "use", "4", "--config", a.file}, streams{out: &out, err: &errs}); code != exitFailed || !strings.Contains(errs.String(), "the models 0 to 3") {
		t.Errorf("an unknown model: exit code %d, %s", code, errs.String())
	}
}

// The list has a line for each part, and show tells all of one model.
func TestModelsAreListedWithAllTheirParts(t *testing.T) {
	a := install(t, 1)
	if got := a.printed("", "model", "show"); !strings.Contains(got, "Model 0: built in") || !strings.Contains(got, "mbgnbd: r 0.525 alpha 6.183 a 0.891 b 1.614; gammagamma: p 6.25 q 3.74 v 15.44\nIn force\n") {
		t.Errorf("without a training: %s", got)
	}
	object := modelObject{Models: enrich.DefaultModels(), Calibrated: clv.CDNOW()}
	c := &object.Card
	c.Counts, c.Customers, c.PurchaseDays, c.First, c.Last, c.CalibrationEnd = clv.NameMBGNBD, 200, 700, 20_400, 20_500, 20_475
	c.Holdout.Value.RMSE, c.Before.Holdout.Value.RMSE = 8, 10
	first, last := event.At(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)), event.At(time.Date(2026, 9, 1, 9, 0, 0, 0, time.UTC))
	p := propensityCard{PropensityCard: enrich.PropensityCard{
		Propensity: enrich.Propensity{Name: "purchase", Event: "Order Completed", Within: 720 * time.Hour}, First: first, Last: last, Examples: 5000, Positives: 900,
	}}
	p.Holdout.LogLoss, p.Before.Holdout.LogLoss = .31, .4
	c.Propensities = append(c.Propensities, p)
	c.Products = &productsCard{Card: recommend.Card{First: first, Last: last, Orders: 800, Products: 120}}
	c.Products.Holdout.HitRate, c.Products.Before.Holdout.HitRate = .5, .25
	c.Kept, c.Failed = []string{partValue, partProducts}, []string{"propensity churn: too little is known yet"}
	a.model(object, time.Now())
	var got []string
	for line := range strings.Lines(a.printed("", "model", "list")) {
		fields := regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(line), -1)
		if len(got) == 2 {
			fields[1] = "TIME"
		}
		got = append(got, strings.Join(fields, "|"))
	}
	want := []string{
		"MODEL|TRAINED|PART|LEARNED FROM|WINDOW|HOLD-OUT|NOW|BEFORE",
		"0|built in|clv: mbgnbd|-|-|-|-|-",
		"1|TIME|clv: mbgnbd|200 customers|2025-11-08 to 2026-02-16|value RMSE|8|10|in force|kept from before",
		"propensity:purchase|5000 moments|2026-03-01 to 2026-09-01|log loss|0.31|0.4|in force",
		"recommendations|800 orders|2026-03-01 to 2026-09-01|hit rate|0.5|0.25|in force|kept from before",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the list (-want +got):\n%s", diff)
	}
	shown := a.printed("", "model", "show", "1")
	for _, part := range []string{
		"Model 1: mbgnbd, of 200 customers with 700 purchase days, 2025-11-08 to 2026-02-16", "of 5000 moments (900 did)", "20 of 120 products, of 800 orders",
		"Kept from the model before, since it foretold the hold-out better: clv, recommendations", "Not trained: propensity churn: too little is known yet", "In force\n",
	} {
		if !strings.Contains(shown, part) {
			t.Errorf("show does not say %q:\n%s", part, shown)
		}
	}
	var report, listed trainReport
	if err := json.Unmarshal([]byte(a.printed("", "model", "show", "--json")), &report); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(a.printed("", "model", "list", "--json")), &listed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report, listed); diff != "" || report.Model != 1 || report.Version != 1 {
		t.Errorf("JSON (-show +list), model %d, version %d:\n%s", report.Model, report.Version, diff)
	}
	if said := failure(t, "model", "show", "7", "--config", a.file); !strings.Contains(said, "model show: there is no model 7: there are the models 0 to 1") {
		t.Errorf("an unknown model: %s", said)
	}
}

// A part that is worse than the one in force stays as it is, the others come into force; what there was none of must be
// better than the same for everybody.
func TestWorsePartsStay(t *testing.T) {
	store := install(t, 1).definitions.store
	of := []enrich.Propensity{{Name: "a", Event: "A", Within: time.Hour}, {Name: "b", Event: "B", Within: time.Hour}}
	// trained has log losses of a and b, now and before, and of the value.
	trained := func(force bool, bias, rmse, rmseBefore, a, aBefore, b, bBefore float64) *trainReport {
		t.Helper()
		object := modelObject{Models: enrich.DefaultModels(), Calibrated: clv.CDNOW()}
		object.CLV.Spend.V = 10 + rmse
		object.Card.Holdout.Value.RMSE, object.Card.Before.Holdout.Value.RMSE = rmse, rmseBefore
		object.Card.Population.MostWeeks = object.CLV.Spend.V
		for i, losses := range [][2]float64{{a, aBefore}, {b, bBefore}} {
			m := enrich.PropensityModel{Propensity: of[i], Model: &propensity.Model{Bias: bias}}
			object.Propensities, object.CalibratedPropensities = append(object.Propensities, m), append(object.CalibratedPropensities, m)
			card := propensityCard{PropensityCard: enrich.PropensityCard{Propensity: of[i]}}
			card.Holdout.LogLoss, card.Before.Holdout.LogLoss = losses[0], losses[1]
			object.Card.Propensities = append(object.Card.Propensities, card)
		}
		before, number, err := modelInForce(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		report, err := (&trainer{store: store, force: force}).settle(t.Context(), object, &before, number)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	inForce := func(want string) {
		t.Helper()
		object, number, err := modelInForce(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(number, ": value ", object.CLV.Spend.V)
		if p := object.Card.Population; p.MostWeeks != object.CLV.Spend.V {
			t.Errorf("the population %v is not that of the value %v", p.MostWeeks, object.CLV.Spend.V)
		}
		for i, p := range object.Propensities {
			got += fmt.Sprint(" ", p.Name, " ", p.Model.Bias)
			if object.CalibratedPropensities[i].Name != p.Name || object.Card.Propensities[i].Name != p.Name {
				t.Errorf("the parts of %s don't stand side by side", p.Name)
			}
		}
		if got != want {
			t.Errorf("in force is %q, want %q", got, want)
		}
	}
	if r := trained(false, 1, 5, 6, .3, .4, .5, .4); !r.InForce || r.Candidate != 1 || !slices.Equal(r.Worse, []string{"propensity:b"}) {
		t.Errorf("report %+v", r)
	}
	inForce("2: value 15 a 1") // b is worse than the same for everybody
	if r := trained(false, 2, 7, 6, .5, .4, .3, .4); !r.InForce || !slices.Equal(r.Worse, []string{"clv", "propensity:a"}) {
		t.Errorf("report %+v", r)
	}
	inForce("4: value 15 a 1 b 2")
	if r := trained(false, 3, 7, 6, .5, .4, .5, .4); r.InForce || r.Model != 5 {
		t.Errorf("report %+v", r)
	}
	inForce("4: value 15 a 1 b 2")
	if r := trained(true, 4, 7, 6, .5, .4, .5, .4); !r.InForce || r.Model != 6 {
		t.Errorf("report %+v", r)
	}
	inForce("6: value 17 a 4 b 4")
	carried := modelObject{Models: enrich.DefaultModels(), carried: []string{partValue}}
	carried.Card.Holdout.Value.RMSE = 1 // worse than nothing, when it was trained
	if worse := carried.worse(); len(worse) > 0 {
		t.Errorf("what was not trained is %v", worse)
	}
}
