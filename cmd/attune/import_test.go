package main

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
)

// The Online Retail invoices, imported, killed half-way, resumed and imported again, give the totals of a
// direct count of the file, to the cent and beyond: one line costs a tenth of a penny. No mail goes out.
func TestImportOnlineRetail(t *testing.T) {
	invoices, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "data", "online_retail_2010-12_2011-05.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(invoices); err != nil {
		t.Skipf("the public data set is not here: %v", err)
	}
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	arguments := []string{"import", "--data", d.data, "--mapping", "stages/ingest/file/testdata/online-retail.yaml", invoices}

	killed := attune(t.Context(), arguments...)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	checkpoints := filepath.Join(d.data, "imports", "*.json")
	d.eventually(time.Minute, "a first checkpoint", func() bool { found, _ := filepath.Glob(checkpoints); return len(found) > 0 })
	_ = killed.Process.Signal(syscall.SIGKILL) // it may have come to its end: the totals must hold in any case
	_ = killed.Wait()

	totals := func() string {
		return d.sql(`SELECT countIf(event = 'Order Completed'), countIf(event = 'Order Refunded'),
			uniqExactIf(profile_id, event = 'Order Completed'), sumIf(revenue, event = 'Order Completed'), sumIf(revenue, event = 'Order Refunded'),
			count() FROM events`)
	}
	const want = "7410\t1588\t2718\t3332591.961\t212103.87\t8998"
	for _, again := range []string{"resumed", "repeated"} {
		report := output(t, arguments...)
		if !strings.Contains(report, "59,976  refused: missing_customer") {
			t.Errorf("the report does not count the refused lines:\n%s", report)
		}
		if got := totals(); got != want {
			t.Errorf("%s: totals %q, want %q", again, got, want)
		}
	}
	if got := d.sql("SELECT sum(orders), sum(revenue) FROM (SELECT orders, revenue FROM profiles FINAL)"); got != "7410\t3332591.961" {
		t.Errorf("the profiles' orders and revenue are %q", got)
	}
	compareValues(t, d, invoices)
	if n := len(d.mails()); n != 0 {
		t.Errorf("%d mails went out", n)
	}
	if n := d.sql("SELECT count() FROM decisions"); n != "0" {
		t.Errorf("%s decisions were taken on history", n)
	}
	d.interrupt()
}

// value is recency, frequency and monetary value of one customer.
type value struct {
	Last                        event.Instant // of the latest order; zero: none
	Orders, Refunds             uint64
	Revenue, Refunded, Monetary string // the last without what was refunded
}

// compareValues compares the profile of every customer, as the database has it and as the API tells it, with a direct
// computation from the file, which knows nothing of mappings, events or profiles.
func compareValues(t *testing.T, d *dev, invoices string) {
	t.Helper()
	want := directValues(t, invoices)
	if len(want) < 2718 {
		t.Errorf("the file has %d customers, want at least those 2,718 who ordered", len(want))
	}
	got, ids := map[string]value{}, map[string]string{}
	for line := range strings.Lines(d.sql(`SELECT user_id, profile_id, orders, refunds, revenue, refunded, ifNull(toUnixTimestamp64Milli(last_order), 0), revenue - refunded
		FROM (SELECT DISTINCT user_id, profile_id FROM events) AS e INNER JOIN (SELECT * FROM profiles FINAL) AS p USING profile_id`)) {
		column := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		orders, _ := strconv.ParseUint(column[2], 10, 64)
		refunds, _ := strconv.ParseUint(column[3], 10, 64)
		last, _ := strconv.ParseInt(column[6], 10, 64)
		got[column[0]] = value{event.Instant(last), orders, refunds, pounds(t, column[4]), pounds(t, column[5]), pounds(t, column[7])}
		ids[column[0]] = column[1]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("recency, frequency and monetary value of customers (-file +profiles):\n%.3000s", diff)
	}
	asked := 0
	for customer, v := range want { // a few, whichever come first
		if asked++; asked > 20 {
			break
		}
		status, answer := d.ask(ids[customer], "dev")
		orders, _ := answer["orders"].(map[string]any)
		last, _ := orders["last"].(string)
		if status != 200 || last != v.Last.String() || orders["count"] != float64(v.Orders) || pounds(t, fmt.Sprint(orders["net"])) != v.Monetary {
			t.Errorf("customer %s: the API answers %d with %v, want %+v", customer, status, orders, v)
		}
	}
}

// invoice is one of the file's: an order, or what was taken back.
type invoice struct {
	customer string
	at       time.Time // of its first line
	amount   event.Money
}

// directInvoices reads the file with the standard library. Those that begin with C were taken back.
func directInvoices(t *testing.T, invoices string) map[string]*invoice {
	t.Helper()
	f, err := os.Open(invoices)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*invoice{}
	for _, row := range rows[1:] {
		number, quantity, at, price, customer := row[0], row[3], row[4], row[5], row[6]
		if customer == "NA" {
			continue
		}
		when, err := time.ParseInLocation(time.DateTime, at, london)
		if err != nil {
			t.Fatal(err)
		}
		each, err := event.ParseMoney(price)
		if err != nil {
			t.Fatal(err)
		}
		many, err := strconv.ParseInt(quantity, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		one := all[number]
		if one == nil {
			one = &invoice{customer: customer, at: when}
			all[number] = one
		}
		if when.Before(one.at) {
			one.at = when
		}
		one.amount += event.Money(many) * each
	}
	return all
}

// directValues sums up the file's invoices by customer.
func directValues(t *testing.T, invoices string) map[string]value {
	t.Helper()
	type sums struct {
		value
		revenue, refunded event.Money
	}
	customers := map[string]*sums{}
	for number, one := range directInvoices(t, invoices) {
		c := customers[one.customer]
		if c == nil {
			c = &sums{}
			customers[one.customer] = c
		}
		if strings.HasPrefix(number, "C") {
			c.Refunds++
			c.refunded -= one.amount
			continue
		}
		c.Orders++
		c.revenue += one.amount
		c.Last = max(c.Last, event.At(one.at))
	}
	values := map[string]value{}
	for id, c := range customers {
		c.Revenue, c.Refunded, c.Monetary = c.revenue.String(), c.refunded.String(), (c.revenue - c.refunded).String()
		values[id] = c.value
	}
	return values
}

// pounds is an amount in one way of writing.
func pounds(t *testing.T, text string) string {
	t.Helper()
	m, err := event.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return m.String()
}
