package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"attune/pipeline/topology"
)

// rawRelay is what JetStream itself can relay, and the baseline of what is built on it: each partition is read in
// order in batches, published to another stream under message ids, confirmed as a group, and acknowledged as a
// whole. It does nothing else, checks nothing, and knows beforehand how much there is: nothing correct is faster.
//
// It reads the span from <stream>.<p> and publishes to <out>.<p>.
func rawRelay(ctx context.Context, js jetstream.JetStream, stream, out string, s span) (figure, error) {
	var relays []*partitionRelay
	for p, n := range s.counts {
		name := fmt.Sprintf("rawrelay-%d", p)
		if _, err := js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Name: name, FilterSubject: topology.Subject(stream, p), AckPolicy: jetstream.AckAllPolicy, AckWait: time.Hour, MaxAckPending: -1,
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.first,
		}); err != nil {
			return figure{}, err
		}
		defer js.DeleteConsumer(ctx, stream, name)
		relays = append(relays, &partitionRelay{
			conn: js.Conn(), pull: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + name, out: topology.Subject(out, p), id: strconv.Itoa(p) + "-", left: n,
		})
	}
	watch := startWatch()
	var all errgroup.Group
	for _, r := range relays {
		all.Go(func() error { return r.run(ctx) })
	}
	if err := all.Wait(); err != nil {
		return figure{}, fmt.Errorf("raw relay: %w", err)
	}
	return watch.perSecond(s.events), nil
}

// relayOf takes the feed's next n records through the raw relay.
func relayOf(tb testing.TB, js jetstream.JetStream, f *feed, n int) figure {
	freshStream(tb, js, "IN")
	freshStream(tb, js, "OUT")
	filled, err := f.fill(tb.Context(), js, "IN", n)
	if err != nil {
		tb.Fatal(err)
	}
	got, err := rawRelay(tb.Context(), js, "IN", "OUT", filled)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

// partitionRelay relays one partition.
type partitionRelay struct {
	conn    *nats.Conn
	pull    string // where to ask for messages
	out, id string
	left    int
}

func (r *partitionRelay) run(ctx context.Context) error {
	confirmed, err := newTally(r.conn)
	if err != nil {
		return err
	}
	defer confirmed.close()
	inbox := r.conn.NewInbox()
	in := make(chan *nats.Msg, 4*benchBatch)
	sub, err := r.conn.ChanSubscribe(inbox, in)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	open, sequence := 0, 0
	for r.left > 0 {
		for open < min(2*benchBatch, r.left) { // between one and two batches are on their way
			if err := r.conn.PublishRequest(r.pull, inbox, fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, benchBatch, time.Minute)); err != nil {
				return err
			}
			open += benchBatch
		}
		batch, err := gather(ctx, in)
		if err != nil {
			return err
		}
		open, r.left = open-len(batch), r.left-len(batch)
		confirmed.expect(len(batch))
		for _, m := range batch {
			sequence++ // as good as the stream's: unique, and known without reading the reply subject
			if err := r.conn.PublishMsg(&nats.Msg{
				Subject: r.out, Reply: confirmed.reply, Data: m.Data, Header: nats.Header{jetstream.MsgIDHeader: {r.id + strconv.Itoa(sequence)}},
			}); err != nil {
				return err
			}
		}
		if err := confirmed.wait(ctx); err != nil {
			return err
		}
		if err := r.conn.Publish(batch[len(batch)-1].Reply, []byte("+ACK")); err != nil {
			return err
		}
	}
	return nil
}

// gather waits for a message and takes what is there then, at most a batch.
func gather(ctx context.Context, in <-chan *nats.Msg) ([]*nats.Msg, error) {
	batch := make([]*nats.Msg, 0, benchBatch)
	select {
	case m := <-in:
		batch = append(batch, m)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for len(batch) < benchBatch {
		select {
		case m := <-in:
			batch = append(batch, m)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// tally counts the broker's confirmations of a group of messages, without reading them further than to see that
// none is a refusal. One goroutine at a time expects, publishes and waits.
type tally struct {
	reply   string
	sub     *nats.Subscription
	due     atomic.Int64
	refusal atomic.Pointer[string]
	all     chan struct{}
}

func newTally(conn *nats.Conn) (*tally, error) {
	t := &tally{reply: conn.NewInbox(), all: make(chan struct{}, 1)}
	var err error
	if t.sub, err = conn.Subscribe(t.reply, t.take); err != nil {
		return nil, err
	}
	return t, t.sub.SetPendingLimits(-1, -1)
}

func (t *tally) take(m *nats.Msg) {
	if len(m.Data) < 3 || m.Data[2] == 'e' { // {"error": …, or nothing at all where {"stream": … should be
		refusal := string(m.Data) + m.Header.Get("Status")
		t.refusal.CompareAndSwap(nil, &refusal)
	}
	if t.due.Add(-1) == 0 {
		t.all <- struct{}{}
	}
}

// expect is called before the first of n messages is published, with reply as their reply subject.
func (t *tally) expect(n int) { t.due.Store(int64(n)) }

func (t *tally) wait(ctx context.Context) error {
	select {
	case <-t.all:
	case <-ctx.Done():
		return ctx.Err()
	}
	if refusal := t.refusal.Load(); refusal != nil {
		return errors.New("the broker refused a message: " + *refusal)
	}
	return nil
}

func (t *tally) close() { _ = t.sub.Unsubscribe() }
