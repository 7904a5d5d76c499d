package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
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

// A training that is cut off, as by a deployment, is begun again before its time, and says so. One that is over is not.
func TestLearnerBeginsAgainWhatWasCutOff(t *testing.T) {
	t.Parallel()
	i := install(t, 1)
	marks, err := i.js.KeyValue(t.Context(), topology.Controls)
	if err != nil {
		t.Fatal(err)
	}
	done := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "done"}, []string{"outcome"})
	l := &learner{marks: marks, every: 24 * time.Hour, done: done, log: slog.New(slog.DiscardHandler)}
	turn := func(train func(context.Context, context.CancelFunc) error) {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		l.train = func(ctx context.Context) (*trainReport, error) { return nil, train(ctx, stop) }
		if err := l.turn(ctx); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	mark := func() training {
		t.Helper()
		last, _, err := l.mark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return last
	}
	pretend := func(last training) {
		t.Helper()
		data, err := json.Marshal(last)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := marks.Put(t.Context(), learnMark, data); err != nil {
			t.Fatal(err)
		}
	}
	count := 0
	never := func(context.Context, context.CancelFunc) error { count++; return errors.New("no") }
	turn(never)
	if count != 0 || !mark().Over {
		t.Fatalf("after the first start: %d trainings, %+v", count, mark())
	}
	pretend(training{Began: time.Now().Add(-25 * time.Hour), Over: true})
	turn(func(_ context.Context, stop context.CancelFunc) error { stop(); return context.Canceled })
	if last := mark(); last.Over || time.Since(last.Began) > time.Minute {
		t.Errorf("what was cut off is noted as %+v", last)
	}
	turn(never)
	if count != 0 {
		t.Error("what was cut off begins again at once")
	}
	pretend(training{Began: time.Now().Add(-learnAgain - time.Second)})
	turn(never)
	if last := mark(); count != 1 || !last.Over || time.Since(last.Began) > time.Minute {
		t.Errorf("%d trainings, %+v", count, last)
	}
	turn(never)
	if count != 1 {
		t.Error("it trains again before its time")
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(done)
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		counted[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	if diff := cmp.Diff(map[string]float64{"cut_off": 1, "failed": 1}, counted); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
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
