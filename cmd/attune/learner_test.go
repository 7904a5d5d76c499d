package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/pipeline/embedded/enginetest"
)

// Two processes over one broker and one database: without anybody asking, one of them trains what was imported, and both
// score by it what they own, without a restart.
func TestLearnerTrainsForAll(t *testing.T) {
	dsn, broker := enginetest.Database(t), enginetest.NATS(t)
	var nodes []*dev
	var file string
	for i := range 2 {
		listen := freeAddress(t)
		file = filepath.Join(t.TempDir(), fmt.Sprintf("attune-%d.yaml", i))
		settings := fmt.Sprintf("listen: %s\nnats: {url: %q}\nclickhouse: {dsn: %q, http: %q}\ningest: {write_keys: [{name: web, key: secret}]}\nlearner: {every: 3s}\nlog: {format: json}\n",
			listen, broker.URL(), dsn, enginetest.ClickHouse(t).HTTPURL())
		if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		logs := new(lockedBuffer)
		d := &dev{t: t, cmd: attune(context.WithoutCancel(t.Context()), "run", "--config", file), logs: logs, IngestURL: "http://" + listen, WriteKey: "secret"}
		d.cmd.Stderr = logs
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.kill)
		nodes = append(nodes, d)
	}
	for _, d := range nodes {
		d.eventually(30*time.Second, "it runs", func() bool { return strings.Contains(d.logs.String(), `"msg":"running"`) })
	}
	const customers = 150
	mapping, history := historyFiles(t, customers)
	output(t, "import", "--config", file, "--mapping", mapping, history)
	var inForce trainReport
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the second process says\n%s\nthe list is\n%.3000s", nodes[1].logs, output(t, "model", "list", "--json", "--config", file))
		}
	})
	nodes[0].eventually(time.Minute, "a model is in force", func() bool {
		for line := range strings.Lines(output(t, "model", "list", "--json", "--config", file)) {
			var r trainReport
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.InForce {
				inForce = r
			}
		}
		return len(inForce.Card.Propensities) == 1 && inForce.Card.Products != nil
	})
	trained := 0
	for _, d := range nodes {
		if strings.Contains(d.logs.String(), "models trained and put in force") {
			trained++
		}
	}
	if trained != 1 {
		t.Errorf("%d of two processes trained", trained)
	}
	count := func(query string) string {
		return strings.TrimSpace(output(t, "sql", "--config", file, "--format", "TSV", query))
	}
	var calls []string
	for c := range customers {
		calls = append(calls, fmt.Sprintf(`{"type":"identify","userId":"u%d","traits":{"greeted":true}}`, c))
	}
	if status := nodes[1].post("/v1/batch", `{"batch":[`+strings.Join(calls, ",")+`]}`); status != 200 {
		t.Fatalf("status %d", status)
	}
	nodes[0].eventually(30*time.Second, "everybody is scored in all partitions", func() bool {
		return count("SELECT count(), uniqExact(partition) FROM events WHERE type = 'identify' AND mapContains(propensity, 'purchase')") == fmt.Sprint(customers, "\t", 8)
	})
	for _, d := range nodes {
		d.interrupt()
	}
}

// historyFiles are made-up customers' events of half a year, to be imported, and their mapping.
func historyFiles(t *testing.T, customers int) (mapping, history string) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 3))
	var b strings.Builder
	b.WriteString("id,user,kind,time,product,amount\n")
	begin := time.Now().UTC().Add(-180 * 24 * time.Hour)
	for c := range customers {
		keen := []float64{0.02, 0.9}[c%2] // half of them look only
		for d := r.IntN(30); d < 178; d += 3 + r.IntN(20) {
			line := func(kind string, after time.Duration) {
				at := begin.Add(time.Duration(d)*24*time.Hour + after)
				fmt.Fprintf(&b, "%s-%d-%d,u%d,%s,%s,p%d,%d\n", kind, c, d, c, kind, at.Format(time.DateTime), r.IntN(5), 5+r.IntN(40))
			}
			line("view", 0)
			if r.Float64() < keen {
				line("order", time.Hour)
			}
		}
	}
	folder := t.TempDir()
	mapping, history = filepath.Join(folder, "mapping.yaml"), filepath.Join(folder, "history.csv")
	for file, text := range map[string]string{history: b.String(), mapping: `
name: history
reads: csv
timezone: UTC
calls:
  - when: .kind == "order"
    event: Order Completed
    user: .user
    time: .time
    id: '"h:\(.id)"'
    properties: {product_id: .product, revenue: .amount | tonumber}
  - when: .kind == "view"
    event: Product Viewed
    user: .user
    time: .time
    id: '"h:\(.id)"'
    properties: {product_id: .product, price: .amount | tonumber}
`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return mapping, history
}
