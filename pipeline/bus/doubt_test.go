package bus

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"attune/pipeline/embedded/enginetest"
)

// doubtful is what a wave that doubts must have given up in; without doubt it waits for AckTimeout.
const doubtful = AckTimeout / 2

// A stream's new leader knows nothing of what only the one before had, so nobody will answer for that.
func TestWaveGivesUpWhatAnElectionLost(t *testing.T) {
	t.Parallel()
	_, conn, _ := logCluster(t)
	w, desk := newWave(t, conn), newResponder(t, conn)
	publish(t, w, &nats.Msg{Subject: "desk"}) // is not answered, as by a leader that dies
	desk.take()
	if _, err := conn.Request("$JS.API.STREAM.LEADER.STEPDOWN.LOG", nil, patience); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := w.Wait(t.Context())
	if took := time.Since(began); took > doubtful {
		t.Errorf("it waited %s", took)
	}
	if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "stream LOG has got another leader since") {
		t.Errorf("error %v, want %v because of the election", err, ErrNoAnswer)
	}
}

func TestWaveGivesUpWhatItsConnectionLost(t *testing.T) {
	t.Parallel()
	conn, _ := connect(t, enginetest.NATS(t))
	w, desk := newWave(t, conn), newResponder(t, conn)
	publish(t, w, &nats.Msg{Subject: "desk"})
	desk.take()
	if err := conn.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := w.Wait(t.Context())
	if took := time.Since(began); took > doubtful {
		t.Errorf("it waited %s", took)
	}
	if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "connection was made anew") {
		t.Errorf("error %v, want %v because of the connection", err, ErrNoAnswer)
	}
}

// Of what is sent over two connections the later may overtake the earlier, though all of it is confirmed.
func TestWaveDoubtsItsOrderAfterAReconnect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		before, after int
		doubts        bool
	}{{1, 1, true}, {2, 0, true}, {1, 0, false}} {
		conn, _ := connect(t, enginetest.NATS(t))
		w, desk := newWave(t, conn), newResponder(t, conn)
		sent := 0
		send := func(n int) (asked []*nats.Msg) {
			for range n {
				publish(t, w, &nats.Msg{Subject: "desk"})
				asked = append(asked, desk.take())
			}
			return asked
		}
		answer := func(asked []*nats.Msg) {
			for _, m := range asked {
				sent++
				desk.answer(m.Reply, fmt.Sprintf(`{"stream":"LOG","seq":%d}`, sent))
			}
		}
		asked := send(c.before)
		if err := conn.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connection is made anew", func() bool { return conn.Stats().Reconnects > 0 && conn.IsConnected() })
		answer(append(asked, send(c.after)...))
		acks, err := w.Wait(t.Context())
		if errors.Is(err, ErrNoAnswer) != c.doubts || errors.Is(acks[0].Err, ErrNoAnswer) != c.doubts {
			t.Errorf("%d before and %d after: %v, %v", c.before, c.after, err, acks)
		}
		answer(send(2))
		if _, err := w.Wait(t.Context()); err != nil {
			t.Errorf("the round after: %v", err)
		}
	}
}

// Doubt alone ends nothing: while answers come, and in the rounds after, a wave waits as long as ever.
func TestWaveIsPatientWhileAnswersCome(t *testing.T) {
	t.Parallel()
	conn, _ := connect(t, enginetest.NATS(t))
	w, desk := newWave(t, conn), newResponder(t, conn)
	elect := func() {
		t.Helper()
		if err := errors.Join(conn.Publish(elections+"LOG", nil), conn.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	elect() // before the round: it is none of its business
	const messages = 4
	for range messages {
		publish(t, w, &nats.Msg{Subject: "desk"})
	}
	elect()
	waited := make(chan error, 1)
	go func() {
		_, err := w.Wait(t.Context())
		waited <- err
	}()
	for range messages { // each in time, all of them not
		time.Sleep(look)
		desk.answer(desk.take().Reply, `{"seq":1}`)
	}
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	publish(t, w, &nats.Msg{Subject: "desk"})
	time.AfterFunc(4*look, func() { desk.answer(desk.take().Reply, `{"seq":2}`) })
	if _, err := w.Wait(t.Context()); err != nil {
		t.Errorf("the round after: %v", err)
	}
}
