package ingest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"attune/pipeline/event"
)

// nowhere is a Log that stores nothing: what is left is ingest's own time.
type nowhere struct{}

func (nowhere) Append(context.Context, []event.Raw) error { return nil }

// BenchmarkBatch100 takes batches of 100 events of 300 bytes, as a server-side client sends them, and the same
// with a shared context that has to be written into each.
func BenchmarkBatch100(b *testing.B) {
	item := func(i int) string {
		head := fmt.Sprintf(`{"type":"track","event":"Product Viewed","userId":"user-%05d","messageId":"node-next-%036d",`+
			`"timestamp":"2026-11-23T15:20:50.592Z","properties":{"product_id":"sku-%04d","category":"sneakers","price":89.5,"note":"`, i, i, i)
		const tail = `"},"context":{"library":{"name":"bench"}}}`
		return head + strings.Repeat("x", 300-len(head)-len(tail)) + tail
	}
	var items []string
	for i := range 100 {
		items = append(items, item(i))
	}
	list := strings.Join(items, ",")
	for _, c := range []struct{ name, body string }{
		{"as-sent", `{"writeKey":"dev","sentAt":"2026-11-23T15:20:50.600Z","batch":[` + list + `]}`},
		{"shared-context", `{"writeKey":"dev","context":{"ip":"1.2.3.4","locale":"de-CH"},"batch":[` + list + `]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newBench(b, nil).Handler.(*handler)
			h.log = nowhere{}
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodPost, "/v1/batch", strings.NewReader(c.body))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatalf("%d %s", w.Code, w.Body)
				}
			}
			b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
		})
	}
}
