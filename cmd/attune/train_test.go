package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
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
