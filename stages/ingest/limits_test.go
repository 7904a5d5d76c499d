package ingest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// The limits are inclusive.
func TestJustFits(t *testing.T) {
	b := newBench(t, nil)
	frame := `{"userId":"u","event":"E","type":"track","messageId":"m","x":""}`
	call := strings.Replace(frame, `""`, `"`+strings.Repeat("x", 32<<10-len(frame))+`"`, 1)
	if w := b.post("/v1/track", call); w.Code != 200 {
		t.Errorf("%d bytes: %d %s", len(call), w.Code, w.Body)
	}
	if w := b.post("/v1/track", call+" "); w.Code != 400 {
		t.Errorf("%d bytes: %d", len(call)+1, w.Code)
	}
	item := `{"type":"page","userId":"u","messageId":"m"}`
	batch := `{"batch":[` + call + strings.Repeat(","+item, 2499) + `]}`
	if w := b.post("/v1/batch", batch); w.Code != 200 || len(b.dead.letters) != 0 {
		t.Errorf("2500 events: %d %s, %d parked", w.Code, w.Body, len(b.dead.letters))
	}
	if got := len(b.log.records); got != 2501 {
		t.Errorf("%d records, want 2501", got)
	}
}

// reader counts what is read of it.
type reader struct {
	io.Reader
	n int
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += n
	return n, err
}

func TestReadsNoMoreThanItNeeds(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		name, auth, encoding string
		body                 string
		most                 int
	}{
		{"a stranger's body is not read", "Basic b3RoZXI6", "", strings.Repeat(" ", 1<<20), 0},
		{"a body without length", "Basic ZGV2Og==", "", strings.Repeat(" ", 1<<20), 500<<10 + 1},
		{"a gzip bomb", "Basic ZGV2Og==", "gzip", gzipped(t, strings.Repeat(" ", 64<<20)), 16 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := &reader{Reader: strings.NewReader(c.body)}
			r := httptest.NewRequest(http.MethodPost, "/v1/batch", src)
			r.Header.Set("Authorization", c.auth)
			r.Header.Set("Content-Encoding", c.encoding)
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			if w.Code < 400 || src.n > c.most {
				t.Errorf("status %d after reading %d bytes, want at most %d", w.Code, src.n, c.most)
			}
		})
	}
}

func TestTooManyBytesInFlight(t *testing.T) {
	b := newBench(t, func(c *Config, _ *Deps) { c.MaxEventBytes, c.MaxBatchBytes, c.MaxInFlightBytes = 1<<10, 2<<10, 2<<10 })
	reached, release := make(chan struct{}), make(chan struct{})
	b.log.fail = func(context.Context) error {
		reached <- struct{}{}
		<-release
		return nil
	}
	event := `{"type":"page","userId":"u","messageId":"m","properties":{"text":"` + strings.Repeat("x", 700) + `"}}`
	large := `{"batch":[` + event + "," + event + `]}`
	done := make(chan int)
	go func() { done <- b.post("/v1/batch", large).Code }()
	<-reached
	for name, w := range map[string]*httptest.ResponseRecorder{
		"large":         b.post("/v1/batch", large),
		"unknown small": b.post("/v1/batch", "x", "Content-Encoding", "gzip"), // it may become as large as any
	} {
		if w.Code != 429 || w.Header().Get("Retry-After") != "1" || decode(t, w).Error.Code != "too_many_requests" {
			t.Errorf("%s: %d %v %s", name, w.Code, w.Header(), w.Body)
		}
	}
	go func() { done <- b.post("/v1/page", `{"userId":"u"}`).Code }() // there is room for a small one
	<-reached
	close(release)
	if first, second := <-done, <-done; first != 200 || second != 200 {
		t.Errorf("%d, %d", first, second)
	}
	b.log.fail = nil
	if w := b.post("/v1/batch", large); w.Code != 200 {
		t.Errorf("when there is room again: %d %s", w.Code, w.Body)
	}
}

func TestTooManyInFlight(t *testing.T) {
	b := newBench(t, func(c *Config, _ *Deps) { c.MaxInFlight = 1 })
	reached, release := make(chan struct{}), make(chan struct{})
	b.log.fail = func(context.Context) error {
		reached <- struct{}{}
		<-release
		return nil
	}
	done := make(chan int)
	go func() { done <- b.post("/v1/page", `{"userId":"u"}`).Code }()
	<-reached
	w := b.post("/v1/page", `{"userId":"u"}`)
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || decode(t, w).Error.Code != "too_many_requests" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	close(release)
	if code := <-done; code != 200 {
		t.Errorf("the first one: %d", code)
	}
	go func() { <-reached }()
	if w := b.post("/v1/page", `{"userId":"u"}`); w.Code != 200 {
		t.Errorf("after the first has gone: %d", w.Code)
	}
}

// A body that breaks off is told so, as far as anyone still listens.
func TestBodyBreaksOff(t *testing.T) {
	b := newBench(t, nil)
	r := httptest.NewRequest(http.MethodPost, "/v1/track", io.MultiReader(strings.NewReader(`{"writeKey":"dev",`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != 400 || decode(t, w).Error.Code != "body_unreadable" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A client that is too slow for the server is told to send again, whatever it has sent by then.
func TestSlowBodies(t *testing.T) {
	packed := gzipped(t, `{"writeKey":"dev","userId":"u","event":"E","properties":{"text":"`+strings.Repeat("x", 1000)+`"}}`)
	for _, c := range []struct{ name, encoding, begins string }{
		{"plain", "", `{"writeKey":"dev",`},
		{"nothing of it", "", ""},
		{"gzip", "gzip", packed[:len(packed)/2]},
		{"not even gzip's head", "gzip", packed[:5]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(newBench(t, nil))
			server.Config.ReadHeaderTimeout, server.Config.ReadTimeout = time.Minute, 50*time.Millisecond
			server.Start()
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// The rest never comes.
			if _, err := fmt.Fprintf(conn, "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\nContent-Encoding: %s\r\n\r\n%s", c.encoding, c.begins); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(text), `"body_too_slow"`) {
				t.Errorf("%d %s, %v", response.StatusCode, text, err)
			}
		})
	}
}
