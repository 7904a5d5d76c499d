package rule

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Whatever the translator can say about a mistake, a golden file shows.
func TestEveryMistakeHasAGolden(t *testing.T) {
	var said strings.Builder
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".want") {
				said.Write(f.Data)
			}
		}
	}
	verb := regexp.MustCompile(`%[sdqv]`)
	for _, format := range mistakes(t) {
		parts := verb.Split(format, -1)
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		if pattern := strings.Join(parts, ".+"); pattern != ".+" && !regexp.MustCompile(pattern).MatchString(said.String()) {
			t.Errorf("no golden file shows: %s", format)
		}
	}
}

// mistakes are the formats of all mistakes in the package's source.
func mistakes(t *testing.T) (formats []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 3 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "fail" {
				if text, ok := call.Args[2].(*ast.BasicLit); ok {
					format, err := strconv.Unquote(text.Value)
					if err != nil {
						t.Fatal(err)
					}
					formats = append(formats, format)
				}
			}
			return true
		})
	}
	if len(formats) < 50 {
		t.Fatalf("found %d", len(formats))
	}
	return formats
}

func TestWhereNothingIsForetold(t *testing.T) {
	_, err := compiler(t).Foretelling().Compile(`propensity("purchase") > 0.5`)
	want := `1:12: the propensity "purchase" is unknown (enrich.propensities of the workspace names none)`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
