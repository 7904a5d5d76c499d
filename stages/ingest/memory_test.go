package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
)

// memoryLog is a Log in memory.
type memoryLog struct {
	mu      sync.Mutex
	records []event.Raw
	fail    func(ctx context.Context) error // nil: store
}

func (l *memoryLog) Append(ctx context.Context, records []event.Raw) error {
	if l.fail != nil {
		if err := l.fail(ctx); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, records...)
	return nil
}

type deadLetter struct {
	Reason  string
	Payload string
	Err     string
}

// memoryDead is a DeadLetters in memory.
type memoryDead struct {
	mu      sync.Mutex
	letters []deadLetter
	parked  [][]pipeline.DeadLetter // what was parked together
	fail    error
}

func (d *memoryDead) Park(_ context.Context, letters []pipeline.DeadLetter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	for _, l := range letters {
		d.letters = append(d.letters, deadLetter{path.Join(l.Entrance, l.Reason), string(l.Payload), l.Error})
	}
	d.parked = append(d.parked, letters)
	return nil
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bench is a handler over logs in memory, with a clock that stands still and ids that count.
type bench struct {
	log  *memoryLog
	dead *memoryDead
	http.Handler
}

func newBench(t testing.TB, change func(*Config, *Deps)) *bench {
	t.Helper()
	b := &bench{log: &memoryLog{}, dead: &memoryDead{}}
	cfg := DefaultConfig()
	cfg.WriteKeys = []WriteKey{{Name: "other", Key: "zebra"}, {Name: "shop", Key: "dev"}}
	var ids atomic.Int64
	deps := Deps{
		Now:   func() time.Time { return noon },
		NewID: func() string { return fmt.Sprintf("id-%d", ids.Add(1)) },
	}
	if change != nil {
		change(&cfg, &deps)
	}
	h, err := Handler(cfg, b.log, b.dead, deps)
	if err != nil {
		t.Fatal(err)
	}
	b.Handler = h
	return b
}

// tooSlow is a body that the server gives up to wait for.
const tooSlow = "…"

// post sends body with the write key in the header.
func (b *bench) post(path, body string, headers ...string) *httptest.ResponseRecorder {
	return b.do(http.MethodPost, path, body, append([]string{"Authorization", "Basic ZGV2Og=="}, headers...)...)
}

// do sends a request; headers are names and values in turn, and an empty value takes a header away.
func (b *bench) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	var src io.Reader = strings.NewReader(body)
	if body == tooSlow {
		src = iotest.ErrReader(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded})
	}
	r := httptest.NewRequest(method, path, src)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func (b *bench) payloads() []string {
	var out []string
	for _, r := range b.log.records {
		out = append(out, string(r.Payload))
	}
	return out
}

// answer is a reply's body.
type answer struct {
	Success bool     `json:"success"`
	Error   *problem `json:"error"`
	Errors  []struct {
		Index   int    `json:"index"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Field   string `json:"field"`
	} `json:"errors"`
}

func decode(t *testing.T, w *httptest.ResponseRecorder) answer {
	t.Helper()
	var a answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("the reply %q is not JSON: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", got)
	}
	return a
}
