package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// SubscriberConfig says what a Subscriber reads and how.
type SubscriberConfig struct {
	Stream string
	// Reader names the durable consumers: <reader>-<last token of the topic>.
	Reader string
	// Open claims a topic; nil: a WaveSession.
	Open Opener
	// Batch is the most messages taken for one commit. Default 500.
	Batch int
	// BatchBytes is about how large a batch becomes at most, by the size of the latest messages. Default 512 KiB.
	BatchBytes int
	// Pace lets one batch begin in each such time, unless the one before was full: when messages come faster than that, they
	// share a batch and its requests. The times are the wall clock's multiples of Pace, later by Phase, so that topics, and
	// readers of one pace, work in step: what one reader's topics hand on at the same time, the next one takes together.
	// After a pause a batch begins at once. Default: none; a batch is what is there.
	Pace, Phase time.Duration
	// Whole hands a batch over as one Watermill message, for handlers that go through it by HandOver.Each: the
	// Router's work for a message costs more than many a handler's own. Default: one message at a time.
	Whole bool
	// Delete purges a topic's messages soon after they are acknowledged, but for what a Keeper comes back to: this reader is their
	// only one.
	Delete bool
	// Volatile lets the broker forget what was acknowledged when it restarts: for readers that know what they have done, or
	// whose stream holds little else than what is to be read. The lag of such a reader is unknown from then until it reads
	// again.
	Volatile bool
	Log      *slog.Logger
}

// Subscriber hands the messages of a JetStream subject to Watermill's Router in order, one at a time, and
// acknowledges them in batches once its session has committed them. It implements message.Subscriber.
//
// A Nack hands the same message over again after a growing pause, so order is kept. The Router starts a
// goroutine for each message; since the next one is handed over only after the Ack, there is one at a time
// per topic.
type Subscriber struct {
	config SubscriberConfig
	owner  Owner // nil: every topic is always this process's
	conn   *nats.Conn
	js     jetstream.JetStream

	stop    context.CancelFunc
	stopped context.Context
	topics  sync.WaitGroup
}

var _ message.Subscriber = (*Subscriber)(nil)

// NewSubscriber prepares a subscriber on the connection, which stays the caller's.
func NewSubscriber(js jetstream.JetStream, config SubscriberConfig) *Subscriber {
	if config.Batch == 0 {
		config.Batch = 500
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	s := &Subscriber{config: config, conn: js.Conn(), js: js}
	if s.config.Open == nil {
		s.config.Open = func(context.Context, string) (Session, error) {
			wave, err := NewWave(s.conn)
			if err != nil {
				return nil, err
			}
			return NewWaveSession(wave), nil
		}
	}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s
}

// OwnedBy lets the owner say when a topic is this process's to read, which else it always is. Call it before Subscribe.
func (s *Subscriber) OwnedBy(owner Owner) *Subscriber {
	s.owner = owner
	return s
}

// Subscribe starts handing over the messages of one subject of the stream, such as EVENTS.3. The channel is
// closed when ctx ends or the subscriber is closed.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	if s.stopped.Err() != nil {
		return nil, errors.New("subscribe: the subscriber is closed")
	}
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.stopped, cancel)
	out := make(chan *message.Message)
	s.topics.Add(1)
	go func() {
		defer s.topics.Done()
		defer close(out)
		defer cancel()
		defer unlink()
		s.hold(ctx, topic, out)
	}()
	return out, nil
}

// Close stops all topics and waits for the commits that are under way. Closing twice is fine.
func (s *Subscriber) Close() error {
	s.stop()
	s.topics.Wait()
	return nil
}

