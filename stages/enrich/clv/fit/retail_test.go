package fit_test

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/pipeline/event"
	"attune/stages/enrich/clv"
	"attune/stages/enrich/clv/fit"
)

// retail are the invoices of Online Retail until May 2011 by day, without the cancelled ones and those of nobody.
func retail(t *testing.T) (log []fit.Purchase) {
	t.Helper()
	file, err := os.Open(filepath.Join(sharedData(t), "online_retail_2010-12_2011-05.csv.gz"))
	if err != nil {
		t.Skip("Online Retail is absent:", err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for lines := csv.NewReader(text); ; {
		row, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return log
		}
		if err != nil {
			t.Fatal(err)
		}
		invoice, customer, at := row[0], row[6], row[4]
		if line, _ := lines.FieldPos(0); line == 1 || customer == "" || strings.HasPrefix(invoice, "C") || seen[customer+at[:10]] {
			continue
		}
		seen[customer+at[:10]] = true
		log = append(log, fit.Purchase{Customer: customer, Day: day(t, strings.ReplaceAll(at[:10], "-", "")), Amount: event.MoneyUnit})
	}
}

// A wholesaler, whose likelihood runs away: whichever days are held out.
func TestRetailIsNoWorseThanThePlainRate(t *testing.T) {
	log := retail(t)
	last := day(t, "20110531")
	for _, horizon := range []int32{14, 30, 45, 60, 90} {
		customers := fit.Customers(log, last-horizon, horizon)
		for _, model := range []string{clv.NameBGNBD, clv.NameMBGNBD} { // Pareto/NBD foretells the same here, and takes ten times as long
			noWorse(t, fmt.Sprintf("retail, %d days", horizon), model, log, last-horizon, customers, float64(horizon)/7)
		}
	}
}
