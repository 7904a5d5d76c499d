package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
	"attune/stages/enrich/propensity"
	"attune/stages/trigger/recommend"
)

// score is what a profile says of a customer's future.
type score struct {
	CLV                  event.Money
	Alive                float64
	Purchase, Confidence float64
}

// A model that is trained on what was imported is the one that a fit of the file gives, and scores every customer as a
// direct computation from the file does, without a restart; a replay, with the built-in model before it, is equal.
func TestTrainOnOnlineRetail(t *testing.T) {
	invoices, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "data", "online_retail_2010-12_2011-05.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(invoices); err != nil {
		t.Skipf("the public data set is not here: %v", err)
	}
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	if said := failure(t, "train", "--data", d.data); !strings.Contains(said, "nobody bought anything") {
		t.Errorf("without an order, train says %q", said)
	}
	output(t, "import", "--data", d.data, "--mapping", "stages/ingest/file/testdata/online-retail.yaml", invoices)

	var report trainReport
	if err := json.Unmarshal([]byte(output(t, "train", "--json", "--data", d.data)), &report); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.print(&text); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	pasts := directOrders(t, invoices)
	want, err := fit.Train(pasts.log(), clv.NameMBGNBD, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Model, report.CLV); diff != "" {
		t.Errorf("the model (-of the file +trained):\n%s", diff)
	}
	c := report.Card
	if c.Customers != 2718 || dateOf(c.First) != "2010-12-01" || dateOf(c.Last) != "2011-05-31" || c.Before.Model != 0 || report.Model != 1 || !report.InForce {
		t.Errorf("the report is %+v", report)
	}
	if better, built := c.Holdout.Value.RMSE, c.Before.Holdout.Value.RMSE; !(better < built) || math.Abs(better/want.Card.Holdout.Value.RMSE-1) > 1e-9 {
		t.Errorf("the value's error on the hold-out is %v, by the file %v, by the built-in model %v", better, want.Card.Holdout.Value.RMSE, built)
	}

	p := c.Propensities[0]
	if p.Name != "purchase" || !(p.Holdout.LogLoss < 0.9*p.Constant.LogLoss && p.Holdout.AUC > 0.7) || p.Before.Model != 0 || p.Before.Holdout != p.Constant {
		t.Errorf("the propensity's card is %+v", p)
	}
	purchase := directPropensity(t, d, invoices)

	greet(t, d, slices.Sorted(maps.Keys(pasts)))
	const scores = "FROM (SELECT DISTINCT user_id, profile_id FROM events WHERE event = 'Order Completed') AS e INNER JOIN (SELECT * FROM profiles FINAL) AS p USING profile_id"
	d.eventually(time.Minute, "everyone is scored anew", func() bool {
		return d.sql("SELECT countIf(traits.greeted.:Bool) FROM profiles FINAL") == "2718"
	})
	expected, got := map[string]score{}, map[string]score{}
	for line := range strings.Lines(d.sql("SELECT user_id, clv, alive, toUnixTimestamp64Milli(scored_at), propensity['purchase'], propensity_confidence['purchase'], propensity_at = scored_at " + scores)) {
		column := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		money, err := event.ParseMoney(column[1])
		if err != nil {
			t.Fatal(err)
		}
		scored, err := strconv.ParseInt(column[3], 10, 64)
		if err != nil || column[6] != "1" {
			t.Fatal(line, err)
		}
		number := func(i int) float64 {
			v, err := strconv.ParseFloat(column[i], 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		got[column[0]] = score{money, number(2), number(4), number(5)}
		past := pasts[column[0]].past(profile.DayOf(event.Instant(scored)))
		likely := purchase(column[0], event.Instant(scored))
		expected[column[0]] = score{
			event.Money(math.Round(want.Model.Value(past, enrich.DefaultConfig().HorizonWeeks)*100)) * (event.MoneyUnit / 100),
			math.Round(want.Model.Alive(past)*1e4) / 1e4,
			likely.Value, likely.Confidence,
		}
	}
	if diff := cmp.Diff(expected, got); diff != "" || len(got) != 2718 {
		t.Errorf("%d customers' scores (-file +profiles):\n%.2000s", len(got), diff)
	}
	if said := output(t, "replay", "--verify", "--data", d.data); strings.Count(said, "equal") != 8 || strings.Contains(said, "differ") {
		t.Errorf("replay says\n%s", said)
	}
	d.interrupt()
}

// directPropensity scores customers of the file by the model in force, as of an instant at which they have just said
// something, without the pipeline and the database.
func directPropensity(t *testing.T, d *dev, invoices string) func(customer string, now event.Instant) profile.Propensity {
	t.Helper()
	conn, js, err := (&target{Data: d.data}).connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	store, err := openControl(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	object, _, err := modelInForce(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	stage, err := enrich.New(enrich.DefaultConfig(), object.Models, enrich.Asked{})
	if err != nil {
		t.Fatal(err)
	}
	histories := map[string][]event.Event{}
	for number, one := range directInvoices(t, invoices) {
		e := event.Event{Type: event.Track, Name: event.OrderCompleted, Occurred: event.At(one.at)}
		if strings.HasPrefix(number, "C") {
			e.Name = event.OrderRefunded
		}
		var lines []string
		for _, price := range one.prices {
			lines = append(lines, `{"price":`+price+`}`)
		}
		e.Properties = event.Object(fmt.Sprintf(`{"total":%s,"products":[%s]}`, one.amount, strings.Join(lines, ",")))
		histories[one.customer] = append(histories[one.customer], e)
	}
	return func(customer string, now event.Instant) profile.Propensity {
		p := profile.New(customer)
		chain := pipeline.Chain{Stages: []pipeline.Stage{stage}}
		for i, e := range append(histories[customer], event.Event{Type: event.Identify, Occurred: now}) {
			e.Accepted = now
			if _, err := chain.Apply(p, &e, uint64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		score, _, _, _ := p.Propensity("purchase", now)
		return score
	}
}

// spends are a customer's purchase days, and what each came to.
type spends map[int32]event.Money

// orders are all customers'.
type orders map[string]spends

func directOrders(t *testing.T, invoices string) orders {
	t.Helper()
	all := orders{}
	for number, one := range directInvoices(t, invoices) {
		if strings.HasPrefix(number, "C") {
			continue
		}
		if all[one.customer] == nil {
			all[one.customer] = spends{}
		}
		all[one.customer][int32(one.at.UTC().Unix()/86400)] += one.amount
	}
	return all
}

func (o orders) log() (log []fit.Purchase) {
	for customer, days := range o {
		for day, amount := range days {
			log = append(log, fit.Purchase{Customer: customer, Day: day, Amount: amount})
		}
	}
	return log
}

// past is what the model is told of a customer on a day.
func (s spends) past(today int32) clv.Purchases {
	days := slices.Sorted(maps.Keys(s))
	first, last := days[0], days[len(days)-1]
	p := clv.Purchases{Repeats: float64(len(days) - 1), LastWeek: float64(last-first) / 7, AgeWeeks: float64(today-first) / 7}
	var sum event.Money
	for _, day := range days[1:] {
		sum += s[day]
	}
	if len(days) > 1 {
		p.MeanSpend = sum.Float() / p.Repeats
	}
	return p
}

// greet gives every customer an event, at which they are scored.
func greet(t *testing.T, d *dev, customers []string) {
	t.Helper()
	for some := range slices.Chunk(customers, 500) {
		var calls []string
		for _, customer := range some {
			calls = append(calls, fmt.Sprintf(`{"type":"identify","userId":%q,"traits":{"greeted":true}}`, customer))
		}
		if status := d.post("/v1/batch", `{"batch":[`+strings.Join(calls, ",")+`]}`); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
}

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
