package config_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/config/scenario"
	"attune/stages/normalize"
)

var update = flag.Bool("update", false, "write the golden files anew")

// minimal is what every workspace under test has unless it says otherwise.
const minimal = "name: test\n"

// TestProblems checks folders and compares what is printed with the file "problems" of each archive. The archive's
// comment names the destinations: "destinations: mail, other"; its file attune.yaml says how calls are normalized.
func TestProblems(t *testing.T) {
	archives, err := filepath.Glob("testdata/workspace/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	cases := 0
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name == "problems" {
				cases += strings.Count(string(f.Data), "\n")
			}
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			in := config.DefaultInstallation("mail")
			if _, list, ok := strings.Cut(string(archive.Comment), "destinations:"); ok {
				list, _, _ = strings.Cut(list, "\n")
				in.Destinations = strings.Fields(strings.ReplaceAll(list, ",", " "))
			}
			fsys := fstest.MapFS{config.WorkspaceFile: {Data: []byte(minimal)}}
			var want []byte
			for _, f := range archive.Files {
				switch {
				case f.Name == "problems":
					want = f.Data
				case f.Name == "attune.yaml":
					in.Normalize = normalizing(t, f.Data)
				case string(f.Data) == "(missing)\n":
					delete(fsys, f.Name)
				default:
					fsys[f.Name] = &fstest.MapFile{Data: f.Data}
				}
			}
			got := problemsOf(t, fsys, in)
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "problems" })
				archive.Files = append(archive.Files, txtar.File{Name: "problems", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems differ (-want +got); -update writes them anew:\n%s", diff)
			}
		})
	}
	if cases < 60 && !*update {
		t.Errorf("%d problems in the archives: fewer than there were", cases)
	}
}

// normalizing are an attune.yaml's settings of normalize.
func normalizing(t *testing.T, data []byte) normalize.Settings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attune.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Normalize
}

// problemsOf loads, checks and loads the scenarios, as `attune check` does.
func problemsOf(t *testing.T, fsys fs.FS, in config.Installation) string {
	t.Helper()
	var all config.Problems
	ws, err := config.CheckWorkspace(fsys, in)
	if err != nil && !errors.As(err, &all) {
		t.Fatalf("not a list of problems: %v", err)
	}
	if ws != nil {
		var more config.Problems
		if _, err := scenario.Load(fsys, ws, in); err != nil && !errors.As(err, &more) {
			t.Fatalf("not a list of problems: %v", err)
		}
		all = append(all, more...)
	}
	if err := all.Err(); err != nil {
		return err.Error() + "\n"
	}
	return ""
}

// TestConfigProblems loads attune.yaml files; lines of the archive's file "env" are the environment.
func TestConfigProblems(t *testing.T) {
	archives, err := filepath.Glob("testdata/attune/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			var env []string
			var want []byte
			for _, f := range archive.Files {
				switch f.Name {
				case "problems":
					want = f.Data
				case "env":
					env = strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(f.Data), "$DIR", dir), "\n"), "\n")
				default:
					if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, err = config.Load(filepath.Join(dir, "attune.yaml"), env)
			got := ""
			if err != nil {
				var ps config.Problems
				if !errors.As(err, &ps) {
					t.Fatalf("not a list of problems: %v", err)
				}
				got = strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "") + "\n"
			}
			if *update {
				archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "problems" })
				archive.Files = append(archive.Files, txtar.File{Name: "problems", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems differ (-want +got); -update writes them anew:\n%s", diff)
			}
		})
	}
}