// hold claims the topic again and again while it is this process's, until ctx ends.
func (s *Subscriber) hold(ctx context.Context, topic string, out chan<- *message.Message) {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		held, release, err := Own(ctx, s.owner, topic)
		if err == nil {
			began := time.Now()
			err = s.serve(held, topic, out)
			lost := context.Cause(held) // before release, which ends it too
			release()
			if ctx.Err() == nil && lost != nil {
				s.config.Log.Debug("topic let go", "topic", topic, "reader", s.config.Reader, "cause", lost)
				pause.Reset()
				continue
			}
			if time.Since(began) > 10*time.Second {
				pause.Reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		wait := pause.NextBackOff()
		s.config.Log.Warn("topic lost, claiming it again", "topic", topic, "reader", s.config.Reader, "error", err, "pause", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (s *Subscriber) serve(ctx context.Context, topic string, out chan<- *message.Message) error {
	session, err := s.config.Open(ctx, topic)
	if err != nil {
		return fmt.Errorf("claim %s: %w", topic, err)
	}
	defer session.Close()
	durable := s.config.Reader + "-" + topic[strings.LastIndexByte(topic, '.')+1:]
	puller, err := OpenConsumer(ctx, s.js, Consumer{
		Stream: s.config.Stream, Subject: topic, Durable: durable, From: session.Start(), Batch: s.config.Batch, BatchBytes: s.config.BatchBytes, Volatile: s.config.Volatile,
	})
	if err != nil {
		return err
	}
	defer puller.Close()
	done := newDeletion(s.js, s.config.Stream, topic, s.config.Log)
	if s.config.Delete {
		done.start(ctx)
		defer done.stop()
	}
	var earliest time.Time
	for {
		full := puller.Batch()
		batch, err := s.next(ctx, session, puller, earliest)
		if err != nil {
			return err
		}
		if earliest = time.Now(); len(batch) < full { // no more of them wait
			earliest = s.config.beat(earliest)
		}
		if err := s.handle(ctx, session, puller, done, batch, out); err != nil {
			return err
		}
	}
}

// beat is when the next batch begins after one at the instant. It is told by a duration, not by the wall clock, which may
// be set back.
func (c *SubscriberConfig) beat(at time.Time) time.Time {
	if c.Pace <= 0 {
		return at
	}
	into := (time.Duration(at.UnixNano()) - c.Phase) % c.Pace
	return at.Add(c.Pace - into)
}

// next waits for messages, and until the given instant. A commit may fail later, in another goroutine: that must end the session also when
// no message comes any more.
func (s *Subscriber) next(ctx context.Context, session Session, puller *Puller, earliest time.Time) ([]Delivery, error) {
	time.Sleep(time.Until(earliest))
	for {
		wait, cancel := context.WithTimeout(ctx, pullHeartbeat)
		batch, err := puller.Next(wait, puller.Batch())
		cancel()
		if err == nil {
			return batch, nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		if err := session.Err(); err != nil {
			return nil, err
		}
		if idler, ok := session.(Idler); ok {
			if err := idler.Idle(ctx); err != nil {
				return nil, err
			}
		}
	}
}

// handle hands one batch over and commits it, in parts where the session asks for it.
func (s *Subscriber) handle(ctx context.Context, session Session, puller *Puller, done *deletion, batch []Delivery, out chan<- *message.Message) error {
	values, err := session.Begin(ctx, batch)
	if err != nil {
		return err
	}
	for first := 0; first < len(batch); {
		end, err := s.handOver(ctx, &HandOver{Batch: batch[first:], Values: values[first:], Session: session}, out)
		if err != nil {
			return err
		}
		first += end
		last := batch[first-1]
		done.keep(session)
		err = session.Commit(ctx, last.Sequence, func() error {
			if err := puller.Ack(last); err != nil {
				return err
			}
			done.upTo(last.Sequence)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// handOver gives deliveries to the Router, all at once or one by one, up to where the session asks for a commit,
// and returns how many.
func (s *Subscriber) handOver(ctx context.Context, all *HandOver, out chan<- *message.Message) (int, error) {
	if s.config.Whole {
		if err := offer(ctx, all, out); err != nil {
			return 0, err // its handler may still be at work
		}
		return all.Done, nil
	}
	err := all.Each(func(Delivery, any) error {
		return offer(ctx, &HandOver{Batch: all.Batch[all.Done : all.Done+1], Values: all.Values[all.Done : all.Done+1], Session: all.Session}, out)
	})
	return all.Done, err
}

// offer gives one message to the Router until it is acknowledged.
func offer(ctx context.Context, h *HandOver, out chan<- *message.Message) error {
	var pause *backoff.ExponentialBackOff
	for {
		taken, err := offerOnce(ctx, h, out)
		if err != nil || taken {
			return err
		}
		if err := h.Session.Err(); err != nil {
			return err
		}
		if pause == nil {
			pause = backoff.NewExponentialBackOff(backoff.WithInitialInterval(20*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// offerOnce tells whether the message was acknowledged; false: it was refused.
func offerOnce(ctx context.Context, h *HandOver, out chan<- *message.Message) (bool, error) {
	settled := &messageContext{Context: ctx, handOver: h}
	defer settled.end()
	m := newMessage(h)
	m.SetContext(settled)
	select {
	case out <- m:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case <-m.Acked():
		return true, nil
	case <-m.Nacked():
		return false, nil
	case <-ctx.Done():
		// The handler may still be at work: what it does is lost with the session, uncommitted.
		return false, ctx.Err()
	}
}

// newMessage is one delivery as Watermill knows it; of several it is the first.
func newMessage(h *HandOver) *message.Message {
	d := h.Batch[0]
	m := message.NewMessage(d.Header.Get(jetstream.MsgIDHeader), d.Data)
	for name := range d.Header {
		if name != SubjectKey && name != bundleSize { // only a handler may say where to publish what
			m.Metadata[name] = d.Header.Get(name)
		}
	}
	return m
}
