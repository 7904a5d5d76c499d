package main

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
	"attune/stages/ingest"
)

func TestMappingCommands(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	csv := write("contacts.csv", "id,email\n7,Ada@Shop.Example\n")
	wrong := write("wrong.yaml", "name: wrong\nauthenticate: {token: {query: key}}\ncalls: [{event: E, user: .a |}]\n")
	order := `{"id": 1, "created_at": "2026-05-01T12:00:00Z", "customer": null, "total_price": "9.50"}`
	for _, c := range []struct {
		name, in string
		args     []string
		code     int
		says     []string
	}{
		{"check", "", []string{"mapping", "check", "ga4", "shopify"}, 0, []string{"ga4 is right", "shopify is right"}},
		{"check a wrong one", "", []string{"mapping", "check", wrong}, exitFailed, []string{"wrong.yaml:3:30: calls[0].user: unexpected EOF"}},
		{"check a missing one", "", []string{"mapping", "check", "shopfy"}, exitFailed, []string{"shopfy", "cloudevents, contacts, ga4, shopify, webhook"}},
		{"show", "", []string{"mapping", "show", "shopify"}, 0, []string{"name: shopify"}},
		{"show their names", "", []string{"mapping", "show"}, 0, []string{"cloudevents\ncontacts\nga4\n"}},
		{"show another", "", []string{"mapping", "show", "shopfy"}, exitFailed, []string{`did you mean "shopify"?`}},
		{"run", order, []string{"mapping", "run", "shopify", "-H", "X-Shopify-Topic: orders/create"}, 0, []string{`"event":"Order Completed"`, `"total":"9.50"`}},
		{"run on CSV", "", []string{"mapping", "run", "contacts", csv}, 0, []string{`"userId":"7"`, `"email":"ada@shop.example"`}},
		{"run with a query", `{"client_id": "c", "events": [{"name": "purchase", "params": {"transaction_id": "t"}}]}`, []string{"mapping", "run", "ga4", "--query", "measurement_id=G-1"}, 0, []string{"ga4:purchase:G-1:t"}},
		{"run in vain", `{"event": "E", "user_id": 1, "timestamp": "tomorrow"}`, []string{"mapping", "run", "webhook"}, exitFailed, []string{"webhook.yaml:", "calls[0].time: it gives no time", "tomorrow"}},
		{"run with a wrong header", order, []string{"mapping", "run", "shopify", "-H", "topic"}, exitFailed, []string{"Name: value"}},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), c.args, streams{in: strings.NewReader(c.in), out: &out, err: &errs})
		said := out.String() + errs.String()
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s", c.name, code, c.code, said)
		}
		for _, part := range c.says {
			if !strings.Contains(said, part) {
				t.Errorf("%s: it does not say %q:\n%s", c.name, part, said)
			}
		}
	}
}

// What an entrance parks goes through once its mapping is mended, by the same command as every dead letter.
func TestRetryAtAnEntrance(t *testing.T) {
	js := enginetest.JetStream(t)
	if err := topology.Ensure(t.Context(), js, topology.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mine.yaml")
	mapped := func(user string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("name: mine\nauthenticate: {token: {query: key}}\ncalls: [{event: E, user: "+user+"}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mapped(".wrong")
	c := ingest.DefaultConfig()
	c.WriteKeys = []ingest.WriteKey{{Name: "web", Key: "k"}}
	c.Entrances = []ingest.Entrance{{Name: "erp", Mapping: file, Secret: "s", Path: "/hooks/erp"}}
	raw, err := pipeline.NewRawLog(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	server, _, err := newServer("127.0.0.1:0", raw, c, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.serve() }()
	defer func() { _ = server.stop(t.Context()) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.url()+"/hooks/erp?key=s", strings.NewReader(`{"id": "u1"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK || answer.Header.Get("Attune-Parked") != "1" {
		t.Fatalf("%s %s", answer.Status, body)
	}
	count := func(stream string) uint64 {
		t.Helper()
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	one := func() (x letter) {
		t.Helper()
		if err := eachLetter(t.Context(), js, func(l letter) error { x = l; return nil }); err != nil {
			t.Fatal(err)
		}
		return x
	}
	first := one()
	if err := retry(t.Context(), js, c, first); err != nil {
		t.Fatal(err)
	}
	second := one()
	if second.number == first.number || second.Reason != "no_user_anon_id" || count(topology.Raw) != 0 || count(topology.DeadLetter) != 1 {
		t.Fatalf("retried too early: %+v, %d records, %d letters", second.DeadLetter, count(topology.Raw), count(topology.DeadLetter))
	}
	mapped(".id")
	if err := retry(t.Context(), js, ingest.DefaultConfig(), second); err == nil || !strings.Contains(err.Error(), `no entrance "erp"`) {
		t.Errorf("without the entrance: %v", err)
	}
	if err := retry(t.Context(), js, c, second); err != nil {
		t.Fatal(err)
	}
	if count(topology.Raw) != 1 || count(topology.DeadLetter) != 0 {
		t.Errorf("%d records and %d letters after the retry", count(topology.Raw), count(topology.DeadLetter))
	}
}
