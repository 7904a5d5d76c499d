package ingest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	record = flag.Bool("record", false, "record the Segment Node client's session anew (needs node, and npm ci in testdata/segment-node)")
	update = flag.Bool("update", false, "write the golden files anew")
)

// recorded is one request as the public client sent it.
type recorded struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"` // the exact bytes
}

// The calls that the public Segment Node client sent are all accepted, and these records come out.
func TestSegmentNodeSession(t *testing.T) {
	dir := filepath.Join("testdata", "segment-node")
	file := filepath.Join(dir, "session.json")
	if *record {
		recordSession(t, dir, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var session []recorded
	if err := json.Unmarshal(text, &session); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil)
	for i, req := range session {
		headers := []string{}
		for k, v := range req.Headers {
			headers = append(headers, k, v)
		}
		if w := b.do(req.Method, req.Path, req.Body, headers...); w.Code != 200 || w.Body.String() != `{"success":true}` {
			t.Errorf("request %d: %d %s", i, w.Code, w.Body)
		}
	}
	if len(b.dead.letters) != 0 {
		t.Errorf("parked: %v", b.dead.letters)
	}
	var got strings.Builder
	for _, r := range b.log.records {
		fmt.Fprintf(&got, "key=%s accepted=%s sent_at=%s historical=%v\n%s\n",
			r.Key, r.Accepted.Format(time.RFC3339Nano), r.SentAt.Format(time.RFC3339Nano), r.Historical, r.Payload)
	}
	golden := filepath.Join(dir, "records.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("records (-want +got), -update writes them anew:\n%s", diff)
	}
	kinds := map[string]int{}
	for i, r := range b.log.records {
		var item struct{ Type, MessageID string }
		if err := json.Unmarshal(r.Payload, &item); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
		kinds[item.Type]++
	}
	if diff := cmp.Diff(map[string]int{"identify": 1, "page": 1, "track": 4, "screen": 1, "group": 1, "alias": 1}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

// recordSession runs the client against a handler and keeps what it sent.
func recordSession(t *testing.T, dir, file string) {
	t.Helper()
	b := newBench(t, nil)
	var mu sync.Mutex
	var session []recorded
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		req := recorded{Method: r.Method, Path: r.URL.RequestURI(), Headers: map[string]string{}, Body: string(body)}
		for _, name := range []string{"Authorization", "Content-Type", "Content-Encoding", "User-Agent"} {
			if v := r.Header.Get(name); v != "" {
				req.Headers[name] = v
			}
		}
		mu.Lock()
		session = append(session, req)
		mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		b.ServeHTTP(w, r)
	}))
	defer server.Close()
	cmd := exec.CommandContext(t.Context(), "node", "record.mjs", server.URL)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node record.mjs: %v\n%s", err, out)
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(session); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
