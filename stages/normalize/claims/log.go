package claims

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// Log is the claims of all writers as one process knows them. It is safe for concurrent use; make one for a process, and
// close it.
type Log struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	stop   context.CancelFunc
	ended  chan struct{}

	mu       sync.RWMutex
	index    index
	position uint64        // everything up to that sequence is in the index
	moved    chan struct{} // closed, and made anew, when the position moves
}

// Open begins to read the log. The stream must exist; how long it keeps its messages decides how long an id is remembered.
func Open(ctx context.Context, js jetstream.JetStream, log *slog.Logger) (*Log, error) {
	stream, err := js.Stream(ctx, topology.Duplicates)
	if err != nil {
		return nil, fmt.Errorf("open the claims of event ids: %w", err)
	}
	kept := stream.CachedInfo().Config.MaxAge
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &Log{
		js: js, stream: stream, stop: stop, ended: make(chan struct{}),
		index: index{age: kept - kept/(generations+1)}, moved: make(chan struct{}),
	}
	go func() {
		defer close(l.ended)
		bus.Follow(reading, js, topology.Duplicates, 0, log, l.take)
	}()
	return l, nil
}

// Close ends the reading. Nobody may wait for the log any more.
func (l *Log) Close() {
	l.stop()
	<-l.ended
}

// Len is the number of ids that are remembered.
func (l *Log) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.len()
}

// CatchUp waits until everything is known that was claimed before the call.
func (l *Log) CatchUp(ctx context.Context) error {
	stream, err := bus.LookUpStream(ctx, l.js, topology.Duplicates)
	if err != nil {
		return fmt.Errorf("catch up with the claims of event ids: %w", err)
	}
	now := stream.CachedInfo().State
	if now.Msgs == 0 {
		return nil
	}
	return l.reach(ctx, now.LastSeq)
}

// Find returns the claims that own the ids, of those that have one.
func (l *Log) Find(ctx context.Context, keys []Key) (map[Key]Claim, error) {
	places := map[Key]place{}
	l.mu.RLock()
	for _, k := range keys {
		if p := l.index.find(k); p != 0 {
			places[k] = p
		}
	}
	l.mu.RUnlock()
	return l.claims(ctx, places)
}

// claims reads what lies at places. A claim that is gone owns nothing any more.
func (l *Log) claims(ctx context.Context, places map[Key]place) (map[Key]Claim, error) {
	found := make(map[Key]Claim, len(places))
	messages := map[uint64][]Claim{}
	for k, p := range places {
		claims, ok := messages[p.sequence()]
		if !ok {
			m, err := l.stream.GetMsg(ctx, p.sequence())
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, fmt.Errorf("read claim %d of event ids: %w", p.sequence(), err)
			}
			if err == nil {
				if claims, err = decode(m.Data); err != nil {
					return nil, fmt.Errorf("claim %d of event ids: %w", p.sequence(), err)
				}
			}
			messages[p.sequence()] = claims
		}
		if p.number() < len(claims) {
			found[k] = claims[p.number()]
		}
	}
	return found, nil
}

// reach waits until the index holds everything up to a sequence.
func (l *Log) reach(ctx context.Context, sequence uint64) error {
	for {
		l.mu.RLock()
		position, moved := l.position, l.moved
		l.mu.RUnlock()
		if position >= sequence {
			return nil
		}
		select {
		case <-moved:
		case <-l.ended:
			return errors.New("the claims of event ids are closed")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take notes the claims of one message.
func (l *Log) take(d bus.Delivery) error {
	claims, err := decode(d.Data)
	if err != nil {
		return fmt.Errorf("claim %d of event ids: %w", d.Sequence, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range claims {
		l.index.add(claims[i].Key, placeOf(d.Sequence, i), d.Stored)
	}
	l.position = d.Sequence
	close(l.moved)
	l.moved = make(chan struct{})
	return nil
}

// Writer appends claims. It is for one goroutine; make one for each, and close it.
type Writer struct {
	log  *Log
	wave *bus.Wave
}

// Writer makes one.
func (l *Log) Writer() (*Writer, error) {
	wave, err := bus.NewWave(l.js.Conn())
	if err != nil {
		return nil, fmt.Errorf("write claims of event ids: %w", err)
	}
	return &Writer{log: l, wave: wave}, nil
}

// Close lets go of the connection, which stays the caller's.
func (w *Writer) Close() { w.wave.Close() }

// Find is the log's.
func (w *Writer) Find(ctx context.Context, keys []Key) (map[Key]Claim, error) {
	return w.log.Find(ctx, keys)
}

// Claim stores claims of different ids and returns those that own the ids: these ones, or of an id that another call
// claimed before, its claim. After an error it is unknown which of them are stored.
func (w *Writer) Claim(ctx context.Context, claims []Claim) (map[Key]Claim, error) {
	owners := make(map[Key]Claim, len(claims))
	if len(claims) == 0 {
		return owners, nil
	}
	for start := 0; start < len(claims); start += maxClaims {
		part := claims[start:min(start+maxClaims, len(claims))]
		if _, err := w.wave.Publish(&nats.Msg{Subject: topology.Duplicates, Data: encode(part)}); err != nil {
			_, _ = w.wave.Wait(ctx) // end the round; the first error says what matters
			return nil, fmt.Errorf("claim %d event ids: %w", len(claims), err)
		}
	}
	acks, err := w.wave.Wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("claim %d event ids: %w", len(claims), err)
	}
	for _, a := range acks {
		if err := w.log.reach(ctx, a.Sequence); err != nil {
			return nil, fmt.Errorf("claim %d event ids: %w", len(claims), err)
		}
	}
	before := map[Key]place{}
	w.log.mu.RLock()
	for i, c := range claims {
		owners[c.Key] = c
		if p := w.log.index.find(c.Key); p != placeOf(acks[i/maxClaims].Sequence, i%maxClaims) {
			before[c.Key] = p
		}
	}
	w.log.mu.RUnlock()
	others, err := w.log.claims(ctx, before)
	if err != nil {
		return nil, err
	}
	for k, c := range others {
		owners[k] = c
	}
	return owners, nil
}
