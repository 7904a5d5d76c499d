package ingest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"attune/pipeline/pipetest"
	"attune/stages/ingest/mapping"
)

// Garbage costs no crash at any entrance and ends with a reason: refused, or parked whole. The smaller half of
// it fits the limits of entrances and reaches parsers and mappings.
func TestGarbageEndsWithAReason(t *testing.T) {
	requests := map[string]func(b *bench, kind, body string, header ...string) *httptest.ResponseRecorder{}
	for _, route := range []string{"track", "batch"} {
		requests[route] = func(b *bench, kind, body string, header ...string) *httptest.ResponseRecorder {
			return b.post("/v1/"+route, body, append(header, "Content-Type", kind)...)
		}
	}
	for _, name := range mapping.Shipped() {
		requests[name] = func(b *bench, kind, body string, header ...string) *httptest.ResponseRecorder {
			path, _, known := entranceRequest(name)
			if name == "shopify" {
				known = []string{"X-Shopify-Topic", "orders/create", "X-Shopify-Hmac-Sha256", signedFor("hush", body)}
			}
			return b.post(path, body, append(append(known, header...), "Content-Type", kind)...)
		}
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			kinds := []string{"application/json"}
			switch name {
			case "contacts":
				kinds = append(kinds, "text/csv")
			case "cloudevents":
				kinds = append(kinds, "application/cloudevents+json", "application/cloudevents-batch+json")
			}
			for _, size := range []int{1 << 20, 400 << 10} {
				for what, body := range pipetest.Garbage(size) {
					for _, kind := range kinds {
						b := atEntrances(t, nil)
						w := request(b, kind, body)
						reason := ""
						if len(b.dead.letters) > 0 {
							reason = b.dead.letters[0].Reason
						}
						if a := decode(t, w); a.Error != nil {
							reason = a.Error.Code
						}
						if reason == "" && len(b.log.records) == 0 || w.Code != 200 && w.Code != 400 {
							t.Errorf("%d bytes of %s as %s: %d, reason %q, %d records", size, what, kind, w.Code, reason, len(b.log.records))
						}
					}
				}
			}
		})
	}
}

// A small body that unpacks to a large one is refused by what it unpacks to.
func TestPackedGarbageEndsWithAReason(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := fmt.Fprint(z, strings.Repeat("[", 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range mapping.Shipped() {
		b := atEntrances(t, nil)
		path, _, known := entranceRequest(name)
		w := b.post(path, packed.String(), append(known, "Content-Encoding", "gzip")...)
		if a := decode(t, w); w.Code != 400 || a.Error == nil || a.Error.Code != codePayloadTooLarge {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
