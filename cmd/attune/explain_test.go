package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"attune/config"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What the command prints of a customer of the example workspace, as text and as JSON.
func TestExplainOutput(t *testing.T) {
	ws, err := config.CheckWorkspace(os.DirFS("../../config/example"), config.DefaultInstallation(devDestination))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ws.Chain(3, enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	const hour = event.Instant(3_600_000)
	start := event.Instant(1_772_355_600_000) // 2026-03-01 09:00
	p := profile.New("p1")
	for i, e := range []event.Event{
		{Type: event.Track, Name: "Product Viewed", Accepted: start, Properties: event.Object(`{"category":"sneakers"}`)},
		{Type: event.Track, Name: "Order Completed", Accepted: start + hour, Properties: event.Object(`{"total":99.5}`)},
		{Type: event.Track, Name: "Product Viewed", Accepted: start + 2*hour, Properties: event.Object(`{"category":"sneakers"}`)},
		{Type: event.Wake, Accepted: start + 3*hour},
	} {
		e.Occurred, e.Profile = e.Accepted, p.ID
		if _, err := chain.Apply(p, &e, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	x, err := explainSegments(ws, p, p.Now, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	x.Definitions = 3
	var out bytes.Buffer
	if err := x.print(&out); err != nil {
		t.Fatal(err)
	}
	out.WriteString("\n")
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	x.Segments = x.Segments[1:2]
	if err := encoder.Encode(x); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/explain.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("it says\n%s\nnot\n%s", &out, want)
	}
	if _, err := explainSegments(ws, p, p.Now, []string{"hot"}, false); err == nil || !strings.Contains(err.Error(), "hot-sneaker-fans") {
		t.Errorf("of an unknown segment: %v", err)
	}
}
