package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// keepBeating sends a heartbeat at each beat, whether or not the one before is confirmed: one answer that is lost, as while a
// cluster elects its leaders, must not keep the next from being asked for.
func (w *Worker) keepBeating(ctx context.Context) {
	var beats sync.WaitGroup
	defer beats.Wait()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		w.expire() // no timer runs while the machine sleeps
		w.mu.Unlock()
		beats.Go(func() {
			if err := w.beat(ctx); err != nil && ctx.Err() == nil {
				w.config.Log.Warn("heartbeat not confirmed", "worker", w.member.ID, "error", err)
			}
		})
	}
}

// beat stores the heartbeat. The client's bucket can't renew a key with its time to live, so it is published.
// The lease counts from before it was sent: the broker's own count begins later.
func (w *Worker) beat(ctx context.Context) error {
	w.mu.Lock()
	m := w.member
	m.Leaving = w.leaving
	w.mu.Unlock()
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, TTL)
	defer cancel()
	sent := time.Now()
	message := &nats.Msg{Subject: "$KV." + topology.Leases + "." + memberPrefix + m.ID, Data: data, Header: nats.Header{}}
	if _, err := w.config.JetStream.PublishMsg(ctx, message, jetstream.WithMsgTTL(TTL)); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	w.confirm(sent)
	return nil
}

func (w *Worker) confirm(sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || since(sent) >= term || sent.Before(w.beaten) {
		return
	}
	w.expire()
	if w.beaten.IsZero() {
		w.leases++
		w.notify()
	}
	w.beaten = sent
	if w.expiry == nil {
		w.expiry = time.AfterFunc(term, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.expire()
		})
	}
	w.expiry.Reset(term - since(sent))
}

// expire lets everything go when the newest heartbeat is too old. The caller holds the lock.
func (w *Worker) expire() {
	if !w.beaten.IsZero() && since(w.beaten) >= term {
		w.config.Log.Warn("no heartbeat was confirmed in time, letting all topics go", "worker", w.member.ID, "silent", since(w.beaten))
		w.lose()
	}
}

// lease numbers the lease that is held; 0: it is lost. The caller holds the lock.
func (w *Worker) lease() int {
	w.expire()
	if w.beaten.IsZero() {
		return 0
	}
	return w.leases
}

// lose lets everything go. The caller holds the lock.
func (w *Worker) lose() {
	w.beaten = time.Time{}
	w.metrics.own(nil)
	if w.expiry != nil {
		w.expiry.Stop()
	}
	for _, u := range w.units {
		u.revoke(ErrLost)
	}
	w.notify()
}

// since is the time that has passed by the steady clock or by that on the wall, whichever says more: one stands
// still while the machine sleeps, the other can be set.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}
