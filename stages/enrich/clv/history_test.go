package clv

import (
	"bufio"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistory(t *testing.T) {
	var h History
	if diff := cmp.Diff(Purchases{}, h.Purchases(100, 100)); diff != "" {
		t.Error("no purchase:", diff)
	}
	for _, c := range []struct {
		name  string
		day   int32
		spend int64
		want  History
	}{
		{"the first", 10, 500, History{10, 10, 1, 500, 0}},
		{"again the same day", 10, 100, History{10, 10, 1, 600, 0}},
		{"a repeat", 17, 1000, History{10, 17, 2, 600, 1000}},
		{"again on the repeat's day", 17, 50, History{10, 17, 2, 600, 1050}},
		{"one before the first", 3, 70, History{3, 17, 3, 70, 1650}},
		{"a late one in between", 12, 30, History{3, 17, 4, 70, 1680}},
	} {
		h = h.Add(c.day, c.spend)
		if diff := cmp.Diff(c.want, h); diff != "" {
			t.Error(c.name, diff)
		}
	}
	h.RepeatSpend = 1650
	if diff := cmp.Diff(Purchases{Repeats: 3, LastWeek: 2, AgeWeeks: 4.5, MeanSpend: 5.5}, h.Purchases(34.5, 100)); diff != "" {
		t.Error(diff)
	}
}

// The published summary (x, t_x, T, zbar) of all 2,357 customers of the CDNOW sample follows from its purchases.
// What is spent stays at the bound, as in profiles, and never becomes a debt.
func TestHistoryNeverWrapsAround(t *testing.T) {
	h := History{}.Add(3, math.MaxInt64).Add(3, 1).Add(4, math.MaxInt64).Add(5, math.MaxInt64).Add(2, 1)
	if diff := cmp.Diff(History{2, 5, 4, 1, math.MaxInt64}, h); diff != "" {
		t.Error(diff)
	}
	if h = h.Add(6, -5); h.RepeatSpend != math.MaxInt64-5 {
		t.Errorf("after a refund %d", h.RepeatSpend)
	}
}

func TestHistoryOfCDNOW(t *testing.T) {
	dir := sharedData(t)
	file, err := os.Open(filepath.Join(dir, "CDNOW_sample.txt"))
	if err != nil {
		t.Skip("CDNOW_sample.txt is absent:", err)
	}
	defer file.Close()
	day := func(s string) int32 {
		at, err := time.Parse("20060102", s)
		if err != nil {
			t.Fatal(err)
		}
		return int32(at.Unix() / 86400)
	}
	end := day("19970930")
	customers := map[string]History{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) != 5 {
			t.Fatalf("line %q has %d fields", lines.Text(), len(f))
		}
		when := day(f[2])
		if when > end {
			continue
		}
		dollars, err := strconv.ParseFloat(f[4], 64)
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimLeft(f[1], "0")
		customers[id] = customers[id].Add(when, int64(math.Round(dollars*100)))
	}

	summary, err := os.Open(filepath.Join(dir, "cdnow_summary.csv"))
	if err != nil {
		t.Skip("cdnow_summary.csv is absent:", err)
	}
	defer summary.Close()
	rows, err := csv.NewReader(summary).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	equal := 0
	model, total := published, 0.0
	for _, row := range rows[1:] {
		var want [4]float64
		for i := range want {
			if want[i], err = strconv.ParseFloat(row[i+1], 64); err != nil {
				t.Fatal(err)
			}
		}
		p := customers[row[0]].Purchases(float64(end), 100)
		if p.Repeats == want[0] && printed(p.LastWeek, want[1], 2) && printed(p.AgeWeeks, want[2], 2) && printed(p.MeanSpend, want[3], 2) {
			equal++
		} else {
			t.Errorf("customer %s: got %+v, published %v", row[0], p, want)
		}
		total += model.Expected(p, 39)
	}
	if equal != 2357 {
		t.Errorf("%d of 2357 customers equal the published summary", equal)
	}
	t.Logf("%d equal; expected purchases in the next 39 weeks: %.1f", equal, total)
}

func sharedData(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../../shared/data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the public data sets are absent:", err)
	}
	return dir
}
