package scenario_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"attune/config"
	"attune/config/scenario"
)

// manyScenarios are scenarios with a hundred events each, of which the one in the middle fails.
func manyScenarios(scenarios int) fstest.MapFS {
	fsys := fstest.MapFS{
		"workspace.yaml":    {Data: []byte("name: many\n")},
		"segments/fan.yaml": {Data: []byte("id: fan\nwhen: count(\"Viewed\", \"1d\") >= 3\n")},
	}
	const events = 100
	for i := range scenarios {
		var b strings.Builder
		fmt.Fprintf(&b, "name: \"number %d <&>\"\nsteps:\n", i)
		for j := range events {
			fmt.Fprintf(&b, "  - {at: %dm, track: {user: u%d, event: Viewed}}\n", j, j%10)
		}
		members := "[u0, u1, u2, u3, u4, u5, u6, u7, u8, u9]"
		if i == scenarios/2 {
			members = "[u0]"
		}
		fmt.Fprintf(&b, "  - {at: 24h1s, expect: {segments: {fan: %s}}}\n  - {at: 2d, expect: {segments: {fan: []}}}\n", members)
		fsys[fmt.Sprintf("tests/s%03d.scenario.yaml", i)] = &fstest.MapFile{Data: []byte(b.String())}
	}
	return fsys
}

// A thousand scenarios with a hundred thousand events, from their files to the report.
func BenchmarkThousandScenarios(b *testing.B) {
	fsys := manyScenarios(1000)
	for b.Loop() {
		ws, err := config.CheckWorkspace(fsys, config.DefaultInstallation())
		if err != nil {
			b.Fatal(err)
		}
		if report, err := scenario.RunAll(fsys, ws, config.DefaultInstallation()); err != nil || len(report.Results) != 1000 || report.Failed() != 1 {
			b.Fatal(len(report.Results), report.Failed(), err)
		}
	}
}

// One of many scenarios fails, and the report says which.
func TestManyScenarios(t *testing.T) {
	const scenarios = 100
	fsys := manyScenarios(scenarios)
	ws, err := config.CheckWorkspace(fsys, config.DefaultInstallation())
	if err != nil {
		t.Fatal(err)
	}
	report, err := scenario.RunAll(fsys, ws, config.DefaultInstallation())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != scenarios || report.Failed() != 1 {
		t.Fatalf("%d scenarios, %d failed", len(report.Results), report.Failed())
	}
	var out bytes.Buffer
	if err := report.WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Name    string `xml:"name,attr"`
			File    string `xml:"file,attr"`
			Failure *struct {
				Message string `xml:"message,attr"`
				Text    string `xml:",chardata"`
			} `xml:"failure"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal(out.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	failed := read.Cases[50]
	if read.Tests != scenarios || read.Failures != 1 || failed.Failure == nil || failed.Name != "number 50 <&>" || failed.File != "tests/s050.scenario.yaml" ||
		!strings.Contains(failed.Failure.Message, "members of fan") || !strings.Contains(failed.Failure.Text, "why u1 is in fan:") {
		t.Errorf("%d tests, %d failures, %+v", read.Tests, read.Failures, failed)
	}
}
