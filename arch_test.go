package attune_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "attune"

// unit is a package as the law sees it: paths of this module are relative to its root.
type unit struct {
	path    string
	imports []string // without those of its tests
}

// law is one rule about who may import whom; broken says whether one import breaks it.
type law struct {
	name   string
	reason string
	broken func(from, to string) bool
}

func importLaws() []law {
	const down = "arrows go down only: cmd, config, then stages and sinks, then pipeline, then pipeline/event"
	return []law{
		{
			"event-is-standard", "the envelope is what everybody shares, producers in other programs included: it brings nothing along",
			func(from, to string) bool { return within(from, "pipeline/event") && !standard(to) },
		},
		{
			"pipeline-knows-nobody-above", "the pipeline carries stages and sinks without knowing any; " + down,
			func(from, to string) bool {
				return within(from, "pipeline") && within(to, "stages", "sinks", "config", "cmd")
			},
		},
		{
			"pipeline-parts-stand-alone", "what the runner is made of must not need the runner; only the forwarder of wake-ups, the rollout of definitions, a replay of what it did and the test kit build on it",
			func(from, to string) bool {
				return to == "pipeline" && strings.HasPrefix(from, "pipeline/") && !within(from, "pipeline/wake", "pipeline/rollout", "pipeline/replay", "pipeline/pipetest")
			},
		},
		{
			"no-sibling-stage", "stages are put together in one place, cmd/attune; one that knows another can't be tested, moved or left out alone",
			func(from, to string) bool { return sibling("stages", from, to) },
		},
		{
			"stages-know-no-sink", "a stage decides and a sink delivers: they meet through an interface that the stage declares",
			func(from, to string) bool { return within(from, "stages") && within(to, "sinks") },
		},
		{
			"no-sibling-sink", "a sink is one outside system, and leaving it out must not touch another",
			func(from, to string) bool { return sibling("sinks", from, to) },
		},
		{
			"sinks-know-no-stage", "a sink holds a protocol and no decision",
			func(from, to string) bool { return within(from, "sinks") && within(to, "stages") },
		},
		{
			"settings-stay-at-home", "a package owns its Config, and config composes them, for cmd alone; " + down,
			func(from, to string) bool { return within(to, "config") && !within(from, "config", "cmd") },
		},
		{
			"nobody-imports-the-program", "cmd is the only place that knows everyone; " + down,
			func(from, to string) bool { return within(to, "cmd") && !within(from, "cmd") },
		},
		{
			"pure", "the same log must give the same facts, byte for byte: no clock, no chance, no I/O, and what a decision has to say it returns",
			func(from, to string) bool {
				if to == "net/mail" || to == "net/netip" || to == "net/url" { // they only read text
					return false
				}
				return pure(from) && within(to, "net", "os", "io/fs", "io/ioutil", "path/filepath", "syscall", "log", "database", "math/rand", "crypto/rand",
					"github.com/nats-io", "github.com/ClickHouse", "github.com/ThreeDotsLabs", "github.com/prometheus", "golang.org/x/sys",
					"pipeline/bus", "pipeline/state", "pipeline/topology", "pipeline/control", "pipeline/vault", "pipeline/wake", "pipeline/rollout", "pipeline/embedded")
			},
		},
	}
}

// pure packages hold the decisions that a replay repeats.
func pure(path string) bool {
	return within(path, "pipeline/rule", "pipeline/portable", "stages/enrich", "stages/segment", "stages/trigger")
}

// within says whether path is one of the roots or lies below one.
func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

// sibling says whether both lie in different folders below the layer.
func sibling(layer, from, to string) bool {
	a, ok := strings.CutPrefix(from, layer+"/")
	b, also := strings.CutPrefix(to, layer+"/")
	a, _, _ = strings.Cut(a, "/")
	b, _, _ = strings.Cut(b, "/")
	return ok && also && a != b
}

// standard says whether a path is the standard library's: no other begins with a word without a dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && !within(path, "pipeline", "stages", "sinks", "config", "cmd")
}

// breaches are the laws that a package breaks, in words; the law's name comes first.
func breaches(u unit) []string {
	var found []string
	for _, l := range importLaws() {
		for _, to := range u.imports {
			if l.broken(u.path, to) {
				found = append(found, fmt.Sprintf("%s: %s imports %s: %s", l.name, u.path, to, l.reason))
			}
		}
	}
	for part := range strings.SplitSeq(u.path, "/") {
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "type", "types", "model", "models", "misc", "shared", "base"}, part) {
			found = append(found, fmt.Sprintf("names: %s: a package named %q says nothing about what belongs into it, and everything ends there: name it after what it does", u.path, part))
		}
	}
	return found
}

