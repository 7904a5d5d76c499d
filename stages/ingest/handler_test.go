package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline/event"
)

func gzipped(t testing.TB, text string) string {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := io.WriteString(zw, text); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// What a request is refused with, and that it leaves nothing behind.
func TestRefusals(t *testing.T) {
	big := strings.Repeat("x", 33<<10)
	many := `{"batch":[` + strings.TrimSuffix(strings.Repeat(`{},`, 2501), ",") + `]}`
	deep := `{"userId":"u","event":"E","properties":{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}}`
	wide := `{"context":{"x":"` + strings.Repeat("x", 30<<10) + `"},"batch":[` +
		strings.TrimSuffix(strings.Repeat(`{"type":"track","userId":"u","event":"E"},`, 400), ",") + `]}`
	for _, c := range []struct {
		name, path, body string
		headers          []string
		status           int
		code, field      string
		says             string // part of the message
	}{
		{"no JSON", "/v1/track", `nope`, nil, 400, "invalid_json", "", "at byte 0"},
		{"cut off", "/v1/track", `{"userId":"u"`, nil, 400, "invalid_json", "", "at byte 13"},
		{"text after", "/v1/track", `{} {}`, nil, 400, "invalid_json", "", "after the end"},
		{"empty body", "/v1/track", ``, nil, 400, "invalid_json", "", "text ends"},
		{"too deep", "/v1/track", deep, nil, 400, "invalid_json", "", "deeper than 512"},
		{"array", "/v1/track", `[]`, nil, 400, "not_object", "", "not a JSON object"},
		{"no id", "/v1/track", `{"event":"E"}`, nil, 400, "no_user_anon_id", "userId", "userId nor anonymousId"},
		{"null and empty ids", "/v1/page", `{"userId":null,"anonymousId":" "}`, nil, 400, "no_user_anon_id", "userId", ""},
		{"id of a wrong kind", "/v1/page", `{"userId":{"id":1}}`, nil, 400, "id_not_string", "userId", ""},
		{"id too long", "/v1/page", `{"anonymousId":"` + strings.Repeat("x", 1025) + `"}`, nil, 400, "id_too_long", "anonymousId", ""},
		{"track without event", "/v1/track", `{"userId":"u"}`, nil, 400, "event_not_defined", "event", ""},
		{"track with empty event", "/v1/track", `{"userId":"u","event":""}`, nil, 400, "event_not_defined", "event", ""},
		{"track with a number for event", "/v1/track", `{"userId":"u","event":5}`, nil, 400, "event_not_string", "event", ""},
		{"properties a string", "/v1/track", `{"userId":"u","event":"E","properties":"p"}`, nil, 400, "properties_not_object", "properties", ""},
		{"traits an array", "/v1/identify", `{"userId":"u","traits":[]}`, nil, 400, "traits_not_object", "traits", ""},
		{"context a number", "/v1/identify", `{"userId":"u","context":1}`, nil, 400, "context_not_object", "context", ""},
		{"group without groupId", "/v1/group", `{"userId":"u"}`, nil, 400, "group_id_not_defined", "groupId", ""},
		{"alias without previousId", "/v1/alias", `{"userId":"u"}`, nil, 400, "previous_id_not_defined", "previousId", ""},
		{"alias without userId", "/v1/alias", `{"anonymousId":"a","previousId":"p"}`, nil, 400, "user_id_not_defined", "userId", ""},
		{"call too large", "/v1/track", `{"userId":"u","event":"E","properties":{"x":"` + big + `"}}`, nil, 400, "payload_too_large", "", "32768 bytes"},
		{"call too large, gzipped", "/v1/track", gzipped(t, `{"userId":"u","event":"E","properties":{"x":"`+big+`"}}`), []string{"Content-Encoding", "gzip"}, 400, "payload_too_large", "", "32768 bytes"},
		{"batch too large", "/v1/batch", `{"batch":[],"x":"` + strings.Repeat("x", 500<<10) + `"}`, nil, 400, "payload_too_large", "", "512000 bytes"},
		{"batch of too many", "/v1/batch", many, nil, 400, "too_many_events", "batch", "2500"},
		{"batch whose context grows it", "/v1/batch", wide, nil, 400, "payload_too_large", "context", ""},
		{"batch with a large context", "/v1/batch", `{"context":{"x":"` + big + `"},"batch":[{}]}`, nil, 400, "payload_too_large", "context", ""},
		{"batch with a wrong context", "/v1/batch", `{"context":"x","batch":[{}]}`, nil, 400, "context_not_object", "context", ""},
		{"batch with wrong integrations", "/v1/batch", `{"integrations":[],"batch":[{}]}`, nil, 400, "integrations_not_object", "integrations", ""},
		{"batch missing", "/v1/batch", `{}`, nil, 400, "empty_batch", "batch", ""},
		{"batch empty", "/v1/import", `{"batch":[ ]}`, nil, 400, "empty_batch", "batch", ""},
		{"batch an object", "/v1/b", `{"batch":{}}`, nil, 400, "batch_not_array", "batch", ""},
		{"strict misspelt", "/v1/batch?strict=maybe", `{"batch":[{}]}`, nil, 400, "invalid_parameter", "strict", ""},
		{"no gzip", "/v1/track", `{}`, []string{"Content-Encoding", "gzip"}, 400, "invalid_gzip", "", ""},
		{"broken gzip", "/v1/track", gzipped(t, `{"userId":"u","event":"E"}`)[:30], []string{"Content-Encoding", "gzip"}, 400, "invalid_gzip", "", ""},
		{"brotli", "/v1/track", `{}`, []string{"Content-Encoding", "br"}, 415, "encoding_not_supported", "", "gzip"},
		{"wrong key", "/v1/track", `{"userId":"u","event":"E"}`, []string{"Authorization", "Basic b3RoZXI6"}, 401, "invalid_write_key", "writeKey", ""},
		{"wrong key in header, right one in body", "/v1/track", `{"userId":"u","event":"E","writeKey":"dev"}`, []string{"Authorization", "Basic b3RoZXI6"}, 401, "invalid_write_key", "writeKey", ""},
		{"garbage in header, right key in body", "/v1/track", `{"userId":"u","event":"E","writeKey":"dev"}`, []string{"Authorization", "Basic !"}, 401, "invalid_write_key", "writeKey", ""},
		{"no key", "/v1/track", `{"userId":"u","event":"E"}`, []string{"Authorization", ""}, 401, "invalid_write_key", "writeKey", ""},
		{"wrong key in body", "/v1/track", `{"userId":"u","event":"E","writeKey":"de"}`, []string{"Authorization", ""}, 401, "invalid_write_key", "writeKey", ""},
		{"key in an event of the batch only", "/v1/batch", `{"batch":[{"type":"page","userId":"u","writeKey":"dev"}]}`, []string{"Authorization", ""}, 401, "invalid_write_key", "writeKey", ""},
		{"bearer token without write key", "/v1/track", `{"userId":"u","event":"E"}`, []string{"Authorization", "Bearer dev"}, 401, "invalid_write_key", "writeKey", ""},
		{"no such route", "/v1/tracks", `{}`, nil, 404, "not_found", "", "/v1/track"},
		{"no such version", "/v2/track", `{}`, nil, 404, "not_found", "", ""},
		{"root", "/", `{}`, nil, 404, "not_found", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			w := b.post(c.path, c.body, c.headers...)
			a := decode(t, w)
			if a.Error == nil {
				t.Fatalf("status %d without error: %s", w.Code, w.Body)
			}
			if w.Code != c.status || a.Success || a.Error.Code != c.code || a.Error.Field != c.field {
				t.Errorf("%d %s, want status %d, code %s, field %q", w.Code, w.Body, c.status, c.code, c.field)
			}
			if a.Error.Message == "" || !strings.Contains(a.Error.Message, c.says) {
				t.Errorf("message %q doesn't say %q", a.Error.Message, c.says)
			}
			if len(b.log.records)+len(b.dead.letters) > 0 {
				t.Errorf("left behind: %v %v", b.log.records, b.dead.letters)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

// What a single accepted call becomes.
func TestAccepted(t *testing.T) {
	raw := func(key, payload string) event.Raw {
		return event.Raw{Key: key, Payload: []byte(payload), Accepted: noon}
	}
	for _, c := range []struct {
		name, path, body string
		headers          []string
		want             event.Raw
	}{
		{"track", "/v1/track", `{"userId":"u","event":"E"}`, nil,
			raw("u", `{"userId":"u","event":"E","type":"track","messageId":"id-1"}`)},
		{"nothing to change: byte for byte", "/v1/track", ` { "userId" : "u", "event":"E","x":1.0e2, "type":"track","messageId":"m" } `, nil,
			raw("u", `{ "userId" : "u", "event":"E","x":1.0e2, "type":"track","messageId":"m" }`)},
		{"the anonymous id is the key", "/v1/identify", `{"userId":"u","anonymousId":"a","messageId":"m"}`, nil,
			raw("a", `{"userId":"u","anonymousId":"a","messageId":"m","type":"identify"}`)},
		{"null anonymous id, as analytics.js sends", "/v1/p", `{"userId":"u","anonymousId":null,"messageId":"m","type":"page","name":null}`, nil,
			raw("u", `{"userId":"u","anonymousId":null,"messageId":"m","type":"page","name":null}`)},
		{"the path's type wins", "/v1/screen", `{"type":"page","userId":"u","messageId":"m"}`, nil,
			raw("u", `{"type":"screen","userId":"u","messageId":"m"}`)},
		{"a type of a wrong kind", "/v1/screen", `{"type":{"a":1},"userId":"u","messageId":"m"}`, nil,
			raw("u", `{"type":"screen","userId":"u","messageId":"m"}`)},
		{"blank messageId is replaced in its place", "/v1/page", `{"messageId":"","userId":"u","type":"page"}`, nil,
			raw("u", `{"messageId":"id-1","userId":"u","type":"page"}`)},
		{"null messageId", "/v1/page", `{"messageId":null,"userId":"u","type":"page"}`, nil,
			raw("u", `{"messageId":"id-1","userId":"u","type":"page"}`)},
		{"ids that are numbers", "/v1/group", `{"userId":42,"groupId":-7,"messageId":1.5,"type":"group"}`, nil,
			raw("42", `{"userId":"42","groupId":"-7","messageId":"1.5","type":"group"}`)},
		{"alias", "/v1/a", `{"userId":"u","previousId":"a","type":"alias","messageId":"m"}`, nil,
			raw("u", `{"userId":"u","previousId":"a","type":"alias","messageId":"m"}`)},
		{"key in the body", "/v1/t", `{"writeKey":"dev","userId":"u","event":"E","type":"track","messageId":"m"}`, []string{"Authorization", ""},
			raw("u", `{"userId":"u","event":"E","type":"track","messageId":"m"}`)},
		{"key in the body beside a bearer token", "/v1/t", `{"userId":"u","event":"E","type":"track","messageId":"m","writeKey":"dev"}`, []string{"Authorization", "Bearer x"},
			raw("u", `{"userId":"u","event":"E","type":"track","messageId":"m"}`)},
		{"key in the body beside an empty header", "/v1/t", `{"writeKey":"dev","userId":"u","event":"E","type":"track","messageId":"m"}`, []string{"Authorization", "Basic Og=="},
			raw("u", `{"userId":"u","event":"E","type":"track","messageId":"m"}`)},
		{"header without colon", "/v1/page/", `{"userId":"u","type":"page","messageId":"m"}`, []string{"Authorization", "basic ZGV2"},
			raw("u", `{"userId":"u","type":"page","messageId":"m"}`)},
		{"another producer's key, with a password", "/v1/page", `{"userId":"u","type":"page","messageId":"m"}`, []string{"Authorization", "Basic emVicmE6cGFzcw=="},
			raw("u", `{"userId":"u","type":"page","messageId":"m"}`)},
		{"gzip", "/v1/page", gzipped(t, `{"userId":"u","type":"page","messageId":"m"}`), []string{"Content-Encoding", "GZIP"},
			raw("u", `{"userId":"u","type":"page","messageId":"m"}`)},
		{"text/plain", "/v1/page", `{"userId":"u","type":"page","messageId":"m"}`, []string{"Content-Type", "text/plain"},
			raw("u", `{"userId":"u","type":"page","messageId":"m"}`)},
		{"escapes in names and ids", "/v1/page", `{"us\u0065rId":"\u00fc\n","type":"page","messageId":"m"}`, nil,
			raw("ü\n", `{"us\u0065rId":"\u00fc\n","type":"page","messageId":"m"}`)},
		{"a name twice: the last counts", "/v1/page", `{"userId":"x","type":"page","userId":"u","messageId":"m"}`, nil,
			raw("u", `{"type":"page","userId":"u","messageId":"m"}`)},
		{"invalid UTF-8", "/v1/page", "{\"userId\":\"u\xff\",\"type\":\"page\",\"messageId\":\"m\"}", nil,
			raw("u\uFFFD", "{\"userId\":\"u\uFFFD\",\"type\":\"page\",\"messageId\":\"m\"}")},
		{"sentAt", "/v1/page", `{"userId":"u","type":"page","messageId":"m","sentAt":"2026-11-23T12:59:58.5+01:00"}`, nil,
			event.Raw{Key: "u", Payload: []byte(`{"userId":"u","type":"page","messageId":"m","sentAt":"2026-11-23T12:59:58.5+01:00"}`),
				Accepted: noon, SentAt: time.Date(2026, 11, 23, 11, 59, 58, 5e8, time.UTC)}},
		{"sentAt that is no time", "/v1/page", `{"userId":"u","type":"page","messageId":"m","sentAt":"yesterday"}`, nil,
			raw("u", `{"userId":"u","type":"page","messageId":"m","sentAt":"yesterday"}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			w := b.post(c.path, c.body, c.headers...)
			if w.Code != 200 || w.Body.String() != `{"success":true}` {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			decode(t, w)
			if diff := cmp.Diff([]event.Raw{c.want}, b.log.records, cmp.Transformer("text", func(p []byte) string { return string(p) })); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

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

func TestTooManyBytesInFlight(t *testing.T) {
	b := newBench(t, func(c *Config, _ *Deps) { c.MaxEventBytes, c.MaxBatchBytes, c.MaxInFlightBytes = 1<<10, 2<<10, 2<<10 })
	reached, release := make(chan struct{}), make(chan struct{})
	b.log.fail = func(context.Context) error {
		reached <- struct{}{}
		<-release
		return nil
	}
	event := `{"type":"page","userId":"u","properties":{"text":"` + strings.Repeat("x", 700) + `"}}`
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

func TestMethods(t *testing.T) {
	b := newBench(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead} {
		w := b.do(method, "/v1/track", "")
		if w.Code != 405 || w.Header().Get("Allow") != "POST, OPTIONS" || decode(t, w).Error.Code != "method_not_allowed" {
			t.Errorf("%s: %d %v %s", method, w.Code, w.Header(), w.Body)
		}
	}
}

func TestCORS(t *testing.T) {
	const shop, evil = "https://shop.example", "https://evil.example"
	for _, c := range []struct {
		name, origin string
		allowed      []string
		want         string
	}{
		{"every origin", shop, []string{"*"}, "*"},
		{"one origin", shop, []string{shop}, shop},
		{"another origin", evil, []string{shop}, ""},
		{"off", shop, nil, ""},
		{"no browser", "", []string{"*"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(cfg *Config, _ *Deps) { cfg.CORSOrigins = c.allowed })
			w := b.do(http.MethodOptions, "/v1/t", "", "Origin", c.origin,
				"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
			if w.Code != 204 || w.Body.Len() != 0 || w.Header().Get("Access-Control-Allow-Origin") != c.want {
				t.Errorf("preflight: %d %v", w.Code, w.Header())
			}
			asked := ""
			if c.want != "" {
				asked = "authorization,content-type"
			}
			if got := w.Header().Get("Access-Control-Allow-Headers"); got != asked {
				t.Errorf("allowed headers %q, want %q", got, asked)
			}
			if w.Header().Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed")
			}
			// Replies to the call itself carry it too, refusals included, or the page can't read them.
			for _, body := range []string{`{"userId":"u","event":"E"}`, `{}`} {
				w = b.post("/v1/t", body, "Origin", c.origin)
				if got := w.Header().Get("Access-Control-Allow-Origin"); got != c.want {
					t.Errorf("call: %d with %q, want %q", w.Code, got, c.want)
				}
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	b := newBench(t, func(_ *Config, d *Deps) { d.Metrics = reg })
	b.post("/v1/t", `{"userId":"u","event":"E"}`)
	b.post("/v1/track", `{"userId":"u"}`)
	b.post("/v1/batch", `{"batch":[{"type":"page","userId":"u"},{"type":"page"},{"type":"pge"},7]}`)
	b.post("/v1/batch?strict=1", `{"batch":[{"type":"page","userId":"u"},{"type":"page"},{"type":"pge"}]}`)
	b.post("/v1/u/someone@example.com", `{}`)
	b.log.fail = func(context.Context) error { return ErrBusy }
	b.post("/v1/page", `{"userId":"u"}`)
	want := []string{
		"attune_ingest_duration_seconds route=batch: 2 observed",
		"attune_ingest_duration_seconds route=other: 1 observed",
		"attune_ingest_duration_seconds route=page: 1 observed",
		"attune_ingest_duration_seconds route=track: 2 observed",
		"attune_ingest_events_total outcome=accepted type=page: 1",
		"attune_ingest_events_total outcome=accepted type=track: 1",
		"attune_ingest_events_total outcome=failed type=page: 1",
		"attune_ingest_events_total outcome=parked type=page: 1",
		"attune_ingest_events_total outcome=parked type=unknown: 2",
		"attune_ingest_events_total outcome=refused type=track: 1",
		"attune_ingest_events_total outcome=refused type=unknown: 2",
		"attune_ingest_requests_total code=200 route=batch: 1",
		"attune_ingest_requests_total code=200 route=track: 1",
		"attune_ingest_requests_total code=400 route=batch: 1",
		"attune_ingest_requests_total code=400 route=track: 1",
		"attune_ingest_requests_total code=404 route=other: 1",
		"attune_ingest_requests_total code=503 route=page: 1",
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += " " + l.GetName() + "=" + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				line += fmt.Sprintf(": %d observed", h.GetSampleCount())
			} else {
				line += fmt.Sprintf(": %g", m.GetCounter().GetValue())
			}
			got = append(got, line)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	cfg := DefaultConfig()
	cfg.WriteKeys = []WriteKey{{Name: "n", Key: "k"}}
	_, err = Handler(cfg, b.log, b.dead, Deps{Now: time.Now, NewID: func() string { return "" }, Metrics: reg})
	if err == nil {
		t.Error("a second handler on the same registry is no error")
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
