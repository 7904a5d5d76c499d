package config_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"attune/config"
	"attune/config/scenario"
)

// blocks are a page's YAML blocks.
func blocks(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all = append(all, block[1])
	}
	return all
}

// The scenarios of the page about them are so.
func TestScenariosPage(t *testing.T) {
	ws, err := config.CheckWorkspace(config.ExampleFiles(), config.DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for i, block := range blocks(t, "../docs/scenarios.md") {
		files[fmt.Sprintf("tests/s%d.scenario.yaml", i)] = &fstest.MapFile{Data: []byte(block)}
	}
	report, err := scenario.RunAll(files, ws, config.DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := report.Write(&said, true); err != nil || report.Failed() > 0 || len(report.Results) != 3 {
		t.Errorf("%s %v", &said, err)
	}
}

// The segments that pages show, in a block that begins with their file, are as they are in the example workspace.
func TestSegmentsOnPages(t *testing.T) {
	found := 0
	for _, block := range blocks(t, "../README.md") {
		file, _, ok := strings.Cut(strings.TrimPrefix(block, "# "), "\n")
		if !ok || !strings.HasPrefix(file, "segments/") {
			continue
		}
		found++
		files := fstest.MapFS{"workspace.yaml": {Data: []byte("name: page\n")}, file: {Data: []byte(block)}}
		ws, err := config.CheckWorkspace(files, config.DefaultInstallation())
		if err != nil {
			t.Fatalf("%s\n%v", block, err)
		}
		example, err := config.LoadWorkspace(config.ExampleFiles())
		if err != nil {
			t.Fatal(err)
		}
		shown, err := example.SegmentRule(ws.Segments[0].ID)
		if err != nil || shown.Text() != strings.TrimSpace(ws.Segments[0].When) {
			t.Errorf("the example workspace has another rule than\n%s %v", block, err)
		}
	}
	if found == 0 {
		t.Error("the README shows no segment")
	}
}
