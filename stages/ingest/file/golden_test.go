package file

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"attune/stages/ingest/mapping"
)

var update = flag.Bool("update", false, "write the golden parts of testdata/*.txtar anew")

// outcome is everything that an import says, as text.
type outcome struct{ calls, refused, report, failure string }

func importAll(t testing.TB, path string, o Options) (outcome, []Call) {
	t.Helper()
	var out outcome
	var calls []Call
	o.OnRefusal = func(no Refusal) {
		out.refused += no.Error() + "\n"
		if no.Detail != "" {
			out.refused += "  " + no.Detail + "\n"
		}
	}
	r, err := Open(path, o)
	if err != nil {
		out.failure = err.Error() + "\n"
		return out, nil
	}
	defer r.Close()
	for c, err := range r.Calls(context.Background()) {
		if err != nil {
			out.failure += err.Error() + "\n"
			continue
		}
		if !json.Valid(c.Raw.Payload) {
			t.Fatalf("%s:%d: not JSON: %s", path, c.Line, c.Raw.Payload)
		}
		calls = append(calls, c)
		out.calls += fmt.Sprintf("line %d, %d rows, key %s\n%s\n", c.Line, c.Rows, c.Raw.Key, c.Raw.Payload)
	}
	report := r.Report()
	if out.failure == "" && report.Rows != report.CallRows+report.Ignored+report.Refused {
		t.Fatalf("%d rows, but %d in calls, %d ignored and %d refused", report.Rows, report.CallRows, report.Ignored, report.Refused)
	}
	out.report = report.String()
	return out, calls
}

// TestGolden compares input → calls, refusals, report and errors. A line "mapping NAME" in an archive's
// comment takes the mapping that stands beside it.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 7 {
		t.Fatalf("%d archives, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range archive.Files {
				parts[f.Name] = f.Data
			}
			name := "mapping.yaml"
			if rest, ok := strings.CutPrefix(string(archive.Comment), "mapping "); ok {
				name, _, _ = strings.Cut(rest, "\n")
				if parts["mapping"], err = os.ReadFile(filepath.Join("testdata", name)); err != nil {
					t.Fatal(err)
				}
			}
			var got outcome
			m, err := mapping.Parse(name, parts["mapping"], mapping.Options{})
			if err != nil {
				got.failure = err.Error() + "\n"
			} else {
				// The same file under four guises says the same.
				unix := parts["input"]
				dos := append([]byte("\ufeff"), bytes.ReplaceAll(unix, []byte("\n"), []byte("\r\n"))...)
				got = importBytes(t, m, unix)
				for guise, data := range map[string][]byte{"gzip": gzipped(t, unix), "dos": dos, "dos, gzip": gzipped(t, dos)} {
					if diff := cmp.Diff(got, importBytes(t, m, data), cmp.AllowUnexported(outcome{})); diff != "" {
						t.Errorf("%s differs from plain (-plain +%s):\n%s", guise, guise, diff)
					}
				}
				if again := importStdin(t, m, unix); again != (outcome{got.calls, strings.ReplaceAll(got.refused, "input:", "standard input:"),
					strings.ReplaceAll(got.report, "input:", "standard input:"), strings.ReplaceAll(got.failure, "import input:", "import standard input:")}) {
					t.Errorf("standard input differs: %+v", again)
				}
			}
			want := outcome{string(parts["calls"]), string(parts["refused"]), string(parts["report"]), string(parts["error"])}
			if *update {
				writeGolden(t, path, archive, got)
				return
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func importBytes(t *testing.T, m *mapping.Mapping, data []byte) outcome {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "input")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := importAll(t, path, Options{Mapping: m})
	for _, s := range []*string{&out.calls, &out.refused, &out.report, &out.failure} {
		*s = strings.ReplaceAll(*s, folder+string(filepath.Separator), "")
	}
	return out
}

func importStdin(t *testing.T, m *mapping.Mapping, data []byte) outcome {
	t.Helper()
	out, _ := importAll(t, "-", Options{Mapping: m, Stdin: bytes.NewReader(data)})
	return out
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeGolden(t *testing.T, path string, a *txtar.Archive, got outcome) {
	t.Helper()
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if f.Name == "mapping" || f.Name == "input" {
			out.Files = append(out.Files, f)
		}
	}
	for _, p := range []struct{ name, text string }{{"calls", got.calls}, {"refused", got.refused}, {"report", got.report}, {"error", got.failure}} {
		if p.text != "" {
			out.Files = append(out.Files, txtar.File{Name: p.name, Data: []byte(p.text)})
		}
	}
	if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
		t.Fatal(err)
	}
}
