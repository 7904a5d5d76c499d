package bus

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// deletionPause is how long what was read may stay: one purge for everything that was acknowledged meanwhile,
// off the messages' way. A purge per batch costs more than the batch.
const deletionPause = 2 * time.Second

// deletion purges what a topic's only reader has acknowledged. The acknowledgement comes first, so a reader
// that begins anew misses nothing.
type deletion struct {
	js      jetstream.JetStream
	stream  string
	subject string
	log     *slog.Logger

	kept         uint64 // the lowest sequence that must stay; 0: none
	acknowledged atomic.Uint64
	purged       uint64
	ending       context.CancelFunc
	work         sync.WaitGroup
}

func newDeletion(js jetstream.JetStream, stream, subject string, log *slog.Logger) *deletion {
	return &deletion{js: js, stream: stream, subject: subject, log: log}
}

// keep asks the session what it will come back to.
func (d *deletion) keep(s Session) {
	if keeper, ok := s.(Keeper); ok {
		d.kept = keeper.Kept()
	}
}

// upTo notes an acknowledged sequence.
func (d *deletion) upTo(sequence uint64) {
	if d.kept > 0 {
		sequence = min(sequence, d.kept-1)
	}
	d.acknowledged.Store(sequence)
}

func (d *deletion) start(ctx context.Context) {
	ctx, d.ending = context.WithCancel(ctx)
	d.work.Add(1)
	go func() {
		defer d.work.Done()
		tick := time.NewTimer(rand.N(deletionPause)) // not all topics at the same time
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				tick.Reset(deletionPause)
			case <-ctx.Done():
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
				defer cancel()
				d.purge(last)
				return
			}
			d.purge(ctx)
		}
	}()
}

// stop purges a last time and ends.
func (d *deletion) stop() {
	d.ending()
	d.work.Wait()
}

func (d *deletion) purge(ctx context.Context) {
	upTo := d.acknowledged.Load()
	if upTo <= d.purged {
		return
	}
	stream, err := d.js.Stream(ctx, d.stream)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(d.subject), jetstream.WithPurgeSequence(upTo+1))
	}
	if err != nil { // the next purge takes it along
		d.log.Debug("delete what was read", "subject", d.subject, "error", err)
		return
	}
	d.purged = upTo
}
