package main

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/event"
	"attune/pipeline/topology"
)

const (
	benchPartitions = 8
	benchBatch      = 500
)

// population is who the events of a feed are about.
type population struct {
	ids        []string
	partitions []int
}

func newPopulation(n int) *population {
	p := &population{ids: make([]string, n), partitions: make([]int, n)}
	for i := range n {
		sum := sha256.Sum256(fmt.Appendf(nil, "bench/%d", i))
		p.ids[i] = strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])) // as normalize makes them
		p.partitions[i] = topology.Partition(p.ids[i], benchPartitions)
	}
	return p
}

// feed makes records of the log, about 300 bytes each, that look like a shop's.
type feed struct {
	*population
	random  *rand.Rand
	choose  func() int
	ordinal uint64
}

// zipf chooses few customers often (exponent 1.1), uniform everyone alike, each once in turn, in order.
func zipf(r *rand.Rand, n int) func() int {
	z := rand.NewZipf(r, 1.1, 1, uint64(n-1))
	return func() int { return int(z.Uint64()) }
}

func uniform(r *rand.Rand, n int) func() int { return func() int { return r.IntN(n) } }

func each(_ *rand.Rand, n int) func() int {
	next := -1
	return func() int { next++; return next % n }
}

func newFeed(p *population, choose func(*rand.Rand, int) func() int) *feed {
	random := rand.New(rand.NewPCG(1, 2))
	return &feed{population: p, random: random, choose: choose(random, len(p.ids))}
}

// next is the next record: its partition and the event, accepted now.
func (f *feed) next(now time.Time) (int, event.Event) {
	who := f.choose()
	f.ordinal++
	name := event.OrderCompleted
	switch n := f.random.IntN(100); {
	case n < 75:
		name = "Product Viewed"
	case n < 90:
		name = "Product Added"
	}
	p := f.partitions[who]
	price := 10 + f.random.IntN(90)
	properties := fmt.Sprintf(`{"product_id":"sku-%04d","category":"sneakers","price":%d.99,"quantity":1,"cart_id":"c%d"`, f.random.IntN(1000), price, who)
	if name == event.OrderCompleted {
		properties += fmt.Sprintf(`,"revenue":%d.99`, price)
	}
	return p, event.Event{
		ID: fmt.Sprintf("%016x", f.random.Uint64()), Type: event.Track, Name: name, Profile: f.ids[who], User: fmt.Sprintf("customer-%d", who),
		Occurred: event.At(now), Accepted: event.At(now), Properties: event.Object(properties + "}"),
		Source: event.Source{Name: fmt.Sprintf("raw.%d", p), Ordinal: f.ordinal},
	}
}

// span is a stretch of a stream that was filled for one measurement.
type span struct {
	first  uint64   // no record of it is before that sequence
	last   []uint64 // of each partition; 0: none
	counts []int
	events int
}

// call is the next event as a producer sends it, about as long.
func (f *feed) call(now time.Time) (user string, payload []byte) {
	_, e := f.next(now)
	return e.User, fmt.Appendf(nil, `{"type":"track","messageId":"%s","userId":"%s","event":"%s","timestamp":"%s","properties":%s,"context":{"locale":"en-GB","page":{"path":"/shoes"}}}`,
		e.ID, e.User, e.Name, e.Occurred, e.Properties)
}

// fill appends n records to a stream <name>.*, whose only writer it is.
func (f *feed) fill(ctx context.Context, js jetstream.JetStream, name string, n int) (span, error) {
	now := time.Now()
	return fill(ctx, js, name, n, func(int) (int, event.Event) { return f.next(now) })
}

func fill(ctx context.Context, js jetstream.JetStream, name string, n int, next func(i int) (partition int, e event.Event)) (span, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return span{}, err
	}
	s := span{first: stream.CachedInfo().State.LastSeq + 1, last: make([]uint64, benchPartitions), counts: make([]int, benchPartitions), events: n}
	confirmed, err := newTally(js.Conn())
	if err != nil {
		return s, err
	}
	defer confirmed.close()
	for start := 0; start < n; start += 10 * benchBatch {
		end := min(start+10*benchBatch, n)
		confirmed.expect(end - start)
		for i := start; i < end; i++ {
			p, e := next(i)
			data, err := e.Encode()
			if err != nil {
				return s, err
			}
			if err := js.Conn().PublishMsg(&nats.Msg{Subject: topology.Subject(name, p), Reply: confirmed.reply, Data: data}); err != nil {
				return s, err
			}
			s.last[p] = s.first + uint64(i)
			s.counts[p]++
		}
		if err := confirmed.wait(ctx); err != nil {
			return s, fmt.Errorf("fill %s: %w", name, err)
		}
	}
	return s, nil
}

// read waits until a reader has acknowledged all of the span.
func (s span) read(ctx context.Context, js jetstream.JetStream, stream, reader string) error {
	for p, last := range s.last {
		for last > 0 {
			consumer, err := js.Consumer(ctx, stream, topology.Durable(reader, p))
			if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) { // which is being claimed at the moment
				return fmt.Errorf("wait for reader %s of %s: %w", reader, stream, err)
			}
			if err == nil && consumer.CachedInfo().AckFloor.Stream >= last {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
