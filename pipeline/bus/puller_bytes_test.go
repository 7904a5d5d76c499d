package bus

import (
	"testing"

	"github.com/nats-io/nats.go"
)

// What is on its way to a connection is bounded by bytes from the first request on, and small messages come in whole batches.
func TestPullerAsksForNoMoreThanItsBytes(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	const count, large = 300, 64 << 10
	w := newWave(t, conn)
	for i := range 2 * count {
		size := large
		if i >= count {
			size = 1 << 10
		}
		publish(t, w, &nats.Msg{Subject: "LOG.0", Data: make([]byte, size)})
	}
	if _, err := w.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ asked, most int }{
		"as it says": {asked: 256 << 10, most: 256 << 10},
		"by default": {most: batchBytes},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := OpenConsumer(t.Context(), js, Consumer{
				Stream: "LOG", Subject: "LOG.0", Durable: "reader-0", From: 1, Batch: 64, BatchBytes: c.asked,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for got := 0; got < 2*count; {
				batch, err := p.Next(t.Context(), p.Batch())
				if err != nil {
					t.Fatal(err)
				}
				if got += len(batch); got < count && p.open*large > 2*c.most {
					t.Fatalf("after %d messages %d more of %d bytes are asked for, want %d bytes at most", got, p.open, large, 2*c.most)
				}
			}
			if p.Batch() != 64 {
				t.Errorf("%d small messages are asked for at a time, want 64", p.Batch())
			}
		})
	}
}
