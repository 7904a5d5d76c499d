package file

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"
)

// retailFile is the Online Retail file beside the checkout, or the test is skipped.
func retailFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "..", "shared", "data", "online_retail_2010-12_2011-05.csv.gz")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("public data is absent: %v", err)
	}
	return path
}

func unzipped(t *testing.T, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// totals is what an analyst would ask of the imported orders.
type totals struct {
	Rows, RefusedRows, Orders, Refunds, Customers, Lines int
	Revenue, Refunded, Units, ItemRevenue                string
	First, Last                                          string
}

// countDirectly reads the file with the standard library and knows nothing of mappings.
func countDirectly(t *testing.T, path string) totals {
	t.Helper()
	r := csv.NewReader(unzipped(t, path))
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	var out totals
	orders, refunds, customers := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var revenue, refunded, units decimal.Decimal
	var first, last time.Time
	for _, row := range all[1:] {
		invoice, quantity, price, customer := row[0], decimal.RequireFromString(row[3]), decimal.RequireFromString(row[5]), row[6]
		out.Rows++
		if customer == "NA" {
			out.RefusedRows++
			continue
		}
		at, err := time.ParseInLocation(time.DateTime, row[4], london)
		if err != nil {
			t.Fatal(err)
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if strings.HasPrefix(invoice, "C") {
			refunds[invoice] = true
			refunded = refunded.Sub(quantity.Mul(price))
			continue
		}
		if at.After(last) {
			last = at
		}
		out.Lines++
		orders[invoice], customers[customer] = true, true
		revenue = revenue.Add(quantity.Mul(price))
		units = units.Add(quantity)
	}
	out.Orders, out.Refunds, out.Customers = len(orders), len(refunds), len(customers)
	out.Revenue, out.Refunded, out.Units, out.ItemRevenue = revenue.String(), refunded.String(), units.String(), revenue.String()
	out.First, out.Last = first.UTC().Format(time.RFC3339Nano), last.UTC().Format(time.RFC3339Nano)
	return out
}

func TestOnlineRetailEqualsADirectCount(t *testing.T) {
	path := retailFile(t)
	mapping := mappingIn(t, "testdata/online-retail.yaml")
	r, err := Open(path, Options{Mapping: mapping})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got totals
	var revenue, refunded, units, items decimal.Decimal
	customers, ids := map[string]bool{}, map[string]bool{}
	largest := 0
	for call, err := range r.Calls(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, len(call.Raw.Payload))
		var p struct {
			Type, MessageID, UserID, Event, Timestamp string
			Properties                                struct {
				Total, Revenue    json.Number
				Currency, Country string
				Products          []struct{ Quantity, Price json.Number }
			}
		}
		if err := json.Unmarshal(call.Raw.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if p.Type != "track" || p.Properties.Currency != "GBP" || p.Properties.Country == "" || !call.Raw.Historical ||
			call.Raw.Key != p.UserID || ids[p.MessageID] || call.ID != p.MessageID || len(p.Properties.Products) != call.Rows {
			t.Fatalf("line %d: %s", call.Line, call.Raw.Payload)
		}
		ids[p.MessageID] = true
		if got.First == "" || p.Timestamp < got.First {
			got.First = p.Timestamp
		}
		total := decimal.RequireFromString(p.Properties.Total.String())
		if total.IsNegative() {
			t.Fatalf("line %d: a negative total: %s", call.Line, call.Raw.Payload)
		}
		if p.Event == "Order Refunded" {
			got.Refunds++
			refunded = refunded.Add(total)
			continue
		}
		got.Orders++
		got.Last = max(got.Last, p.Timestamp)
		if p.Properties.Revenue != p.Properties.Total {
			t.Fatalf("line %d: revenue %s, total %s", call.Line, p.Properties.Revenue, p.Properties.Total)
		}
		customers[p.UserID] = true
		revenue = revenue.Add(total)
		for _, item := range p.Properties.Products {
			got.Lines++
			n := decimal.RequireFromString(item.Quantity.String())
			units = units.Add(n)
			items = items.Add(n.Mul(decimal.RequireFromString(item.Price.String())))
		}
	}
	report := r.Report()
	got.Rows, got.RefusedRows, got.Customers = int(report.Rows), int(report.Refused), len(customers)
	got.Revenue, got.Refunded, got.Units, got.ItemRevenue = revenue.String(), refunded.String(), units.String(), items.String()
	if diff := cmp.Diff(countDirectly(t, path), got); diff != "" {
		t.Errorf("import differs from a direct count (-count +import):\n%s", diff)
	}
	if len(report.Reasons) != 1 || report.Reasons[0].Reason != "missing_customer" || report.Rows != report.CallRows+report.Refused {
		t.Errorf("report:\n%s", report)
	}
	p := r.Progress()
	if p.BytesRead != p.BytesTotal || p.BytesTotal < 1_000_000 || p.Calls > p.CallsTotal || p.Calls != report.Calls {
		t.Errorf("progress at the end: %+v", p)
	}
	t.Logf("%+v\n%slargest payload: %d bytes", got, report, largest)
}
