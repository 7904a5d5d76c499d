package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
)

// ledger is a session that records what was committed, and fails where it is told to.
type ledger struct {
	mu        sync.Mutex
	sessions  int
	closed    int
	commits   [][]uint64 // sequences of each commit
	cutBefore func(number int) bool
	fail      func(sessions int) error // asked at each step
	hold      chan struct{}            // a commit waits for it
	holding   chan struct{}
}

type ledgerSession struct {
	*ledger
	number int
	open   []uint64
	over   error
}

func (l *ledger) opener(context.Context, string) (Session, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions++
	if err := l.failure(); err != nil {
		return nil, err
	}
	return &ledgerSession{ledger: l, number: l.sessions}, nil
}

func (l *ledger) failure() error {
	if l.fail == nil {
		return nil
	}
	return l.fail(l.sessions)
}

func (l *ledger) handle(m *message.Message) error {
	h := From(m.Context())
	s := h.Session.(*ledgerSession)
	l.mu.Lock()
	defer l.mu.Unlock()
	return h.Each(func(d Delivery, value any) error {
		if want, _ := strconv.Atoi(string(d.Data)); value != want {
			return fmt.Errorf("value %v of message %d", value, want)
		}
		if s.over = l.failure(); s.over != nil {
			return s.over
		}
		s.open = append(s.open, d.Sequence)
		return nil
	})
}

func (s *ledgerSession) Start() uint64 { return 0 }

func (s *ledgerSession) Begin(_ context.Context, batch []Delivery) ([]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([]any, len(batch))
	for i, d := range batch {
		values[i], _ = strconv.Atoi(string(d.Data))
	}
	return values, s.failure()
}

func (s *ledgerSession) Cut(next any) bool {
	return s.cutBefore != nil && s.cutBefore(next.(int))
}

func (s *ledgerSession) Commit(_ context.Context, last uint64, ack func() error) error {
	if s.hold != nil {
		close(s.holding)
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure(); err != nil {
		return err
	}
	if n := len(s.open); n == 0 || s.open[n-1] != last {
		return fmt.Errorf("commit up to %d of %v", last, s.open)
	}
	s.commits = append(s.commits, s.open)
	s.open = nil
	return ack()
}

func (s *ledgerSession) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *ledgerSession) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
}

func (l *ledger) committed() (all []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.commits {
		all = append(all, c...)
	}
	return all
}

// Whatever fails ends the session; the next one goes on after what was committed.
func TestSubscriberOpensASessionAgainAfterErrors(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"one by one": false, "whole batches": true} {
		t.Run(name, func(t *testing.T) { t.Parallel(); opensASessionAgain(t, whole) })
	}
}

func opensASessionAgain(t *testing.T, whole bool) {
	conn, js := logStream(t)
	const count = 300
	fill(t, conn, "LOG.0", 1, count)
	chance := rand.New(rand.NewPCG(5, 6))
	failures := 0
	book := &ledger{fail: func(int) error {
		if failures < 6 && chance.IntN(20) == 0 {
			failures++
			return errors.New("trouble")
		}
		return nil
	}}
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 20, Whole: whole, Open: book.opener})
	stop := route(t, sub, book.handle, "LOG.0")
	eventually(t, "everything is committed", func() bool { return len(book.committed()) >= count })
	stop()
	var want []uint64
	for i := range uint64(count) {
		want = append(want, i+1)
	}
	if diff := cmp.Diff(want, book.committed()); diff != "" {
		t.Error(diff)
	}
	if failures < 3 || book.sessions != failures+1 {
		t.Errorf("%d sessions after %d failures", book.sessions, failures)
	}
	if book.closed == 0 || book.closed > book.sessions {
		t.Errorf("%d of %d sessions were closed", book.closed, book.sessions)
	}
}

// A commit that fails in another goroutine ends the session also when no further message comes.
func TestSubscriberNoticesALateFailureWithoutFurtherMessages(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	fill(t, conn, "LOG.0", 1, 5)
	late := &lateFailure{}
	book := &ledger{}
	sub := NewSubscriber(js, SubscriberConfig{Stream: "LOG", Reader: "reader", Batch: 5, Open: func(ctx context.Context, topic string) (Session, error) {
		s, err := book.opener(ctx, topic)
		if err != nil || book.sessions > 1 {
			return s, err
		}
		late.ledgerSession = s.(*ledgerSession)
		return late, nil
	}})
	stop := route(t, sub, func(m *message.Message) error {
		if h := From(m.Context()); h.Session == Session(late) {
			return nil
		}
		return book.handle(m)
	}, "LOG.0")
	eventually(t, "the next session has committed", func() bool { return len(book.committed()) == 5 })
	stop()
}

// lateFailure takes a commit, never acknowledges it, and is broken from then on.
type lateFailure struct {
	*ledgerSession
	committed bool
}

func (l *lateFailure) Commit(context.Context, uint64, func() error) error {
	l.committed = true
	return nil
}

func (l *lateFailure) Err() error {
	if l.committed {
		return errors.New("the commit failed later")
	}
	return nil
}
