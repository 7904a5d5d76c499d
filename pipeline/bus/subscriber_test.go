package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
)

// route runs a handler for each topic until stop is called.
func route(t *testing.T, sub message.Subscriber, handle message.NoPublishHandlerFunc, topics ...string) (stop func()) {
	t.Helper()
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: patience}, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		router.AddConsumerHandler(topic, topic, sub, handle)
	}
	done := make(chan error, 1)
	go func() { done <- router.Run(context.Background()) }()
	<-router.Running()
	return sync.OnceFunc(func() {
		if err := router.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// notebook records what handlers saw, by subject.
type notebook struct {
	mu   sync.Mutex
	seen map[string][]int
}

func (n *notebook) add(m *message.Message) {
	number, err := strconv.Atoi(string(m.Payload))
	if err != nil {
		number = -1
	}
	subject := From(m.Context()).Delivery().Subject
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen == nil {
		n.seen = map[string][]int{}
	}
	n.seen[subject] = append(n.seen[subject], number)
}

func (n *notebook) of(subject string) []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]int(nil), n.seen[subject]...)
}

func numbers(from, count int) []int {
	all := make([]int, count)
	for i := range all {
		all[i] = from + i
	}
	return all
}

func TestSubscriberKeepsTheOrderOfEachTopicOverNacks(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	topics := []string{"LOG.0", "LOG.1", "LOG.2"}
	const count = 200
	for _, topic := range topics {
		fill(t, conn, topic, 1, count)
	}
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(3, 4))
	var done notebook
	refused := map[string]int{} // the message that each topic's handler refused last
	nacks := 0
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 32})
	defer route(t, sub, func(m *message.Message) error {
		d := From(m.Context()).Delivery()
		number, _ := strconv.Atoi(string(m.Payload))
		mu.Lock()
		before := refused[d.Subject]
		refuse := chance.IntN(40) == 0
		refused[d.Subject] = 0
		if refuse {
			refused[d.Subject] = number
			nacks++
		}
		mu.Unlock()
		if before != 0 && before != number {
			t.Errorf("%s: message %d came after the refused %d", d.Subject, number, before)
		}
		if refuse {
			return errors.New("not now")
		}
		done.add(m)
		return nil
	}, topics...)()
	for _, topic := range topics {
		eventually(t, topic+" is read", func() bool { return len(done.of(topic)) >= count })
		if diff := cmp.Diff(numbers(1, count), done.of(topic)); diff != "" {
			t.Errorf("%s: %s", topic, diff)
		}
	}
	if nacks == 0 {
		t.Error("no message was refused: the test shows nothing")
	}
}

// However fast messages come, one batch begins with each beat, and holds what has come meanwhile.
func TestSubscriberPacesBatches(t *testing.T) {
	t.Parallel()
	const pace, before, count = 60 * time.Millisecond, 100, 100
	conn, js := logStream(t)
	book, begun := &ledger{}, make(chan time.Time, before+count)
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Whole: true, Pace: pace, Open: func(ctx context.Context, topic string) (Session, error) {
		s, err := book.opener(ctx, topic)
		return beginning{s, begun}, err
	}})
	stop := route(t, sub, func(m *message.Message) error {
		return From(m.Context()).Each(func(Delivery, any) error { return nil })
	}, "LOG.0")
	acknowledged := func(sequence uint64) {
		eventually(t, "everything is acknowledged", func() bool {
			consumer, err := js.Consumer(t.Context(), "LOG", "reader-0")
			return err == nil && consumer.CachedInfo().AckFloor.Stream == sequence
		})
	}
	fill(t, conn, "LOG.0", 1, before)
	acknowledged(before) // a reader begins with small batches, until it knows how large messages are
	for len(begun) > 0 {
		<-begun
	}
	for i := range count {
		fill(t, conn, "LOG.0", before+1+i, 1)
		time.Sleep(time.Millisecond)
	}
	acknowledged(before + count)
	stop()
	close(begun)
	var first, last time.Time
	batches := 0
	for at := range begun {
		if batches++; first.IsZero() {
			first = at
		}
		last = at
	}
	// The first and the last share no beat with others; a begin is noted a little after its beat was looked up.
	if most := 3 + int(last.Sub(first)/pace); batches < 2 || batches > min(most, count/4) {
		t.Errorf("%d messages came in %d batches within %s", count, batches, last.Sub(first))
	}
}

func TestBeats(t *testing.T) {
	t.Parallel()
	second := time.Date(2026, 11, 27, 12, 0, 1, 0, time.UTC)
	for _, c := range []struct{ pace, phase, after, want time.Duration }{
		{pace: 8 * time.Millisecond, after: 0, want: 8 * time.Millisecond}, // a second is a multiple of it
		{pace: 8 * time.Millisecond, after: 1, want: 8 * time.Millisecond},
		{pace: 8 * time.Millisecond, after: 8*time.Millisecond - 1, want: 8 * time.Millisecond},
		{pace: 8 * time.Millisecond, phase: 3 * time.Millisecond, after: 0, want: 3 * time.Millisecond},
		{pace: 8 * time.Millisecond, phase: 3 * time.Millisecond, after: 3 * time.Millisecond, want: 11 * time.Millisecond},
		{pace: 0, phase: 3 * time.Millisecond, after: 5, want: 5},
	} {
		config := SubscriberConfig{Pace: c.pace, Phase: c.phase}
		if got := config.beat(second.Add(c.after)).Sub(second); got != c.want {
			t.Errorf("pace %s, phase %s: after %s comes %s, want %s", c.pace, c.phase, c.after, got, c.want)
		}
	}
}

// beginning notes when batches begin.
type beginning struct {
	Session
	begun chan<- time.Time
}

