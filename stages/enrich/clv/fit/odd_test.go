package fit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

const weeks = 26 // of calibration and of hold-out each, in the logs made here

// shop draws a log: every customer begins on some day and buys as the rhythm says.
func shop(customers int, seed uint64, rhythm func(r *rand.Rand, buy func(after float64) bool)) []fit.Purchase {
	r := rand.New(rand.NewPCG(seed, 7))
	var log []fit.Purchase
	for c := range customers {
		at := float64(r.IntN(12 * 7))
		mean := 5 + 40*r.ExpFloat64()
		buy := func(after float64) bool {
			at += after
			log = append(log, fit.Purchase{Customer: fmt.Sprint(c), Day: int32(at), Amount: event.Money(mean * (0.5 + r.Float64()) * 1e4)})
			return at < 2*weeks*7
		}
		buy(0)
		rhythm(r, buy)
	}
	return log
}

func oddLogs() map[string][]fit.Purchase {
	same := func(n int, days ...int32) []fit.Purchase {
		var log []fit.Purchase
		for c := range n {
			for _, d := range days {
				log = append(log, fit.Purchase{Customer: fmt.Sprint(c), Day: d, Amount: 100_000})
			}
		}
		return log
	}
	free := same(50, 1, 20, 60)
	for i := range free {
		free[i].Amount = 0
	}
	return map[string][]fit.Purchase{
		"one customer, once":            same(1, 0),
		"one customer, twice":           same(1, 0, 7),
		"one customer, on the last day": same(1, weeks*7),
		"one of a thousand, ever again": append(same(1000, 0), fit.Purchase{Customer: "7", Day: 30, Amount: 5}),
		"all once on one day":           same(500, 3),
		"all twice in step":             same(500, 3, 90),
		"all every day":                 same(20, days(2*weeks*7)...),
		"all for nothing":               free,
		"all only at the end":           same(100, weeks*7-1, weeks*7),
		"two, ten years apart":          {{Customer: "a", Day: -3650, Amount: 1}, {Customer: "b", Day: weeks * 7, Amount: math.MaxInt64 / 4}},
		"subscriptions": shop(300, 1, func(r *rand.Rand, buy func(float64) bool) {
			for buy(28) {
			}
		}),
		"never leaving": shop(600, 2, func(r *rand.Rand, buy func(float64) bool) {
			rate := r.ExpFloat64()/20 + 0.005
			for buy(r.ExpFloat64() / rate) {
			}
		}),
		"one rate for all": shop(600, 3, func(r *rand.Rand, buy func(float64) bool) {
			for buy(r.ExpFloat64()*20) && r.Float64() > 0.2 {
			}
		}),
		"leaving early": shop(2000, 4, func(r *rand.Rand, buy func(float64) bool) {
			rate := r.ExpFloat64()/10 + 0.01
			for r.Float64() > 0.8 && buy(r.ExpFloat64()/rate) {
			}
		}),
		"a burst, then nothing": shop(500, 5, func(r *rand.Rand, buy func(float64) bool) {
			for range 15 {
				buy(1 + r.Float64())
			}
		}),
		"all gone": shop(400, 8, func(r *rand.Rand, buy func(float64) bool) {
			for range r.IntN(6) {
				buy(4 + 8*r.ExpFloat64())
			}
		}),
		"every other day for years": shop(40, 9, func(r *rand.Rand, buy func(float64) bool) {
			for buy(1 + 2*r.Float64()) {
			}
		}),
		"seasons": shop(500, 10, func(r *rand.Rand, buy func(float64) bool) { // six weeks of every quarter
			for at, rate := 0.0, r.ExpFloat64()/15+0.01; ; {
				after := r.ExpFloat64() / rate
				for int(at+after)%91 > 42 {
					after++
				}
				if at += after; !buy(after) {
					return
				}
			}
		}),
		"every few months": shop(500, 11, func(r *rand.Rand, buy func(float64) bool) {
			for buy(30+60*r.ExpFloat64()) && r.Float64() > 0.1 {
			}
		}),
		"new customers only": newcomers(300),
		"a few whales": shop(1500, 6, func(r *rand.Rand, buy func(float64) bool) {
			every := 300.0
			if r.Float64() < 0.02 {
				every = 1.5
			}
			for buy(r.ExpFloat64() * every) {
			}
		}),
	}
}

