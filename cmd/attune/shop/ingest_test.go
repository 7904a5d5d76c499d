package shop

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/ingest"
)

// journal stores what ingest takes in.
type journal struct {
	mu     sync.Mutex
	taken  int
	parked []string
	enough chan struct{} // closed at 100
}

func (j *journal) Append(_ context.Context, records []event.Raw) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := j.taken
	if j.taken += len(records); before < 100 && j.taken >= 100 {
		close(j.enough)
	}
	return nil
}

func (j *journal) Park(_ context.Context, letters []pipeline.DeadLetter) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range letters {
		j.parked = append(j.parked, l.Reason+": "+string(l.Payload))
	}
	return nil
}

// The real ingest takes all that the shop sends.
func TestIngestTakesItAll(t *testing.T) {
	j := &journal{enough: make(chan struct{})}
	c := ingest.DefaultConfig()
	c.WriteKeys = []ingest.WriteKey{{Name: "shop", Key: "dev"}}
	handler, err := ingest.Handler(c, j, j, ingest.Deps{Now: time.Now, NewID: uuid.NewString})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Config{URL: server.URL, WriteKey: "dev", Seed: 1, Rate: 500}) }()
	select {
	case <-j.enough:
	case err := <-done:
		t.Fatal("ended early: ", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(j.parked) > 0 {
		t.Errorf("%d events were parked: %s", len(j.parked), j.parked[0])
	}
}
