package fit_test

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/pipeline/event"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

func sharedData(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../../../shared/data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the public data sets are absent:", err)
	}
	return dir
}

func day(t testing.TB, s string) int32 {
	t.Helper()
	at, err := time.Parse("20060102", s)
	if err != nil {
		t.Fatal(err)
	}
	return int32(at.Unix() / 86400)
}

// cdnow are the customers of the CDNOW sample after 39 weeks, and the 39 weeks that followed.
func cdnow(t testing.TB) []fit.Customer {
	t.Helper()
	return fit.Customers(cdnowLog(t), day(t, "19970930"), 39*7)
}

func cdnowLog(t testing.TB) (log []fit.Purchase) {
	t.Helper()
	file, err := os.Open(filepath.Join(sharedData(t), "CDNOW_sample.txt"))
	if err != nil {
		t.Skip("CDNOW_sample.txt is absent:", err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text())
		amount, err := event.ParseMoney(f[4])
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, fit.Purchase{Customer: f[1], Day: day(t, f[2]), Amount: amount})
	}
	return log
}

func pasts(customers []fit.Customer) []clv.Purchases {
	out := make([]clv.Purchases, len(customers))
	for i, c := range customers {
		out[i] = c.Past
	}
	return out
}

// The published fits of the CDNOW sample, found from its purchases.
func TestCDNOW(t *testing.T) {
	customers := cdnow(t)
	if len(customers) != 2357 {
		t.Fatalf("%d customers, want 2357", len(customers))
	}
	later := 0.0
	for _, c := range customers {
		later += c.Later
	}
	if later != 1882 {
		t.Errorf("%v purchases in the hold-out, want 1882", later)
	}
	for _, tt := range []struct {
		name           string
		parameters     [4]float64
		likelihood     float64
		within         float64
		mae, rmse, cor float64
	}{
		{clv.NameBGNBD, [4]float64{.2425945, 4.4136019, .7929199, 2.4258881}, -9582.429, 1e-3, .79, 1.61, .62},
		{clv.NameMBGNBD, [4]float64{.525, 6.183, .891, 1.614}, -9582.1357, 2e-3, .79, 1.61, .62},
		{clv.NameParetoNBD, [4]float64{.55315, 10.57633, .60625, 11.67150}, -9594.976, 1e-3, .76, 1.61, .63},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fit.Counts(tt.name, pasts(customers))
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range got.Counts.Parameters() {
				if relative(v, tt.parameters[i]) > tt.within {
					t.Errorf("parameter %d: got %.6f, published %v", i+1, v, tt.parameters[i])
				}
			}
			if math.Abs(got.LogLikelihood-tt.likelihood) > 0.01 {
				t.Errorf("log likelihood: got %.4f, published %v", got.LogLikelihood, tt.likelihood)
			}
			if got.Method != fit.MLE {
				t.Errorf("found by %s: %s", got.Method, got.Reason)
			}
			model, plain := fit.JudgeCounts(got.Counts, customers, 39)
			if model.MeanMAE > tt.mae || model.RMSE > tt.rmse || model.Correlation < tt.cor {
				t.Errorf("hold-out: got %+v, want MAE <= %v, RMSE <= %v, correlation >= %v", model, tt.mae, tt.rmse, tt.cor)
			}
			if model.MAE >= plain.MAE || model.RMSE >= plain.RMSE || model.Correlation <= plain.Correlation {
				t.Errorf("hold-out: %+v is not better than the plain rate's %+v", model, plain)
			}
			calibrated(t, got, customers)
		})
	}
	t.Run("gammagamma", func(t *testing.T) {
		got, err := fit.Spend(pasts(customers))
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range [][2]float64{{got.Spend.P, 6.24957}, {got.Spend.Q, 3.74422}, {got.Spend.V, 15.44352}} {
			if relative(c[0], c[1]) > 2e-3 {
				t.Errorf("parameter %d: got %.5f, published %v", i+1, c[0], c[1])
			}
		}
		if math.Abs(got.LogLikelihood - -4055.9177) > 0.01 || got.Customers != 946 || got.Method != fit.MLE {
			t.Errorf("got %+v", got.Fit)
		}
	})
}

// No share of the own rate spoils what the published parameters foretell.
func TestCDNOWIsNoWorseThanThePlainRate(t *testing.T) {
	log, last := cdnowLog(t), day(t, "19970930")
	for _, model := range []string{clv.NameBGNBD, clv.NameMBGNBD, clv.NameParetoNBD} {
		if got := noWorse(t, "cdnow", model, log, last, cdnow(t), 39); got.OwnRateShare != 0 {
			t.Errorf("%s: the own rate's share is %v", model, got.OwnRateShare)
		}
	}
}

// calibrated tests the uncertainty by what followed: the squared errors are what the spreads say, on the average.
func calibrated(t *testing.T, got fit.CountsFit, customers []fit.Customer) {
	t.Helper()
	m := clv.Model{Counts: got.Counts, Spend: clv.CDNOW().Spend, Margin: 1, CountsError: got.Covariance}
	var said, seen float64
	for _, c := range customers {
		o := m.Outlook(c.Past, 39).Purchases
		said += o.Spread * o.Spread
		seen += (c.Later - o.Mean) * (c.Later - o.Mean)
		if o.StdError <= 0 || o.StdError > 0.2*(1+o.Mean) {
			t.Fatalf("%+v: standard error of %+v", c, o)
		}
	}
	if ratio := seen / said; ratio < 0.6 || ratio > 1.6 {
		t.Errorf("the squared errors come to %.2f times what the spreads say", ratio)
	} else {
		t.Logf("the squared errors come to %.2f times what the spreads say", ratio)
	}
}

// Published values of the likelihood at given parameters (pymc-marketing's tests).
func TestLogLikelihoodPublished(t *testing.T) {
	m := clv.BGNBD{R: .25, Alpha: 4, A: .8, B: 2.5}
	for _, c := range []struct{ x, tx, want float64 }{{0, 0, -.59947382}, {200, 38, 100.7957}} {
		got := fit.LogLikelihood(m, clv.Purchases{Repeats: c.x, LastWeek: c.tx, AgeWeeks: 40})
		if relative(got, c.want) > 1e-6 {
			t.Errorf("(%v, %v, 40): got %.8f, want %v", c.x, c.tx, got, c.want)
		}
	}
}

func BenchmarkFit(b *testing.B) {
	past := pasts(cdnow(b))
	for _, name := range []string{clv.NameBGNBD, clv.NameMBGNBD, clv.NameParetoNBD} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := fit.Counts(name, past); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("gammagamma", func(b *testing.B) {
		for b.Loop() {
			if _, err := fit.Spend(past); err != nil {
				b.Fatal(err)
			}
		}
	})
}