// newcomers all came in the last five days of the calibration.
func newcomers(n int) (log []fit.Purchase) {
	r := rand.New(rand.NewPCG(12, 7))
	for c := range n {
		first := int32(weeks*7 - r.IntN(5))
		for d := first; d < 2*weeks*7; d += 1 + int32(40*r.ExpFloat64()) {
			log = append(log, fit.Purchase{Customer: fmt.Sprint(c), Day: d, Amount: 100_000})
		}
	}
	return log
}

func days(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// excused are the figures by which a model foretells worse than the plain rate, by log, model and figure, with the reason.
func excused() map[string]string {
	out := map[string]string{}
	for _, model := range []string{clv.NameBGNBD, clv.NameMBGNBD, clv.NameParetoNBD} {
		for _, name := range []string{"one customer, once", "one customer, on the last day", "two, ten years apart"} {
			out[name+", "+model+", RMSE"] = "nobody buys again, of too few to say that nobody ever will: the plain rate is right by foretelling nothing"
		}
		out["a few whales, "+model+", RMSE"] = "the horizon is four times the rehearsal's: it can't see how many of those who buy daily are wrongly thought to leave by then"
	}
	return out
}

// Whatever the log, every model is fitted to something finite within its ranges, in a bounded number of evaluations, and
// says how; the log's order does not matter. What it foretells is no worse than the plain rate, x/T, neither by the mean
// absolute error nor by the root of the squared one, but for what is excused.
func TestOddLogs(t *testing.T) {
	for name, log := range oddLogs() {
		t.Run(name, func(t *testing.T) {
			customers := fit.Customers(log, weeks*7, weeks*7)
			spend, err := fit.Spend(pasts(customers))
			switch {
			case errors.Is(err, fit.ErrNoRepeat):
				spend.Spend = clv.CDNOW().Spend
			case err != nil:
				t.Fatal(err)
			default:
				sound(t, "gammagamma", spend.Fit, spend.Spend.Validate())
			}
			for _, model := range []string{clv.NameBGNBD, clv.NameMBGNBD, clv.NameParetoNBD} {
				got := noWorse(t, name, model, log, weeks*7, customers, weeks)
				m := clv.Model{Counts: got.Forecast(), Spend: spend.Spend, Margin: 1, CountsError: got.Covariance, SpendError: spend.Covariance}
				o := m.Outlook(customers[0].Past, weeks)
				for _, e := range []clv.Estimate{o.Alive, o.Purchases, o.Value} {
					for _, v := range []float64{e.Mean, e.StdError, e.Spread} {
						if !(v >= 0) || math.IsInf(v, 0) {
							t.Errorf("%s: %+v of %+v by %+v", model, o, customers[0], got)
						}
					}
				}
			}
			r := rand.New(rand.NewPCG(9, 9))
			r.Shuffle(len(log), func(i, j int) { log[i], log[j] = log[j], log[i] })
			if diff := cmp.Diff(customers, fit.Customers(log, weeks*7, weeks*7)); diff != "" {
				t.Errorf("in another order: %s", diff)
			}
		})
	}
}

// noWorse fits the model to the log up to the last day, and compares what it foretells of the customers with the plain rate.
func noWorse(t *testing.T, name, model string, log []fit.Purchase, last int32, customers []fit.Customer, horizon float64) fit.CountsFit {
	t.Helper()
	start := time.Now()
	got, err := fit.Tested(model, log, last)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, model, got.Fit, got.Counts.Validate())
	j, plain := fit.JudgeCounts(got.Forecast(), customers, horizon)
	if _, err := json.Marshal([]fit.Judgement{j, plain}); err != nil {
		t.Errorf("%s: %+v, %+v: %v", model, j, plain, err)
	}
	t.Logf("%-9s by %s, own rate %.2f: MAE %.4g (of the mean %.4g), plain %.4g; RMSE %.4g, plain %.4g; fitted in %v",
		model, got.Method, got.OwnRateShare, j.MAE, j.MeanMAE, plain.MAE, j.RMSE, plain.RMSE, took.Round(time.Millisecond))
	for figure, v := range map[string][2]float64{"MAE": {j.MAE, plain.MAE}, "RMSE": {j.RMSE, plain.RMSE}} {
		reason, excuse := excused()[name+", "+model+", "+figure]
		if worse := v[0] > v[1]*(1+1e-9); worse != excuse {
			t.Errorf("%s, %s: %s is %.5g, the plain rate's %.5g, excused: %q", name, model, figure, v[0], v[1], reason)
		}
	}
	return got
}