func (b beginning) Begin(_ context.Context, batch []Delivery) ([]any, error) {
	b.begun <- time.Now()
	return make([]any, len(batch)), nil
}

func (b beginning) Commit(_ context.Context, _ uint64, ack func() error) error { return ack() }

func TestSubscriberCutsBatches(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"one by one": false, "whole batches": true} {
		t.Run(name, func(t *testing.T) { t.Parallel(); cutsBatches(t, whole) })
	}
}

func cutsBatches(t *testing.T, whole bool) {
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 35)
	book := &ledger{cutBefore: func(number int) bool { return number%10 == 0 }}
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Whole: whole, Open: book.opener})
	stop := route(t, sub, book.handle, "LOG.0")
	eventually(t, "everything is committed", func() bool { return len(book.committed()) >= 35 })
	stop()
	starts := map[uint64]bool{}
	for _, c := range book.commits {
		starts[c[0]] = true
		for _, sequence := range c[1:] {
			if sequence%10 == 0 {
				t.Errorf("commit %v was not cut before %d", c, sequence)
			}
		}
	}
	if !starts[10] || !starts[20] || !starts[30] {
		t.Errorf("commits begin at %v", starts)
	}
}

// A whole batch that is refused comes again from where it began, cuts in it and all.
func TestSubscriberHandsARefusedBatchOverAgain(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	const count = 200
	fill(t, conn, "LOG.0", 1, count)
	book := &ledger{cutBefore: func(number int) bool { return number%30 == 0 }}
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 50, Whole: true, Open: book.opener})
	chance := rand.New(rand.NewPCG(7, 8))
	refused, again := 0, 0
	stop := route(t, sub, func(m *message.Message) error {
		h := From(m.Context())
		s := h.Session.(*ledgerSession)
		book.mu.Lock()
		defer book.mu.Unlock()
		return h.Each(func(d Delivery, _ any) error {
			if n := len(s.open); n > 0 && s.open[n-1] >= d.Sequence {
				again++
				return nil // as a session that keeps its position does
			}
			if refused < 9 && chance.IntN(20) == 0 {
				refused++
				return errors.New("not now")
			}
			s.open = append(s.open, d.Sequence)
			return nil
		})
	}, "LOG.0")
	eventually(t, "everything is committed", func() bool { return len(book.committed()) >= count })
	stop()
	for i, sequence := range book.committed() {
		if sequence != uint64(i+1) {
			t.Fatalf("committed %v", book.committed())
		}
	}
	if refused < 5 || again == 0 {
		t.Errorf("%d refusals, %d deliveries came again: the test shows little", refused, again)
	}
	if book.sessions != 1 {
		t.Errorf("%d sessions", book.sessions)
	}
}

func TestSubscriberCloseWaitsForTheCommitUnderWay(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 5)
	book := &ledger{hold: make(chan struct{}), holding: make(chan struct{})}
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 5, Open: book.opener})
	messages, err := sub.Subscribe(t.Context(), "LOG.0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range messages {
			if err := book.handle(m); err != nil {
				t.Error(err)
			}
			m.Ack()
		}
	}()
	<-book.holding
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "the subscriber is closing", func() bool { return sub.stopped.Err() != nil })
	select {
	case <-closed:
		t.Fatal("Close did not wait for the commit")
	default:
	}
	close(book.hold)
	<-closed
	if len(book.committed()) == 0 || book.closed != 1 {
		t.Errorf("%d messages committed, %d sessions closed", len(book.committed()), book.closed)
	}
	if err := sub.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := sub.Subscribe(t.Context(), "LOG.0"); err == nil {
		t.Error("a closed subscriber takes a subscription")
	}
}

// A second reader of the same topic takes it over; the two together still commit each message, and the
// session that lost it ends.
func TestSubscriberTakesATopicOver(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 50)
	var seen notebook
	handle := func(m *message.Message) error { seen.add(m); return nil }
	first := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 10})
	stopFirst := route(t, first, handle, "LOG.0")
	eventually(t, "the first has read", func() bool { return len(seen.of("LOG.0")) >= 50 })
	second := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 10})
	stopSecond := route(t, second, handle, "LOG.0")
	stopFirst()
	fill(t, conn, "LOG.0", 51, 50)
	has := func(number int) bool {
		for _, n := range seen.of("LOG.0") {
			if n == number {
				return true
			}
		}
		return false
	}
	for number := 51; number <= 100; number++ {
		eventually(t, fmt.Sprintf("message %d is read", number), func() bool { return has(number) })
	}
	stopSecond()
}

// granter grants every topic at once.
type granter struct{}

func (granter) Own(ctx context.Context, _ string) (context.Context, func(), error) {
	held, end := context.WithCancel(ctx)
	return held, end, nil
}

// What fails under an owner is a failure as without one, not a topic that was let go: it is told, and tried again after
// pauses that grow.
func TestSubscriberTellsWhyAnOwnedTopicIsLost(t *testing.T) {
	_, js := logStream(t)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var sub *Subscriber
		book := &ledger{fail: func(sessions int) error {
			if sessions == 1000 {
				sub.stop() // it does not pause
			}
			return errors.New("nothing works")
		}}
		sub = NewSubscriber(js, SubscriberConfig{
			Stream: "LOG", Reader: "reader", Open: book.opener, Log: slog.New(slog.NewTextHandler(&log, nil)),
		}).OwnedBy(granter{})
		if _, err := sub.Subscribe(t.Context(), "LOG.0"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := sub.Close(); err != nil {
			t.Fatal(err)
		}
		if book.sessions < 10 || book.sessions > 50 {
			t.Errorf("%d attempts in a minute", book.sessions)
		}
		if said := strings.Count(log.String(), "nothing works"); said != book.sessions {
			t.Errorf("%d of %d failures are told:\n%s", said, book.sessions, &log)
		}
	})
}
