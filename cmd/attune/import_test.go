package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
		if !strings.Contains(report, "59,976  refused: missing_CustomerID") {
			t.Errorf("the report does not count the refused lines:\n%s", report)
		}
		if got := totals(); got != want {
			t.Errorf("%s: totals %q, want %q", again, got, want)
		}
	}
	if got := d.sql("SELECT sum(orders), sum(revenue) FROM (SELECT orders, revenue FROM profiles FINAL)"); got != "7410\t3332591.961" {
		t.Errorf("the profiles' orders and revenue are %q", got)
	}
	if n := len(d.mails()); n != 0 {
		t.Errorf("%d mails went out", n)
	}
	if n := d.sql("SELECT count() FROM decisions"); n != "0" {
		t.Errorf("%s decisions were taken on history", n)
	}
	d.interrupt()
}
