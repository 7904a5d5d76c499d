package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The reply waits for the log.
func TestReplyWaitsForTheLog(t *testing.T) {
	b := newBench(t, nil)
	reached, release := make(chan struct{}), make(chan struct{})
	b.log.fail = func(context.Context) error {
		close(reached)
		<-release
		return nil
	}
	w := httptest.NewRecorder()
	w.Code = 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := httptest.NewRequest(http.MethodPost, "/v1/track", strings.NewReader(`{"writeKey":"dev","userId":"u","event":"E"}`))
		b.ServeHTTP(w, r)
	}()
	<-reached
	select {
	case <-done:
		t.Error("replied before the log had acknowledged")
	default:
	}
	if w.Code != 0 || w.Body.Len() > 0 {
		t.Errorf("wrote %d %q before the log had acknowledged", w.Code, w.Body)
	}
	close(release)
	<-done
	if w.Code != 200 {
		t.Errorf("status %d after the acknowledgement", w.Code)
	}
}

// A client that hangs up after its request was read does not undo it; a log that hangs is given up.
func TestHangUps(t *testing.T) {
	b := newBench(t, nil)
	b.log.fail = func(ctx context.Context) error { return ctx.Err() }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/page", strings.NewReader(`{"writeKey":"dev","userId":"u"}`))
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != 200 || len(b.log.records) != 1 {
		t.Errorf("%d, %d records", w.Code, len(b.log.records))
	}

	b = newBench(t, func(c *Config, _ *Deps) { c.AppendTimeout = time.Millisecond })
	b.log.fail = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if w := b.post("/v1/page", `{"userId":"u"}`); w.Code != 503 {
		t.Errorf("a log that hangs: %d", w.Code)
	}
}

func TestLogFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"busy", fmt.Errorf("stream RAW is full: %w", ErrBusy), 503, "unavailable"},
		{"down", errors.New("secret address 10.0.0.1"), 503, "unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(cfg *Config, _ *Deps) { cfg.RetryAfter = 7 * time.Second })
			b.log.fail = func(context.Context) error { return c.err }
			w := b.post("/v1/batch", `{"batch":[{"type":"page","userId":"u"}]}`)
			a := decode(t, w)
			if w.Code != c.status || a.Success || a.Error.Code != c.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("Retry-After") != "7" || w.Header().Get("X-RateLimit-Reset") != "7" {
				t.Errorf("headers %v", w.Header())
			}
			if strings.Contains(w.Body.String(), "10.0.0.1") {
				t.Errorf("the reply tells of the inside: %s", w.Body)
			}
		})
	}
}

// The caller's trace goes with every record of the call; what is none does not.
func TestTraceGoesWithTheRecords(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	b := newBench(t, nil)
	b.post("/v1/batch", `{"batch":[{"type":"page","userId":"u"},{"type":"page","userId":"v"}]}`, "Traceparent", trace)
	b.post("/v1/page", `{"userId":"u"}`, "Traceparent", "ann@shop.example")
	b.post("/v1/page", `{"userId":"u"}`)
	var got []string
	for _, r := range b.log.records {
		got = append(got, r.Trace)
	}
	if diff := cmp.Diff([]string{trace, trace, "", ""}, got); diff != "" {
		t.Error(diff)
	}
}
