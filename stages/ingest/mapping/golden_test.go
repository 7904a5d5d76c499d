package mapping

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files")

func limits() Limits { return Limits{Items: 2500, CallBytes: 32 << 10, AllBytes: 4 << 20} }

func shippedMapping(t testing.TB, name string) *Mapping {
	t.Helper()
	data, err := Source(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(name+".yaml", data, Options{Country: "DE"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// requestOf reads a request as it goes over the wire: first line, headers, an empty line, the body.
func requestOf(t testing.TB, m *Mapping, text []byte) Request {
	t.Helper()
	head, body, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		head, body = strings.TrimSuffix(string(text), "\n"), ""
	}
	method, rest, _ := strings.Cut(head, "\n")
	wire := method + " HTTP/1.0\r\n" + strings.ReplaceAll(strings.TrimSuffix(rest, "\n"), "\n", "\r\n") + "\r\n\r\n"
	if rest == "" {
		wire = method + " HTTP/1.0\r\n\r\n"
	}
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(wire), strings.NewReader(body))))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return m.Request("request-1", r.Header, r.URL.Query(), []byte(body))
}

func written(r Result) string {
	var b bytes.Buffer
	for _, c := range r.Calls {
		fmt.Fprintf(&b, "%d %s\n", c.Item, c.Payload)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "! %s: %s\n", p.Reason, p)
	}
	if r.Ignored > 0 {
		fmt.Fprintf(&b, "%d ignored\n", r.Ignored)
	}
	return b.String()
}

func TestShippedMappings(t *testing.T) {
	for _, name := range Shipped() {
		t.Run(name, func(t *testing.T) {
			m := shippedMapping(t, name)
			if m.Name() != name {
				t.Errorf("it calls itself %s", m.Name())
			}
			golden(t, filepath.Join("testdata", "shipped", name+".txtar"), func(text []byte) string {
				r := requestOf(t, m, text)
				out := written(m.Map(t.Context(), r, limits()))
				if again := written(m.Map(t.Context(), r, limits())); again != out {
					t.Errorf("the same request gives\n%s\nand\n%s", out, again)
				}
				return out
			})
		})
	}
}

// golden compares what each NAME.request of an archive gives with its NAME.out.
func golden(t *testing.T, path string, run func(text []byte) string) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	out := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, ok := strings.CutSuffix(f.Name, ".request")
		if !ok {
			continue
		}
		got := run(f.Data)
		out.Files = append(out.Files, f, txtar.File{Name: name + ".out", Data: []byte(got)})
		if diff := cmp.Diff(want[name+".out"], got); diff != "" && !*update {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
