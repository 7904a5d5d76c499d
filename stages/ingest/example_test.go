package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/ingest"
)

// printer is a log that prints what it would store.
type printer struct{}

func (printer) Append(_ context.Context, records []event.Raw) error {
	for _, r := range records {
		fmt.Printf("%s %s\n", r.Key, r.Payload)
	}
	return nil
}

func (printer) Park(_ context.Context, letters []pipeline.DeadLetter) error {
	for _, l := range letters {
		fmt.Printf("parked, %s: %s\n", l.Reason, l.Payload)
	}
	return nil
}

func ExampleHandler() {
	cfg := ingest.DefaultConfig()
	cfg.WriteKeys = []ingest.WriteKey{{Name: "shop-web", Key: "dev"}}
	handler, err := ingest.Handler(cfg, printer{}, printer{}, ingest.Deps{
		Now:   time.Now,
		NewID: func() string { return "0191f6c2-0000-7000-8000-000000000001" },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	request := httptest.NewRequest(http.MethodPost, "/v1/track",
		strings.NewReader(`{"anonymousId":"a-1","event":"Product Viewed","properties":{"sku":"42"}}`))
	request.SetBasicAuth("dev", "")
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	fmt.Println(response.Code, response.Body)
	// Output:
	// a-1 {"anonymousId":"a-1","event":"Product Viewed","properties":{"sku":"42"},"type":"track","messageId":"0191f6c2-0000-7000-8000-000000000001"}
	// 200 {"success":true}
}
