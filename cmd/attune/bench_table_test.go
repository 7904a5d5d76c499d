package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// tableFile is where BenchmarkTable writes its rows, one JSON object a line.
var tableFile = flag.String("table", "", "file for the rows of BenchmarkTable, as JSON lines")

// row is one line of the speed table: something of ours measured against what bounds it. Both sides run in turn
// in one process, on the same payloads, so that a noisy machine disturbs both.
type row struct {
	name    string
	against string // what the baseline is
	unit    string
	// of says what floor and aim are of: the ratio of ours to the baseline, or our own value.
	of         measureOf
	floor, aim float64
	less       bool // the smaller the better
	most       int  // repetitions at most, where one is long enough; 0: as many as asked for
	// open prepares the engines once; the function that it returns measures both sides once. It may skip, where
	// what it needs can't be had.
	open func(tb testing.TB, s scale) func() (ours, baseline figure)
}

type measureOf string

const (
	ofRatio measureOf = "ratio"
	ofValue measureOf = "value"
)

// table is every row. Delays come first: they would show what the others leave to the disk.
func table() []row {
	return slices.Concat(delayRows(), exitRows(), busRows(), normalizeRows(), customerRows(), rimRows())
}

// result is a row once it is measured: medians over the repetitions.
type result struct {
	Name        string  `json:"name"`
	Unit        string  `json:"unit"`
	Value       float64 `json:"value"`
	Against     string  `json:"against,omitempty"`
	Baseline    float64 `json:"baseline,omitempty"`
	Ratio       float64 `json:"ratio,omitempty"` // the median of the repetitions' ratios
	Of          string  `json:"of"`              // what floor and aim are of: ratio or value
	Floor       float64 `json:"floor"`
	Aim         float64 `json:"aim"`
	Holds       bool    `json:"holds"` // the floor
	CPU         float64 `json:"cpu_us,omitempty"`
	BaselineCPU float64 `json:"baseline_cpu_us,omitempty"` // µs of this process, the broker in it, per event
	Repetitions int     `json:"repetitions"`
	Note        string  `json:"note,omitempty"`
}

func (r row) judge(ours, baseline []figure) result {
	out := result{
		Name: r.name, Unit: r.unit, Against: r.against, Of: string(r.of), Floor: r.floor, Aim: r.aim, Repetitions: len(ours),
		Value: median(ours, figure.valueOf), CPU: median(ours, figure.cpuOf),
		Baseline: median(baseline, figure.valueOf), BaselineCPU: median(baseline, figure.cpuOf),
	}
	var ratios []figure
	if len(ours) > 0 {
		out.Note = ours[len(ours)-1].note
	}
	for i := range ours {
		if baseline[i].value != 0 {
			ratios = append(ratios, figure{value: ours[i].value / baseline[i].value})
		}
	}
	out.Ratio = median(ratios, figure.valueOf)
	judged := out.Value
	if r.of == ofRatio {
		judged = out.Ratio
	}
	out.Holds = judged >= r.floor
	if r.less {
		out.Holds = judged <= r.floor
	}
	return out
}

// BenchmarkTable measures the rows and prints the table; each repetition measures both sides of a row once, in
// turn. One row, once:
//
//	go test ./cmd/attune -run '^$' -bench 'Table/bus-relay$' -benchtime 1x
func BenchmarkTable(b *testing.B) {
	var results []result
	for _, r := range table() {
		b.Run(r.name, func(b *testing.B) {
			repeat := r.open(b, full)
			var ours, baseline []figure
			for b.Loop() {
				if r.most > 0 && len(ours) == r.most {
					continue
				}
				o, base := repeat()
				ours, baseline = append(ours, o), append(baseline, base)
			}
			got := r.judge(ours, baseline)
			results = append(results, got)
			b.ReportMetric(0, "ns/op") // the time of a repetition says nothing
			b.ReportMetric(got.Value, r.unit)
			b.ReportMetric(got.Ratio, "ratio")
		})
	}
	printTable(os.Stdout, results)
	if *tableFile == "" {
		return
	}
	if err := writeTable(*tableFile, results); err != nil {
		b.Fatal(err)
	}
}

// TestTable measures every row on a very small scale: it shows that the rows work, not how fast.
func TestTable(t *testing.T) {
	for _, r := range table() {
		t.Run(r.name, func(t *testing.T) {
			ours, baseline := r.open(t, tiny)()
			got := r.judge([]figure{ours}, []figure{baseline})
			if got.Value <= 0 || r.of == ofRatio && got.Ratio <= 0 {
				t.Errorf("measured nothing: %+v", got)
			}
		})
	}
}

func printTable(to io.Writer, results []result) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nrow\tunit\tvalue\tbaseline\tratio\tat least\taim\tholds\tCPU µs\tits CPU µs\t against\t")
	for _, r := range results {
		holds := "yes"
		if !r.Holds {
			holds = "NO"
		}
		fmt.Fprintf(w, "%s\t%s\t%.4g\t%.4g\t%.2f\t%g (%s)\t%g\t%s\t%.1f\t%.1f\t %s\t\n",
			r.Name, r.Unit, r.Value, r.Baseline, r.Ratio, r.Floor, r.Of, r.Aim, holds, r.CPU, r.BaselineCPU, strings.TrimSpace(r.Against+" "+r.Note))
	}
	_ = w.Flush()
}

func writeTable(path string, results []result) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := json.NewEncoder(f)
	for _, r := range results {
		if err := lines.Encode(r); err != nil {
			return err
		}
	}
	return f.Close()
}
