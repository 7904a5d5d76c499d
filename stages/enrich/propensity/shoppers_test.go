package propensity_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"attune/stages/enrich/propensity"
)

// shoppers are the sessions of Online Shoppers, without some columns.
func shoppers(t testing.TB, without ...string) (names []string, examples []propensity.Example) {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "data", "online_shoppers_intention.csv"))
	if err != nil {
		t.Skip("online_shoppers_intention.csv is absent:", err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	header := rows[0]
	for _, name := range header[:len(header)-1] {
		if !slices.Contains(without, name) {
			names = append(names, name)
		}
	}
	for _, row := range rows[1:] {
		e := propensity.Example{Label: row[len(row)-1] == "TRUE"}
		for i, name := range header[:len(header)-1] {
			if !slices.Contains(without, name) {
				e.Row = append(e.Row, propensity.Parse(row[i]))
			}
		}
		examples = append(examples, e)
	}
	return names, examples
}

// The whole file, and without some of what tells most: the model finds its bins and pairs by itself.
func TestShoppers(t *testing.T) {
	for _, c := range []struct {
		without      []string
		auc, logLoss float64
	}{
		{nil, .925, .235},
		{[]string{"PageValues"}, .765, .370},
		{[]string{"OperatingSystems", "Browser", "Region", "TrafficType", "Month"}, .905, .252},
		{[]string{"PageValues", "BounceRates in %", "ExitRates in %", "Month"}, .70, .395},
	} {
		names, examples := shoppers(t, c.without...)
		j, err := propensity.CrossValidate(names, examples, 5)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("without %v: %+v", c.without, j)
		if j.AUC < c.auc || j.LogLoss > c.logLoss || j.ECE > .015 {
			t.Errorf("without %v: got %+v, want AUC >= %v, log loss <= %v, ECE <= .015", c.without, j, c.auc, c.logLoss)
		}
	}
}