// A global that has to be, with its reason; path and name.
func excusedGlobals() map[string]string {
	return map[string]string{
		"pipeline/embedded/enginetest.shared": "one ClickHouse serves a whole test binary, and testing.M has no place to hang it on",
	}
}

// globals finds what a file has of package-level state and of init functions.
func globals(path string, file *ast.File) []string {
	var found []string
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.Name == "init" && d.Recv == nil {
				found = append(found, fmt.Sprintf("no-init: %s has a func init(): wiring is explicit, in one table in cmd/attune", path))
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, s := range d.Specs {
				v := s.(*ast.ValueSpec)
				for i, name := range v.Names {
					if name.Name == "_" || embedded(d, v) || i < len(v.Values) && constant(v.Values[i]) {
						continue
					}
					if _, excused := excusedGlobals()[path+"."+name.Name]; !excused {
						found = append(found, fmt.Sprintf("no-globals: %s has the variable %s: state has an owner who passes it on, and a table is a function or a switch", path, name.Name))
					}
				}
			}
		}
	}
	return found
}

// embedded says whether a go:embed directive fills the variable.
func embedded(d *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{d.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// constant says whether a value is one of those that nobody changes: an error sentinel or a compiled pattern.
func constant(value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch called(call) {
	case "errors.New", "fmt.Errorf", "regexp.MustCompile":
		return true
	}
	return false
}

// called is the name of what is called, such as errors.New.
func called(call *ast.CallExpr) string {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}

// clocks finds where a file reads the clock or waits for it.
func clocks(path string, file *ast.File) []string {
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				switch s.Sel.Name {
				case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker":
					found = append(found, fmt.Sprintf("no-clock: %s uses time.%s: a pure package is given its instants, so that a replay gives the same facts", path, s.Sel.Name))
				}
			}
		}
		return true
	})
	return found
}

func TestArchitecture(t *testing.T) {
	loaded, err := packages.Load(&packages.Config{
		Context: t.Context(), Mode: packages.NeedName | packages.NeedImports | packages.NeedModule | packages.NeedFiles,
	}, "./...")
	if err != nil {
		t.Fatal(err)
	}
	var layers []string
	for _, p := range loaded {
		for _, e := range p.Errors {
			t.Errorf("load %s: %v", p.PkgPath, e)
		}
		if p.Module == nil || p.Module.Path != module {
			t.Errorf("%s does not belong to module %s", p.PkgPath, module)
		}
		u := unit{path: relative(p.PkgPath)}
		for path := range p.Imports {
			u.imports = append(u.imports, relative(path))
		}
		slices.Sort(u.imports)
		first, _, _ := strings.Cut(u.path, "/")
		layers = append(layers, first)
		for _, b := range breaches(u) {
			t.Error(b)
		}
		set := token.NewFileSet()
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredFiles) {
			if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, g := range globals(u.path, file) {
				t.Error(g)
			}
			if pure(u.path) {
				for _, c := range clocks(u.path, file) {
					t.Error(c)
				}
			}
		}
	}
	for _, layer := range []string{"cmd", "config", "pipeline", "sinks", "stages"} {
		if !slices.Contains(layers, layer) {
			t.Errorf("no package of %s was seen: the law was not checked", layer)
		}
	}
}

