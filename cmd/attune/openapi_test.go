package main

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/jsonschema-go/jsonschema"
)

// apiDocument is what is read here of docs/openapi.yaml; a test of stages/ingest provokes each of its statuses.
type apiDocument struct {
	Security   []map[string][]string
	Paths      map[string]apiPath
	Components struct {
		RequestBodies   map[string]apiBody `json:"requestBodies"`
		SecuritySchemes map[string]struct {
			Type, Scheme, In, Name string
		} `json:"securitySchemes"`
	}

	schemas map[string]any // components.schemas, for references
}

type apiPath struct {
	Ref        string `json:"$ref"`
	Parameters []apiParameter
	Get, Post  *apiOperation
}

type apiOperation struct {
	OperationID string `json:"operationId"`
	Security    []map[string][]string
	Parameters  []apiParameter
	RequestBody *apiBody `json:"requestBody"`
	Responses   map[string]struct {
		Content map[string]struct{ Schema any }
	}
}

type apiParameter struct {
	Name, In string
	Schema   any
	Example  any
	Examples map[string]struct{ Value any }
}

type apiBody struct {
	Ref     string `json:"$ref"`
	Content map[string]struct {
		Schema   any
		Example  any
		Examples map[string]struct{ Value any }
	}
}

func readAPI(t *testing.T) *apiDocument {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	var doc apiDocument
	var all struct {
		Components struct{ Schemas map[string]any }
	}
	for _, into := range []any{&doc, &all} {
		decoder := json.NewDecoder(bytes.NewReader(asJSON))
		decoder.UseNumber()
		if err := decoder.Decode(into); err != nil {
			t.Fatalf("openapi.yaml: %v", err)
		}
	}
	doc.schemas = all.Components.Schemas
	return &doc
}

// valid holds a value against a schema of the document, which is JSON Schema of 2020-12.
func (d *apiDocument) valid(t *testing.T, what string, schema, value any) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"allOf": []any{schema}, "$defs": d.schemas})
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte("#/components/schemas/"), []byte("#/$defs/")), &s); err != nil {
		t.Fatalf("%s: its schema: %v", what, err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatalf("%s: its schema: %v", what, err)
	}
	text, err = json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var plain any // without json.Number, which validates as text
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	if err := resolved.Validate(plain); err != nil {
		t.Errorf("%s: %s: %v", what, text, err)
	}
}

// servedRoutes are the patterns that the sources of this package register, with the file that does.
func servedRoutes(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Handle" && f.Sel.Name != "HandleFunc" {
				return true
			}
			if pattern, ok := call.Args[0].(*ast.BasicLit); ok {
				text, err := strconv.Unquote(pattern.Value)
				if err != nil {
					t.Error(err)
				}
				routes[text] = name
			}
			return true
		})
	}
	return routes
}

// Each route that the program serves is in openapi.yaml, and each that is there is served. (Those of ingest, below /v1/,
// are compared one by one in stages/ingest.)
func TestOpenAPIHasEveryRoute(t *testing.T) {
	doc := readAPI(t)
	served := servedRoutes(t)
	if len(served) < 5 {
		t.Fatalf("found %v: the search may be blind", served)
	}
	described := map[string]bool{"/v1/": true}
	for path, item := range doc.Paths {
		if item.Get == nil {
			continue
		}
		described["GET "+path] = true
		if served["GET "+path] == "" {
			t.Errorf("openapi.yaml has GET %s, which nobody serves", path)
		}
	}
	for pattern, file := range served {
		if file != "dev.go" && !described[pattern] { // what dev alone serves is for a browser
			t.Errorf("%s serves %q, which openapi.yaml does not have", file, pattern)
		}
	}
}

