package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

const (
	logBatch = 256
	// logAttempts is how often reading begins again without a single record in between.
	logAttempts = 5
	// logPatience is how long no record comes before it is looked up whether there are any left.
	logPatience = 5 * time.Second
)

// logReader reads the records of one partition in order.
type logReader struct {
	js        jetstream.JetStream
	subject   string
	next, end uint64
	failures  int
	consumer  string
	puller    *bus.Puller
}

func newLogReader(js jetstream.JetStream, partition int, after, upTo uint64) *logReader {
	return &logReader{js: js, subject: topology.Subject(topology.Events, partition), next: after + 1, end: upTo}
}

// batch is what comes next; nil at the end.
func (l *logReader) batch(ctx context.Context) ([]bus.Delivery, error) {
	for l.next <= l.end {
		if l.puller == nil {
			if more, err := l.open(ctx); err != nil || !more {
				return nil, err
			}
		}
		wait, cancel := context.WithTimeout(ctx, logPatience)
		got, err := l.puller.Next(wait, logBatch)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded): // the last one may have been erased meanwhile
			l.close()
			continue
		case err != nil:
			if l.failures++; l.failures >= logAttempts {
				return nil, fmt.Errorf("read %s: %w", l.subject, err)
			}
			l.close()
			continue
		}
		l.failures = 0
		for i, d := range got {
			if d.Sequence > l.end {
				got = got[:i]
				break
			}
		}
		l.next = l.end + 1
		if len(got) > 0 && got[len(got)-1].Sequence < l.end {
			l.next = got[len(got)-1].Sequence + 1
		}
		if len(got) > 0 {
			return got, nil
		}
	}
	return nil, nil
}

// open begins to read, unless nothing is left.
func (l *logReader) open(ctx context.Context) (more bool, err error) {
	last, err := bus.LastAtLeader(ctx, l.js.Conn(), topology.Events, l.subject) // what is not there was erased
	if err != nil {
		return false, fmt.Errorf("look up the last record of %s: %w", l.subject, err)
	}
	if last < l.next {
		return false, nil
	}
	l.end = min(l.end, last)
	consumer, err := l.js.CreateConsumer(ctx, topology.Events, jetstream.ConsumerConfig{
		FilterSubject: l.subject, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: l.next,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return false, fmt.Errorf("read %s: %w", l.subject, err)
	}
	l.consumer = consumer.CachedInfo().Name
	if l.puller, err = bus.NewPuller(l.js.Conn(), topology.Events, l.consumer, logBatch); err != nil {
		return false, fmt.Errorf("read %s: %w", l.subject, err)
	}
	return true, nil
}

// close ends the reading; closing twice is fine.
func (l *logReader) close() {
	if l.puller == nil {
		return
	}
	l.puller.Close()
	l.puller = nil
	bus.Discard(context.Background(), l.js, topology.Events, l.consumer)
}