func sound(t *testing.T, model string, f fit.Fit, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", model, err)
	}
	if math.IsNaN(f.LogLikelihood) || math.IsInf(f.LogLikelihood, 0) || f.Evaluations > 5000 {
		t.Errorf("%s: %+v", model, f)
	}
	if (f.Method == fit.MAP) != (f.Reason != "") || f.Method != fit.MAP && f.Method != fit.MLE {
		t.Errorf("%s: %+v", model, f)
	}
}

// The maximum that runs away is told, and the prior holds the parameters.
func TestRunaway(t *testing.T) {
	customers := fit.Customers(oddLogs()["never leaving"], weeks*7, weeks*7)
	got, err := fit.Counts(clv.NameBGNBD, pasts(customers))
	if err != nil {
		t.Fatal(err)
	}
	b := got.Counts.(clv.BGNBD)
	if got.Method != fit.MAP || !strings.Contains(got.Reason, "a parameter of the largest likelihood runs to") || b.A < 1e-3 || b.B > 1e3 {
		t.Errorf("got %+v", got)
	}
}

func TestNothingToFit(t *testing.T) {
	if _, err := fit.Counts(clv.NameBGNBD, nil); !errors.Is(err, fit.ErrNoCustomer) {
		t.Errorf("got %v", err)
	}
	if _, err := fit.Spend([]clv.Purchases{{AgeWeeks: 3}}); !errors.Is(err, fit.ErrNoRepeat) {
		t.Errorf("got %v", err)
	}
	if _, err := fit.Counts("nbd", []clv.Purchases{{}}); err == nil {
		t.Error("nbd: no error")
	}
}

// The sample that a search looks at in a large log gives the parameters of the whole.
func TestLargeLog(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var many []clv.Purchases
	for range 60_000 { // by the story of Pareto/NBD, with exponential rates: r and s are 1
		age := 20 + 60*r.Float64()
		rate, leaves := -math.Log(r.Float64())/10, r.ExpFloat64()/(r.ExpFloat64()/12+1e-9)
		p := clv.Purchases{AgeWeeks: age}
		for at := r.ExpFloat64() / rate; at < min(age, leaves); at += r.ExpFloat64() / rate {
			p.Repeats, p.LastWeek = p.Repeats+1, at
		}
		many = append(many, p)
	}
	got, err := fit.Counts(clv.NameParetoNBD, many)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{1, 10, 1, 12} {
		if v, e := got.Counts.Parameters()[i], math.Sqrt(got.Covariance[i][i]); math.Abs(math.Log(v/want)) > 3*e || e > 0.2 {
			t.Errorf("parameter %d: got %v with an error of %.3f of its logarithm, drawn with %v", i+1, v, e, want)
		}
	}
	if got.Method != fit.MLE || got.Customers != len(many) {
		t.Errorf("got %+v", got.Fit)
	}
}
