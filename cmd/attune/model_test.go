package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// printed runs a command that must succeed, and returns what it prints.
func printed(t *testing.T, in string, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, streams{in: strings.NewReader(in), out: &out, err: &errs}); code != 0 {
		t.Fatalf("attune %s: exit code %d\n%s", strings.Join(args, " "), code, errs.String())
	}
	return out.Bytes()
}

// The published fits, from a CSV of the CDNOW sample's purchases.
func TestModelFitOnCDNOW(t *testing.T) {
	file, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", "CDNOW_sample.txt"))
	if err != nil {
		t.Skip("CDNOW_sample.txt is absent:", err)
	}
	defer file.Close()
	var text strings.Builder
	text.WriteString("customer,date,amount\n")
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text())
		fmt.Fprintf(&text, "%s,%s-%s-%s,%s\n", f[1], f[2][:4], f[2][4:6], f[2][6:], f[4])
	}
	for _, c := range []struct {
		model      string
		parameters map[string]float64
		likelihood float64
		mae        float64
	}{
		{"bgnbd", map[string]float64{"r": .2425945, "alpha": 4.4136019, "a": .7929199, "b": 2.4258881}, -9582.429, .79},
		{"mbgnbd", map[string]float64{"r": .525, "alpha": 6.183, "a": .891, "b": 1.614}, -9582.136, .79},
		{"paretonbd", map[string]float64{"r": .55315, "alpha": 10.57633, "s": .60625, "beta": 11.67150}, -9594.976, .76},
		{"gammagamma", map[string]float64{"p": 6.24957, "q": 3.74422, "v": 15.44352}, -4055.918, 17},
	} {
		var got struct {
			Parameters    map[string]float64
			LogLikelihood float64 `json:"log_likelihood"`
			Method        string
			Holdout       struct{ MAE float64 }
		}
		said := printed(t, text.String(), "model", "fit", "-", "--model", c.model, "--calibration-end", "1997-09-30", "--horizon", "39w")
		if err := json.Unmarshal(said, &got); err != nil {
			t.Fatalf("%s\n%v", said, err)
		}
		for name, want := range c.parameters {
			if math.Abs(got.Parameters[name]/want-1) > 1e-3 {
				t.Errorf("%s: %s is %v, published %v", c.model, name, got.Parameters[name], want)
			}
		}
		if math.Abs(got.LogLikelihood-c.likelihood) > 0.01 || got.Method != "mle" || got.Holdout.MAE > c.mae || got.Holdout.MAE == 0 {
			t.Errorf("%s: got %s", c.model, said)
		}
	}
}

func TestModelFitMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, args, says string }{
		{"nothing", "", "", "it is empty"},
		{"no purchase", "customer,date,amount\n", "", "no purchase"},
		{"no column", "who,date,amount\na,2026-01-01,3\n", "", `no column "customer": the first line has who, date, amount`},
		{"no amount for spend", "customer,date\na,2026-01-01\n", "--model gammagamma", `no column "amount"`},
		{"date", "customer,date,amount\na,2026-01-01,3\nb,yesterday,3\n", "", `-:3:3: date is "yesterday": want a date like 2026-03-31`},
		{"amount", "customer,date,amount\na,2026-01-01,much\n", "", `-:2:14: amount is "much"`},
		{"customer", "customer,date,amount\n,2026-01-01,1\n", "", "customer"},
		{"fields", "customer,date,amount\na,2026-01-01\n", "", "wrong number of fields"},
		{"no repeat", "customer,date,amount\na,2026-01-01,3\n", "--model gammagamma", "second time"},
		{"all later", "customer,date,amount\na,2026-01-01,3\n", "--calibration-end 2025-01-01", "nobody bought anything"},
		{"end", "customer,date,amount\na,2026-01-01,3\n", "--calibration-end soon", "--calibration-end soon"},
		{"horizon", "customer,date,amount\na,2026-01-01,3\n", "--horizon 3m", "like 39w or 90d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"model", "fit", "-"}, strings.Fields(c.args)...)
			if !strings.Contains(c.args, "--model") {
				args = append(args, "--model", "bgnbd")
			}
			var out, errs bytes.Buffer
			if code := run(t.Context(), args, streams{in: strings.NewReader(c.text), out: &out, err: &errs}); code != exitFailed || !strings.Contains(errs.String(), c.says) {
				t.Errorf("exit code %d: %s\nwant %q", code, errs.String(), c.says)
			}
		})
	}
}

// A file without horizon or amounts, in another order of columns, with what spreadsheets add.
func TestModelFitReadsWhatThereIs(t *testing.T) {
	said := string(printed(t, "\ufeffDate, Customer\n2026-01-01,a\n2026-01-09 10:00:00,a\n20260201,b\n", "model", "fit", "-", "--model", "mbgnbd"))
	for _, want := range []string{`"calibration_end": "2026-02-01"`, `"customers": 2`, `"method": "map"`, `"purchases": 3`} {
		if !strings.Contains(said, want) {
			t.Errorf("%s lacks %s", said, want)
		}
	}
	if strings.Contains(said, "holdout") {
		t.Errorf("%s has a hold-out", said)
	}
	refunded := string(printed(t, "customer,date,amount\na,2026-01-01,5\na,2026-01-02,-5\n", "model", "fit", "-", "--model", "bgnbd"))
	if !strings.Contains(refunded, `"refunds": 1`) || !strings.Contains(refunded, `"purchases": 1`) {
		t.Errorf("got %s", refunded)
	}
}

func TestModelPropensity(t *testing.T) {
	var text strings.Builder
	text.WriteString("colour,Bought,size\n")
	for i := range 400 {
		colour, bought := []string{"red", "blue"}[i%2], "no"
		if i%2 == 0 && i%6 != 0 || i%22 == 1 {
			bought = "YES"
		}
		fmt.Fprintf(&text, "%s,%s,%d\n", colour, bought, i%7)
	}
	var got struct {
		Rows, Positives, Folds int
		AUC                    float64
		LogLoss                float64 `json:"log_loss"`
		ECE                    float64
	}
	said := printed(t, text.String(), "model", "propensity", "-", "--label", "bought", "--folds", "4")
	if err := json.Unmarshal(said, &got); err != nil {
		t.Fatalf("%s\n%v", said, err)
	}
	if got.Rows != 400 || got.Folds != 4 || got.AUC < 0.75 || got.LogLoss <= 0 || got.LogLoss > 0.6 {
		t.Errorf("got %s", said)
	}
	for _, c := range []struct{ text, args, says string }{
		{"a,b\n1,2\n", "--label c", `no column "c"`},
		{"a,b\n1,2\n", "--label b", `-:2:3: b is "2": want true or false`},
		{"a,b\n1,1\n", "--label b", "--folds 5"},
		{"a,b\n" + strings.Repeat("1,1\n", 100), "--label b", "all labels are the same"},
		{"a,b\n" + strings.Repeat("1,1\n2,0\n", 10), "--label b", "too few rows"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"model", "propensity", "-"}, strings.Fields(c.args)...)
		if code := run(t.Context(), args, streams{in: strings.NewReader(c.text), out: &out, err: &errs}); code != exitFailed || !strings.Contains(errs.String(), c.says) {
			t.Errorf("exit code %d: %s\nwant %q", code, errs.String(), c.says)
		}
	}
}