func relative(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// Each law can fail, and lets pass what it should.
func TestImportLaws(t *testing.T) {
	cases := []struct{ from, to, want string }{
		{"pipeline/event", "github.com/google/uuid", "event-is-standard"},
		{"pipeline/event", "golang.org/x/text/cases", "event-is-standard"},
		{"pipeline/event", "pipeline/profile", "event-is-standard"},
		{"pipeline/event", "encoding/json", ""},

		{"pipeline", "stages/enrich", "pipeline-knows-nobody-above"},
		{"pipeline/bus", "sinks/smtp", "pipeline-knows-nobody-above"},
		{"pipeline/pipetest", "stages/trigger", "pipeline-knows-nobody-above"},
		{"pipeline", "pipeline/bus", ""},
		{"pipeline/vault", "pipeline/state", ""},

		{"pipeline/bus", "pipeline", "pipeline-parts-stand-alone"},
		{"pipeline/embedded/enginetest", "pipeline", "pipeline-parts-stand-alone"},
		{"pipeline/wake", "pipeline", ""},
		{"pipeline/replay", "pipeline", ""},
		{"pipeline/pipetest", "pipeline", ""},

		{"stages/segment", "stages/enrich", "no-sibling-stage"},
		{"stages/ingest/file", "stages/normalize", "no-sibling-stage"},
		{"stages/segment", "stages/segmentation", "no-sibling-stage"},
		{"stages/enrich", "stages/enrich/clv", ""},
		{"stages/ingest/file", "stages/ingest", ""},

		{"stages/deliver", "sinks/smtp", "stages-know-no-sink"},
		{"stages/deliver", "pipeline/vault", ""},

		{"sinks/webhook", "sinks/smtp", "no-sibling-sink"},
		{"sinks/clickhouse", "sinks/clickhouse/schema", ""},
		{"sinks/smtp", "stages/deliver", "sinks-know-no-stage"},
		{"sinks/smtp", "pipeline", ""},

		{"stages/ingest", "config", "settings-stay-at-home"},
		{"sinks/smtp", "config/document", "settings-stay-at-home"},
		{"config", "config/document", ""},
		{"config", "stages/trigger", ""},
		{"config", "sinks/smtp", ""},
		{"cmd/attune", "config", ""},

		{"config", "cmd/attune/shop", "nobody-imports-the-program"},
		{"stages/ingest", "cmd/attune/shop", "nobody-imports-the-program"},
		{"cmd/attune", "cmd/attune/shop", ""},

		{"stages/trigger", "net/http", "pure"},
		{"stages/enrich/clv", "math/rand/v2", "pure"},
		{"pipeline/rule", "os", "pure"},
		{"stages/segment", "log/slog", "pure"},
		{"stages/enrich", "database/sql/driver", "pure"},
		{"stages/trigger", "github.com/nats-io/nats.go/jetstream", "pure"},
		{"stages/trigger", "github.com/ClickHouse/clickhouse-go/v2", "pure"},
		{"stages/segment", "pipeline/vault", "pure"},
		{"stages/trigger", "time", ""},
		{"stages/trigger", "net/mail", ""},
		{"stages/enrich/clv", "math", ""},
		{"stages/ingest", "net/http", ""},
		{"stages/segment", "pipeline/rule", ""},

		{"pipeline/util", "", "names"},
		{"stages/enrich/models", "", "names"},
		{"pipeline/utility", "", ""},
	}
	shown := map[string]bool{}
	for _, c := range cases {
		got := breaches(unit{path: c.from, imports: []string{c.to}})
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s may import %s, and: %v", c.from, c.to, got)
		case c.want != "" && !slices.ContainsFunc(got, func(b string) bool { return strings.HasPrefix(b, c.want+": ") }):
			t.Errorf("%s must not import %s by %s; broken: %v", c.from, c.to, c.want, got)
		}
		shown[c.want] = true
	}
	for _, l := range importLaws() {
		if !shown[l.name] {
			t.Errorf("no case shows that %s can fail", l.name)
		}
	}
}

func TestGlobalsAndClocks(t *testing.T) {
	for source, want := range map[string]string{
		"func init() {}":                                       "no-init",
		"type T struct{}\nfunc (T) init() {}":                  "",
		"var cache = map[string]int{}":                         "no-globals",
		"var mu sync.Mutex":                                    "no-globals",
		"var a, b = errors.New(``), 1":                         "no-globals",
		"var names = []string{`a`}":                            "no-globals",
		"var now = time.Now":                                   "no-globals no-clock",
		"var ErrX = errors.New(`x`)":                           "",
		"var pattern = regexp.MustCompile(`x`)":                "",
		"var _ io.Reader = (*T)(nil)":                          "",
		"//go:embed x.txt\nvar text string":                    "",
		"var (\n//go:embed x\nfiles embed.FS\n)":               "",
		"const limit = 3":                                      "",
		"func f() { time.Sleep(1) }":                           "no-clock",
		"func f() { var local = 1; _ = local }":                "",
		"func f(at time.Time) bool { return at.After(start) }": "",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package p\n"+source, parser.ParseComments)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		var got []string
		for _, b := range slices.Concat(globals("stages/trigger", file), clocks("stages/trigger", file)) {
			name, _, _ := strings.Cut(b, ":")
			got = append(got, name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s\ngot %q, want %q", source, got, want)
		}
	}
}