// A running server takes each example of openapi.yaml, whole, and says of a customer what the schema says.
func TestOpenAPIExamples(t *testing.T) {
	t.Setenv("ATTUNE_API__TOKENS", "[{name: support, token: hush, scopes: [profiles, personal]}]")
	folder := t.TempDir()
	file := filepath.Join(folder, "attune.yaml")
	var entrances []string
	for _, name := range []string{"cloudevents", "ga4", "shopify", "contacts", "webhook"} {
		entrances = append(entrances, fmt.Sprintf("{name: %s, mapping: %[1]s, secret: hush}", name))
	}
	if err := os.WriteFile(file, []byte("ingest: {entrances: ["+strings.Join(entrances, ", ")+"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDev(t, filepath.Join(folder, "data"), "--no-shop", "--config", file)
	doc := readAPI(t)
	sent := 0
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		if operation := doc.Paths[path].Post; operation != nil && !strings.Contains(path, "{") {
			sent += d.sendExamples(doc, path, operation)
		}
	}
	if sent < 20 {
		t.Errorf("only %d examples were sent", sent)
	}
	if letters := output(t, "deadletter", "list", "--data", d.data); strings.Count(letters, "\n") != 1 {
		t.Errorf("dead letters:\n%s", letters)
	}
	var profile map[string]any
	d.eventually(20*time.Second, "the profile with an order and its score", func() bool {
		var status int
		status, profile = d.ask("user:u1?personal=true", "hush")
		return status == http.StatusOK && profile["scored_at"] != nil && profile["personal"] != nil
	})
	operation := doc.Paths["/v1/profiles/{id}"].Get
	doc.valid(t, "the profile", operation.Responses["200"].Content["application/json"].Schema, profile)
	for status, asked := range map[int][2]string{
		400: {"user:u1?personal=maybe", "hush"}, 401: {"user:u1", "dev"}, 404: {"user:nobody", "hush"},
	} {
		got, answer := d.ask(asked[0], asked[1])
		if got != status {
			t.Errorf("GET %s: %d, want %d", asked[0], got, status)
		}
		doc.valid(t, asked[0], operation.Responses[strconv.Itoa(status)].Content["application/json"].Schema, answer)
	}
	d.interrupt()
}

// sendExamples posts each example of an operation, which is valid by its schema, and returns how many there were.
func (d *dev) sendExamples(doc *apiDocument, path string, operation *apiOperation) (sent int) {
	d.t.Helper()
	body := *operation.RequestBody
	if name, ok := strings.CutPrefix(body.Ref, "#/components/requestBodies/"); ok {
		body = doc.Components.RequestBodies[name]
	}
	for _, kind := range slices.Sorted(maps.Keys(body.Content)) {
		content := body.Content[kind]
		examples := map[string]any{}
		if content.Example != nil {
			examples["example"] = content.Example
		}
		for name, e := range content.Examples {
			examples[name] = e.Value
		}
		if len(examples) == 0 {
			d.t.Errorf("%s: no example of %s", path, kind)
		}
		for _, name := range slices.Sorted(maps.Keys(examples)) {
			what := fmt.Sprintf("POST %s, example %s", path, name)
			doc.valid(d.t, what, content.Schema, examples[name])
			text, ok := examples[name].(string)
			if !ok || !strings.HasPrefix(kind, "text/") {
				text = jsonText(d.t, examples[name])
			}
			header, query := http.Header{"Content-Type": {kind}}, url.Values{}
			for _, p := range operation.Parameters {
				e, given := p.Examples[name]
				if !given {
					continue
				}
				doc.valid(d.t, what+", "+p.Name, p.Schema, e.Value)
				if p.In == "header" {
					header.Set(p.Name, url.PathEscape(fmt.Sprint(e.Value)))
					if !strings.HasPrefix(p.Name, "ce-") {
						header.Set(p.Name, fmt.Sprint(e.Value))
					}
				} else {
					query.Set(p.Name, fmt.Sprint(e.Value))
				}
			}
			for scheme := range slices.Concat(operation.Security, doc.Security)[0] {
				switch s := doc.Components.SecuritySchemes[scheme]; {
				case s.Scheme == "basic":
					header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("dev:")))
				case s.Scheme == "bearer":
					header.Set("Authorization", "Bearer hush")
				case s.In == "query":
					query.Set(s.Name, "hush")
				case s.In == "header":
					mac := hmac.New(sha256.New, []byte("hush"))
					mac.Write([]byte(text))
					header.Set(s.Name, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
				default:
					d.t.Fatalf("%s: no security scheme %s", what, scheme)
				}
			}
			d.sendExample(what, path, text, header, query)
			sent++
		}
	}
	return sent
}

func (d *dev) sendExample(what, path, body string, header http.Header, query url.Values) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.IngestURL+path+"?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header = header
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	said, err := io.ReadAll(answer.Body)
	if err := cmp.Or(err, answer.Body.Close()); err != nil {
		d.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Attune-Parked") != "" {
		d.t.Errorf("%s: %d, parked %q: %s", what, answer.StatusCode, answer.Header.Get("Attune-Parked"), said)
	}
}
