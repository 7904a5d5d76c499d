package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// stock runs a handler from LOG.in to LOG.out behind Watermill's own middleware, until the test ends.
func stock(t *testing.T, js jetstream.JetStream, handle message.HandlerFunc, middlewares ...message.HandlerMiddleware) {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	router.AddMiddleware(middlewares...)
	router.AddHandler("in", "LOG.in", NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "stock"}), "LOG.out", NewPublisher(js), handle)
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	t.Cleanup(func() {
		if err := errors.Join(router.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
}

// read waits until a subject holds so many messages, and returns them.
func read(t *testing.T, js jetstream.JetStream, subject string, count int) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "LOG")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, fmt.Sprint(count, " messages in ", subject), func() bool {
		all = nil
		for next := uint64(1); ; {
			m, err := stream.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return len(all) >= count
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
			next = m.Sequence + 1
		}
	})
	return all
}

func payloads(all []*jetstream.RawStreamMsg) (texts []string) {
	for _, m := range all {
		texts = append(texts, string(m.Data))
	}
	return texts
}

func counted(count int, without ...int) (texts []string) {
	for i := range count {
		skipped := false
		for _, w := range without {
			skipped = skipped || i == w
		}
		if !skipped {
			texts = append(texts, fmt.Sprint(i))
		}
	}
	return texts
}

func pass(m *message.Message) ([]*message.Message, error) {
	out := message.NewMessage(m.UUID, m.Payload)
	out.SetContext(m.Context())
	return []*message.Message{out}, nil
}

// attempts counts by payload.
type attempts struct {
	mu sync.Mutex
	by map[string]int
}

func (a *attempts) add(payload string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[string]int{}
	}
	a.by[payload]++
	return a.by[payload]
}

func TestStockRetryKeepsOrder(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.in", 0, 20)
	var tried attempts
	stock(t, js, func(m *message.Message) ([]*message.Message, error) {
		if n := tried.add(string(m.Payload)); string(m.Payload) == "7" && n < 4 {
			return nil, errors.New("not yet")
		}
		return pass(m)
	}, middleware.Retry{MaxRetries: 5, InitialInterval: time.Millisecond, Multiplier: 1}.Middleware)
	if diff := cmp.Diff(counted(20), payloads(read(t, js, "LOG.out", 20))); diff != "" {
		t.Error(diff)
	}
	if tried.by["7"] != 4 {
		t.Errorf("7 was tried %d times, want 4", tried.by["7"])
	}
}

// What can't be handled goes to another subject, with its reason, and the rest goes on in order.
func TestStockPoisonQueueTakesWhatFails(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.in", 0, 20)
	poison, err := middleware.PoisonQueue(NewPublisher(js), "LOG.poison")
	if err != nil {
		t.Fatal(err)
	}
	stock(t, js, func(m *message.Message) ([]*message.Message, error) {
		switch string(m.Payload) {
		case "5":
			return nil, errors.New("no use")
		case "11":
			panic("a handler's mistake")
		}
		return pass(m)
	}, poison, middleware.Retry{MaxRetries: 1, InitialInterval: time.Millisecond}.Middleware, middleware.Recoverer)
	if diff := cmp.Diff(counted(20, 5, 11), payloads(read(t, js, "LOG.out", 18))); diff != "" {
		t.Error(diff)
	}
	poisoned := read(t, js, "LOG.poison", 2)
	if diff := cmp.Diff([]string{"5", "11"}, payloads(poisoned)); diff != "" {
		t.Error(diff)
	}
	if reason := poisoned[0].Header.Get(middleware.ReasonForPoisonedKey); reason != "no use" {
		t.Errorf("reason %q, headers %v", reason, poisoned[0].Header)
	}
	if topic := poisoned[1].Header.Get(middleware.PoisonedTopicKey); topic != "LOG.in" {
		t.Errorf("topic %q", topic)
	}
}

// A panic is a failed attempt and no end: the message comes again, before what follows it.
func TestStockRecovererHandsOverAgain(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.in", 0, 10)
	var tried attempts
	stock(t, js, func(m *message.Message) ([]*message.Message, error) {
		if tried.add(string(m.Payload)) == 1 && string(m.Payload) == "3" {
			panic("a handler's mistake")
		}
		return pass(m)
	}, middleware.Recoverer)
	if diff := cmp.Diff(counted(10), payloads(read(t, js, "LOG.out", 10))); diff != "" {
		t.Error(diff)
	}
}

func TestStockCorrelationIDTravels(t *testing.T) {
	t.Parallel()
	_, js := logStream(t)
	in := message.NewMessage("m", []byte("x"))
	middleware.SetCorrelationID("call-1", in)
	if err := NewPublisher(js).Publish("LOG.in", in); err != nil {
		t.Fatal(err)
	}
	stock(t, js, pass, middleware.CorrelationID)
	if id := read(t, js, "LOG.out", 1)[0].Header.Get(middleware.CorrelationIDMetadataKey); id != "call-1" {
		t.Errorf("correlation id %q", id)
	}
}

// The handler's time is up, and it is called again.
func TestStockTimeoutEndsAnAttempt(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.in", 0, 5)
	var tried attempts
	stock(t, js, func(m *message.Message) ([]*message.Message, error) {
		if tried.add(string(m.Payload)) == 1 && string(m.Payload) == "2" {
			<-m.Context().Done()
			return nil, m.Context().Err()
		}
		out := message.NewMessage(m.UUID, m.Payload)
		return []*message.Message{out}, nil
	}, middleware.Timeout(20*time.Millisecond))
	if diff := cmp.Diff(counted(5), payloads(read(t, js, "LOG.out", 5))); diff != "" {
		t.Error(diff)
	}
}
