package ingest

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"attune/stages/ingest/mapping"
)

type pathItem struct {
	Ref     string     `yaml:"$ref"`
	Post    *operation `yaml:"post"`
	Options *operation `yaml:"options"`
}

type operation struct {
	Responses map[string]any `yaml:"responses"`
}

// document31 is what the tests read of docs/openapi.yaml; cmd/attune sends its examples to a running server.
type document31 struct {
	Paths      map[string]pathItem `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Enum []string `yaml:"enum"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

func openapi(t *testing.T) document31 {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc document31
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return doc
}

// provoke makes a request to the path that ends with the status.
func provoke(t *testing.T, path string, status int) *httptest.ResponseRecorder {
	t.Helper()
	call := `{"userId":"u","previousId":"p","groupId":"g","event":"E","type":"track"}`
	body, wrong := call, `{"type":"track"}`
	if _, kind, _ := routeOf(path); kind == "" {
		body, wrong = `{"batch":[`+call+`]}`, `{"batch":[]}`
	}
	b := atEntrances(t, nil)
	known := []string{"Content-Type", "application/json"} // who is known; the bench adds the write key
	if name, ok := strings.CutPrefix(path, routeEntrance); ok {
		path, body, known = entranceRequest(strings.ReplaceAll(name, "{entrance}", "webhook"))
	}
	switch status {
	case 200:
		return b.post(path, body, known...)
	case 204:
		return b.do(http.MethodOptions, path, "", "Origin", "https://shop.example")
	case 400:
		if !strings.HasPrefix(path, routeEntrance) {
			return b.post(path, wrong)
		}
		return b.post(path, body, append(known, "Content-Encoding", "gzip")...)
	case 401:
		path, _, _ = strings.Cut(path, "?")
		return b.post(path, body, "Authorization", "")
	case 405:
		return b.do(http.MethodGet, path, "")
	case 408:
		return b.post(path, tooSlow, known...)
	case 415:
		return b.post(path, body, append(known, "Content-Encoding", "deflate")...)
	case 429:
		b = atEntrances(t, func(c *Config, _ *Deps) { c.MaxInFlight = 1 })
		var second *httptest.ResponseRecorder
		b.log.fail = func(context.Context) error {
			second = b.post(path, body, known...)
			return nil
		}
		b.post(path, body, known...)
		return second
	case 503:
		b.log.fail = func(context.Context) error { return errors.New("down") }
		return b.post(path, body, known...)
	}
	t.Fatalf("no way is known to provoke %d", status)
	return nil
}

// entranceRequest is one that an entrance takes: path, body and headers.
func entranceRequest(name string) (path, body string, header []string) {
	path = routeEntrance + name
	bearer := []string{"Authorization", "Bearer hush"}
	switch name {
	case "cloudevents":
		return path, `{}`, append(bearer, "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "E", "Ce-Subject", "u")
	case "ga4":
		return path + "?api_secret=hush", `{"client_id":"c","events":[{"name":"login"}]}`, nil
	case "shopify":
		body = `{"id":7}`
		return path, body, []string{"X-Shopify-Topic", "customers/update", "X-Shopify-Hmac-Sha256", signedFor("hush", body)}
	case "contacts":
		return path, `{"id":7}`, bearer
	}
	return path, `{"event":"E","user_id":7}`, bearer
}

// Each route and status of openapi.yaml is what the handler does, and each route of the handler is there.
func TestOpenAPI(t *testing.T) {
	doc := openapi(t)
	served := map[string]bool{routeEntrance + "{entrance}": true}
	for _, r := range routes() {
		served["/v1/"+r.path] = true
	}
	for _, name := range mapping.Shipped() {
		served[routeEntrance+name] = true
	}
	for path := range served {
		if _, ok := doc.Paths[path]; !ok {
			t.Errorf("%s is missing in openapi.yaml", path)
		}
	}
	for path, item := range doc.Paths {
		if item.Post == nil && item.Ref == "" {
			continue // not of ingest: cmd/attune tests it
		}
		if !served[path] {
			t.Errorf("openapi.yaml has %s, which nobody serves", path)
		}
		if item.Ref != "" {
			target := strings.ReplaceAll(strings.TrimPrefix(item.Ref, "#/paths/"), "~1", "/")
			item = doc.Paths[target]
			route, _, _ := routeOf(path)
			if want, _, _ := routeOf(target); route != want {
				t.Errorf("%s is %s, but openapi.yaml says %s", path, route, want)
			}
		}
		if item.Post == nil || item.Options == nil {
			t.Errorf("%s: post or options is missing", path)
			continue
		}
		var statuses []string
		for status := range item.Post.Responses {
			statuses = append(statuses, status)
		}
		for status := range item.Options.Responses {
			statuses = append(statuses, status)
		}
		if len(statuses) != 8 {
			t.Errorf("%s: %v, want 8 statuses", path, statuses)
		}
		for _, status := range append(statuses, "405") { // 405 is said once for all
			n, err := strconv.Atoi(status)
			if err != nil {
				t.Fatalf("%s: status %q", path, status)
			}
			w := provoke(t, path, n)
			if w.Code != n {
				t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, n)
			}
			if n == 204 {
				continue
			}
			if a := decode(t, w); a.Success != (n == 200) || (a.Error == nil) != (n == 200) {
				t.Errorf("%s %d: body %s", path, n, w.Body)
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (n == 429 || n == 503) {
				t.Errorf("%s %d: Retry-After %q", path, n, retry)
			}
			if n == 200 && w.Header().Get(parkedHeader) != "" {
				t.Errorf("%s: parked", path)
			}
		}
	}
}

// openapi.yaml lists the error codes that the source has, in its order.
func TestOpenAPICodes(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					code, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Error(err)
					}
					codes = append(codes, code)
				}
			}
		}
		return true
	})
	if diff := cmp.Diff(codes, openapi(t).Components.Schemas["Code"].Enum); diff != "" {
		t.Errorf("codes (-source +openapi.yaml):\n%s", diff)
	}
}
