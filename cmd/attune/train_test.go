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

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

// score is what a profile says of a customer's future.
type score struct {
	CLV   event.Money
	Alive float64
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

	greet(t, d, slices.Sorted(maps.Keys(pasts)))
	const scores = "FROM (SELECT DISTINCT user_id, profile_id FROM events WHERE event = 'Order Completed') AS e INNER JOIN (SELECT * FROM profiles FINAL) AS p USING profile_id"
	d.eventually(time.Minute, "everyone is scored anew", func() bool {
		return d.sql("SELECT countIf(traits.greeted.:Bool) FROM profiles FINAL") == "2718"
	})
	expected, got := map[string]score{}, map[string]score{}
	for line := range strings.Lines(d.sql("SELECT user_id, clv, alive, toUnixTimestamp64Milli(scored_at) " + scores)) {
		column := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		money, err := event.ParseMoney(column[1])
		if err != nil {
			t.Fatal(err)
		}
		alive, err := strconv.ParseFloat(column[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		scored, err := strconv.ParseInt(column[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		got[column[0]] = score{money, alive}
		past := pasts[column[0]].past(profile.DayOf(event.Instant(scored)))
		expected[column[0]] = score{
			event.Money(math.Round(want.Model.Value(past, enrich.DefaultConfig().HorizonWeeks)*100)) * (event.MoneyUnit / 100),
			math.Round(want.Model.Alive(past)*1e4) / 1e4,
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
	broker := enginetest.NATS(t)
	js := connected(t, broker)
	settings := topology.DefaultConfig()
	settings.Partitions = 1
	if err := topology.Ensure(t.Context(), js, settings); err != nil {
		t.Fatal(err)
	}
	store, err := openControl(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "attune.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "nats: {url: %q}\n", broker.URL()), 0o600); err != nil {
		t.Fatal(err)
	}
	said := func(args ...string) string { return string(printed(t, "", append(args, "--config", file)...)) }
	inForce := func(number uint64) {
		t.Helper()
		if _, n, err := modelInForce(t.Context(), store); err != nil || n != number {
			t.Errorf("model %d is in force, want %d: %v", n, number, err)
		}
		line := strings.Split(said("model", "list"), "\n")[number+1]
		if !strings.HasPrefix(line, fmt.Sprint(number)) || !strings.Contains(line, "in force") {
			t.Errorf("the list says of model %d: %s", number, line)
		}
	}
	train := func(rmse, before float64, force bool) error {
		object := modelObject{Models: enrich.DefaultModels(), Calibrated: clv.CDNOW()}
		object.CLV.Spend.V = 10 + rmse
		object.Card.Holdout.Value.RMSE, object.Card.Before.Holdout.Value.RMSE = rmse, before
		var out, errs strings.Builder
		return (&trainCommand{Force: force}).settle(t.Context(), streams{out: &out, err: &errs}, store, object)
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
		said("model", "use", fmt.Sprint(back))
		inForce(back)
	}
	if again := said("model", "use", "2"); !strings.Contains(again, "nothing changed") {
		t.Errorf("once more: %s", again)
	}
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"model", "use", "4", "--config", file}, streams{out: &out, err: &errs}); code != exitFailed || !strings.Contains(errs.String(), "the models 0 to 3") {
		t.Errorf("an unknown model: exit code %d, %s", code, errs.String())
	}
}
