package ingest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
