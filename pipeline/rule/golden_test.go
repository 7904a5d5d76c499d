package rule

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each archive holds pairs of files: NAME, the rule, and NAME.want, its tree or its mistakes. A name that
// begins with "campaign" is compiled with the triggering event and the segments loyal and new-customers.
func TestGolden(t *testing.T) {
	c := compiler(t)
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		written := &txtar.Archive{Comment: archive.Comment}
		want := map[string]string{}
		for _, f := range archive.Files {
			want[f.Name] = string(f.Data)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".want") {
				continue
			}
			t.Run(filepath.Base(path)+"/"+f.Name, func(t *testing.T) {
				var opts []Option
				if strings.HasPrefix(f.Name, "campaign") {
					opts = []Option{WithEvent(), WithSegments(map[string]bool{"loyal": true, "new-customers": true})}
				}
				var got string
				if r, err := c.Compile(string(f.Data), opts...); err != nil {
					got = err.Error() + "\n"
					if len(Errors(err)) == 0 {
						t.Errorf("%v holds no *Error", err)
					}
				} else {
					got = r.String() + "\n"
				}
				written.Files = append(written.Files, f, txtar.File{Name: f.Name + ".want", Data: []byte(got)})
				if !*update && got != want[f.Name+".want"] {
					t.Errorf("%s\ngot:  %s\nwant: %s", f.Data, got, want[f.Name+".want"])
				}
			})
		}
		if *update {
			if err := os.WriteFile(path, txtar.Format(written), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func compiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := NewCompiler("silver", "gold")
	if err != nil {
		t.Fatal(err)
	}
	return c.Foretelling("purchase", "churn")
}

func compile(t testing.TB, text string, opts ...Option) *Rule {
	t.Helper()
	r, err := compiler(t).Compile(text, opts...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}
