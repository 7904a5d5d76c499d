package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"attune/config"
)

// fences finds a document's fenced blocks of one language.
func fences(document, language string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(document, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// Every command of the README works as written. The program stands in for `go run ./cmd/attune`, a folder of
// the test's own for attune-data and /tmp, and dev's address for the default one; dev itself runs beside the rest.
func TestReadmeCommandsWork(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := fences(string(readme), "sh")
	if len(blocks) < 6 || strings.TrimSpace(blocks[0]) != "go run ./cmd/attune dev" || strings.TrimSpace(blocks[len(blocks)-1]) != "go test ./..." {
		t.Fatalf("the README's commands are not what this test expects: %q", blocks)
	}
	folder := t.TempDir()
	d := startDev(t, filepath.Join(folder, "data"))
	for _, block := range blocks[1 : len(blocks)-1] {
		script := strings.NewReplacer(
			"go run ./cmd/attune", asCommand+"=1 "+os.Args[0],
			"http://127.0.0.1:8080", d.IngestURL,
			"/tmp/", folder+"/",
		).Replace(block)
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "ATTUNE_DATA_DIR="+d.data)
		out, err := cmd.CombinedOutput()
		t.Logf("%s\n%s", block, out)
		if err != nil {
			t.Errorf("this block fails: %v\n%s\n%s", err, block, out)
		}
	}
	d.eventually(time.Minute, "Ada's mail", func() bool {
		for _, m := range d.mails() {
			if strings.Contains(m.To, "ada@mail.example") {
				return true
			}
		}
		return false
	})
	d.interrupt()
}

// The README's attune.yaml is one.
func TestReadmeConfigurationLoads(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, block := range fences(string(readme), "yaml") {
		if !strings.HasPrefix(block, "listen:") {
			continue
		}
		found = true
		path := filepath.Join(t.TempDir(), "attune.yaml")
		if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, nil)
		if err != nil {
			t.Error(err)
		}
		if len(c.Destinations) != 1 || c.NATS.URL == "" {
			t.Errorf("it is not read as written: %+v", c)
		}
	}
	if !found {
		t.Error("the README shows no attune.yaml")
	}
}
