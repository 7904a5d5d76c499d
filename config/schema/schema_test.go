package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"attune/config"
	"attune/config/schema"
)

var update = flag.Bool("update", false, "write the schemas anew")

func TestSchemasAreFresh(t *testing.T) {
	g := &generator{t: t, files: map[string]map[string]string{}}
	for name, kind := range kinds() {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(g.schema(kind.title, kind.value)); err != nil {
			t.Fatal(err)
		}
		// The schema's own marshaler escapes <, > and &: nothing embeds it into HTML.
		want := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(b.String())
		if *update {
			if err := os.WriteFile(name+".json", []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := fs.ReadFile(schema.Files(), name+".json")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s.json is stale; go test ./config/schema -update writes it anew (-want +got):\n%s", name, diff)
		}
	}
}

// resolve prepares a schema for validation.
func resolve(t *testing.T, name string) *jsonschema.Resolved {
	t.Helper()
	data, err := fs.ReadFile(schema.Files(), name+".json")
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func plain(t *testing.T, data []byte) any {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(asJSON, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestShippedFilesFitTheirSchemas validates each YAML file by the schema that its first line names.
func TestShippedFilesFitTheirSchemas(t *testing.T) {
	files := 0
	for where, fsys := range map[string]fs.FS{"example": config.ExampleFiles(), "starter": config.StarterFiles()} {
		err := fs.WalkDir(fsys, ".", func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || path.Ext(p) != ".yaml" {
				return err
			}
			data, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(string(data), "\n")
			name := strings.TrimSuffix(path.Base(first), ".json")
			if err := resolve(t, name).Validate(plain(t, data)); err != nil {
				t.Errorf("%s/%s: %v", where, p, err)
			}
			files++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 15 {
		t.Errorf("only %d files", files)
	}
}

func TestSchemasRefuse(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"attune", "listne: x"},
		{"attune", "log: {format: xml}"},
		{"attune", "clickhouse: {batch_interval: 5}"},
		{"attune", "destinations: {mail: {smtp: {tls: maybe}}}"},
		{"workspace", "{}"},
		{"segment", "{id: x}"},
		{"segment", "{id: x, when: y, holdout: 5%}"},
		{"campaign", "{id: x, on: {event: a}, send: {destination: mail, from: a, subject: b}}"},
		{"campaign", "{id: x, on: {event: a}, wait: 1 hour, send: {destination: mail, from: a, subject: b, template: t}}"},
		{"campaign", "{id: x, on: {event: a}, cap: {per: week, max: 1}, send: {destination: mail, from: a, subject: b, template: t}}"},
		{"scenario", "steps: [{track: {user: a, event: b}}]"},
		{"scenario", "steps: [{at: 0s, track: {user: a}}]"},
	} {
		if err := resolve(t, c.name).Validate(plain(t, []byte(c.text))); err == nil {
			t.Errorf("%s accepts %s", c.name, c.text)
		}
	}
	if err := resolve(t, "campaign").Validate(plain(t, []byte("{id: x, on: {event: a}, wait: 0, send: {destination: mail, from: a, subject: b, template: t}}"))); err != nil {
		t.Errorf("a campaign without a wait: %v", err)
	}
}
