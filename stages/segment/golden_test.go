package segment

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each archive has the segments (a line each, "id: rule"), the history (a line each: when it was accepted, maybe when
// it occurred in brackets, what, and its JSON) and the flips that are expected. Times are since Sunday 2026-03-01 09:00 UTC.
func TestGoldenFlips(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range archive.Files {
				files[f.Name] = string(f.Data)
			}
			var defs []Definition
			for line := range strings.Lines(files["segments"]) {
				id, when, _ := strings.Cut(strings.TrimSpace(line), ": ")
				defs = append(defs, Definition{ID: id, When: when})
			}
			var events []event.Event
			for line := range strings.Lines(files["history"]) {
				events = append(events, golden(t, strings.TrimSpace(line)))
			}
			got := strings.Join(run(t, chain(1, scoring{}, stage(t, defs...)), profile.New("u1"), events...), "\n") + "\n"
			if *update {
				archive.Files[2] = txtar.File{Name: "flips", Data: []byte(got)}
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != files["flips"] {
				t.Errorf("flips\n%s\nwant\n%s", got, files["flips"])
			}
		})
	}
}

func golden(t *testing.T, line string) event.Event {
	t.Helper()
	when, what, _ := strings.Cut(line, " ")
	e := event.Event{Accepted: since(t, when)}
	e.Occurred = e.Accepted
	if strings.HasPrefix(what, "(") {
		occurred, rest, _ := strings.Cut(what[1:], ") ")
		e.Occurred, what = since(t, occurred), rest
	}
	name, object := what, ""
	if i := strings.Index(what, " {"); i >= 0 {
		name, object = what[:i], what[i+1:]
	}
	switch name {
	case "wake":
		e.Type = event.Wake
	case "identify":
		e.Type, e.Traits = event.Identify, event.Object(object)
	default:
		e.Type, e.Name, e.Properties = event.Track, name, event.Object(object)
	}
	return e
}

func since(t *testing.T, text string) event.Instant {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(fmt.Errorf("history: %w", err))
	}
	return start.Add(d)
}
