package ingest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
)

// What chunks take is bounded by what is kept in them, and what is kept stays as it is.
func TestChunks(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 300, 3000, 40 << 10, 400 << 10} {
		random := rand.New(rand.NewPCG(1, uint64(most)))
		var (
			c              chunks
			kept, want     [][]byte
			array          *byte // the first of the last chunk
			payloads, held int
		)
		for range 200 {
			payload := bytes.Repeat([]byte{byte(random.IntN(256))}, 1+random.IntN(most))
			kept, want = append(kept, c.keep(payload)), append(want, bytes.Clone(payload))
			if first := &c.last[0]; first != array {
				array, held = first, held+cap(c.last)
			}
			payloads += len(payload)
			clear(payload)
		}
		if c.size != held || c.size > 2*payloads+firstChunk+largestChunk {
			t.Errorf("payloads up to %d: %d bytes are counted, the chunks have %d for %d of payloads", most, c.size, held, payloads)
		}
		for i := range want {
			if !bytes.Equal(kept[i], want[i]) || cap(kept[i]) != len(kept[i]) {
				t.Fatalf("payloads up to %d: the %dth has changed, or has room that is another's", most, i)
			}
		}
	}
}

// A batch is counted with what its context makes of it, as long as it is worked on.
func TestExpansionIsInFlight(t *testing.T) {
	var body, filled string
	body = `{"context":{"text":"` + strings.Repeat("x", 3000) + `"},"batch":[` + strings.TrimSuffix(strings.Repeat(`{"type":"page","userId":"u"},`, 2500), ",") + `]}`
	filled = `{"batch":[` + strings.TrimSuffix(strings.Repeat(`{"type":"page","userId":"u","messageId":"m"},`, 100), ",") + `]}`
	var in []int64
	b := newBench(t, nil)
	h, ok := b.Handler.(*handler)
	if !ok {
		t.Fatalf("%T", b.Handler)
	}
	b.log.fail = func(context.Context) error {
		in = append(in, h.bytes.Load())
		return nil
	}
	if w := b.post("/v1/batch", body); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	become := 0
	for _, p := range b.payloads() {
		become += len(p)
	}
	if low, high := int64(len(body)+become), int64(len(body)+become+become/2); in[0] < low || in[0] > high {
		t.Errorf("a batch of %d bytes becomes %d: %d are counted", len(body), become, in[0])
	}
	if b.post("/v1/batch", filled); in[1] != int64(len(filled)) {
		t.Errorf("a batch of %d bytes that stays as it is: %d are counted", len(filled), in[1])
	}
	if left := h.bytes.Load(); left != 0 {
		t.Errorf("%d bytes stay behind", left)
	}
}

// Batches that become large are told to come back while there are others, and one alone gets in.
func TestExpansionWaitsForRoom(t *testing.T) {
	b := newBench(t, func(c *Config, _ *Deps) { c.MaxEventBytes, c.MaxBatchBytes, c.MaxInFlightBytes = 1<<10, 8<<10, 32<<10 })
	event := `{"type":"page","userId":"u"},`
	large := `{"context":{"text":"` + strings.Repeat("x", 500) + `"},"batch":[` + strings.TrimSuffix(strings.Repeat(event, 100), ",") + `]}`
	small := `{"type":"page","userId":"u"}`
	reached, release := make(chan struct{}), make(chan struct{})
	var waits atomic.Bool
	waits.Store(true)
	b.log.fail = func(context.Context) error {
		if waits.CompareAndSwap(true, false) { // the first only
			close(reached)
			<-release
		}
		return nil
	}
	done := make(chan int)
	go func() { done <- b.post("/v1/page", small).Code }()
	<-reached
	if w := b.post("/v1/batch", large); w.Code != 429 || w.Header().Get("Retry-After") != "1" || decode(t, w).Error.Code != "too_many_requests" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	close(release)
	if code := <-done; code != 200 {
		t.Errorf("the small one: %d", code)
	}
	if w := b.post("/v1/batch", large); w.Code != 200 || len(b.log.records) != 101 {
		t.Errorf("alone: %d %s, %d records", w.Code, w.Body, len(b.log.records))
	}
}
