package bus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded/enginetest"
)

func newWave(t *testing.T, conn *nats.Conn) *Wave {
	t.Helper()
	w, err := NewWave(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func publish(t *testing.T, w *Wave, m *nats.Msg) int {
	t.Helper()
	index, err := w.Publish(m)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestWaveConfirmsEveryMessageOfEachRound(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
	w := newWave(t, conn)
	const size = 300
	for round := range 3 {
		for i := range size {
			if got := publish(t, w, &nats.Msg{Subject: "LOG.0", Data: []byte("x")}); got != i {
				t.Fatalf("index %d, want %d", got, i)
			}
		}
		if w.Pending() != size {
			t.Fatalf("%d pending, want %d", w.Pending(), size)
		}
		acks, err := w.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range acks {
			if want := uint64(round*size + i + 1); a.Sequence != want || a.Err != nil {
				t.Fatalf("round %d, message %d: %+v, want sequence %d", round, i, a, want)
			}
		}
		if len(acks) != size || w.Pending() != 0 {
			t.Fatalf("%d answers and %d pending after Wait, want %d and 0", len(acks), w.Pending(), size)
		}
	}
	if acks, err := w.Wait(t.Context()); err != nil || len(acks) != 0 {
		t.Errorf("an empty round: %v, %v", acks, err)
	}
}

func TestWaveTellsRefusalsByIndex(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
	w := newWave(t, conn)
	for i := range 30 { // the first message of each subject must be the first; every third says otherwise
		expected := "0"
		if i%3 == 1 {
			expected = "7"
		}
		publish(t, w, &nats.Msg{
			Subject: "LOG." + strconv.Itoa(i),
			Header:  nats.Header{jetstream.ExpectedLastSubjSeqHeader: {expected}},
		})
	}
	acks, err := w.Wait(t.Context())
	if !IsConflict(err) {
		t.Errorf("error %v, want the first refusal", err)
	}
	for i, a := range acks {
		if refused := i%3 == 1; IsConflict(a.Err) != refused || (a.Sequence == 0) != refused {
			t.Errorf("message %d: %+v", i, a)
		}
	}
}

func TestWaveSaysDuplicateAndNoStream(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
	w := newWave(t, conn)
	for range 2 {
		publish(t, w, &nats.Msg{Subject: "LOG.0", Header: nats.Header{jetstream.MsgIDHeader: {"one"}}})
	}
	publish(t, w, &nats.Msg{Subject: "nobody.listens"})
	acks, err := w.Wait(t.Context())
	if !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("error %v, want %v", err, jetstream.ErrNoStreamResponse)
	}
	want := []Ack{{Sequence: 1}, {Sequence: 1, Duplicate: true}}
	if diff := cmp.Diff(want, acks[:2]); diff != "" {
		t.Error(diff)
	}
}

// responder takes the place of a stream, so that a test decides when and how it answers.
type responder struct {
	t    *testing.T
	conn *nats.Conn
	sub  *nats.Subscription
}

func newResponder(t *testing.T, conn *nats.Conn) *responder {
	t.Helper()
	sub, err := conn.SubscribeSync("desk")
	if err != nil {
		t.Fatal(err)
	}
	return &responder{t: t, conn: conn, sub: sub}
}

func (r *responder) take() *nats.Msg {
	r.t.Helper()
	m, err := r.sub.NextMsg(patience)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *responder) answer(reply, text string) {
	r.t.Helper()
	if err := r.conn.Publish(reply, []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

func TestWaveIgnoresAnswersOfAnAbandonedRound(t *testing.T) {
	t.Parallel()
	conn, _ := connect(t, enginetest.NATS(t))
	w, desk := newWave(t, conn), newResponder(t, conn)
	publish(t, w, &nats.Msg{Subject: "desk"})
	publish(t, w, &nats.Msg{Subject: "desk"})
	first, second := desk.take(), desk.take()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	acks, err := w.Wait(gone)
	if !errors.Is(err, context.Canceled) || len(acks) != 2 || !errors.Is(acks[1].Err, ErrNoAnswer) {
		t.Fatalf("abandoned: %v, %v", acks, err)
	}
	publish(t, w, &nats.Msg{Subject: "desk"})
	third := desk.take()
	desk.answer(first.Reply, `{"seq":1}`)
	desk.answer(second.Reply, `{"seq":2}`)
	desk.answer(third.Reply, `{"seq":3}`)
	desk.answer(third.Reply, `{"seq":4}`) // a second answer to the same message
	acks, err = w.Wait(t.Context())
	if err != nil || len(acks) != 1 || acks[0].Sequence != 3 {
		t.Errorf("next round: %+v, %v; want sequence 3", acks, err)
	}
}

func TestWaveIgnoresAnswersToNothing(t *testing.T) {
	t.Parallel()
	conn, _ := connect(t, enginetest.NATS(t))
	w, desk := newWave(t, conn), newResponder(t, conn)
	publish(t, w, &nats.Msg{Subject: "desk"})
	m := desk.take()
	for _, place := range []string{"0.1", "0.-1", "0.x", "x.0", "1.0"} {
		desk.answer(w.prefix+place, `{"seq":9}`)
	}
	desk.answer(m.Reply, "no JSON")
	acks, err := w.Wait(t.Context())
	if len(acks) != 1 || acks[0].Err == nil || acks[0].Sequence != 0 || err == nil {
		t.Errorf("%+v, %v; want the unreadable answer's error", acks, err)
	}
}

func TestWaveEndsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	conn, _ := connect(t, enginetest.NATS(t))
	w, desk := newWave(t, conn), newResponder(t, conn)
	w.timeout = 50 * time.Millisecond
	publish(t, w, &nats.Msg{Subject: "desk"})
	publish(t, w, &nats.Msg{Subject: "desk"})
	desk.answer(desk.take().Reply, `{"seq":1}`)
	acks, err := w.Wait(t.Context())
	if !errors.Is(err, ErrNoAnswer) {
		t.Errorf("error %v, want %v", err, ErrNoAnswer)
	}
	if len(acks) != 2 || acks[0].Sequence != 1 || !errors.Is(acks[1].Err, ErrNoAnswer) {
		t.Errorf("answers %+v", acks)
	}
}

// Sent messages are counted, published ones have their answers; a refusal of either is the round's error.
func TestWaveCountsWhatIsSent(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
	w := newWave(t, conn)
	m := new(nats.Msg)
	send := func(subject, id string) {
		t.Helper()
		m.Subject, m.Header = subject, nats.Header{jetstream.MsgIDHeader: {id}}
		if err := w.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		for i := range 100 {
			send("LOG.0", fmt.Sprint(round, "-", i))
		}
		send("LOG.0", fmt.Sprint(round, "-", 7)) // a repeat, with an earlier one's sequence
		if index := publish(t, w, &nats.Msg{Subject: "LOG.1"}); index != 0 {
			t.Errorf("index %d of the first published message", index)
		}
		acks, err := w.Wait(t.Context())
		if want := uint64(101 * (round + 1)); err != nil || len(acks) != 1 || acks[0].Sequence != want {
			t.Fatalf("round %d: %+v, %v; want sequence %d", round, acks, err, want)
		}
	}
	send("nobody.listens", "x")
	publish(t, w, &nats.Msg{Subject: "LOG.1"})
	if acks, err := w.Wait(t.Context()); !errors.Is(err, jetstream.ErrNoStreamResponse) || acks[0].Err != nil {
		t.Errorf("%+v, %v; want %v", acks, err, jetstream.ErrNoStreamResponse)
	}
	m.Data = make([]byte, conn.MaxPayload()+1)
	if err := w.Send(m); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("send: %v, want %v", err, nats.ErrMaxPayload)
	}
	if _, err := w.Wait(t.Context()); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("wait: %v, want %v", err, nats.ErrMaxPayload)
	}
}

// An answer that comes twice, or late, or from nowhere, does not stand for one that is missing.
func TestWaveCountsEachSentMessageOnce(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]string{
		"none":         {"", ""},
		"one":          {`{"stream":"A","seq":1}`, ""},
		"twice":        {`{"stream":"A","seq":1}`, `{"stream":"A","seq":1}`},
		"no sequence":  {`{"stream":"A","seq":1}`, `{"stream":"B"}`},
		"former round": {`{"stream":"A","seq":2}`, "former"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, _ := connect(t, enginetest.NATS(t))
			w, desk := newWave(t, conn), newResponder(t, conn)
			w.timeout = 50 * time.Millisecond
			send := func() *nats.Msg {
				if err := w.Send(&nats.Msg{Subject: "desk"}); err != nil {
					t.Fatal(err)
				}
				return desk.take()
			}
			former := send()
			if _, err := w.Wait(t.Context()); !errors.Is(err, ErrNoAnswer) {
				t.Fatal(err)
			}
			for _, text := range answers {
				switch m := send(); text {
				case "":
				case "former":
					desk.answer(former.Reply, `{"stream":"A","seq":3}`)
				default:
					desk.answer(m.Reply, text)
				}
			}
			if _, err := w.Wait(t.Context()); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("error %v, want %v", err, ErrNoAnswer)
			}
		})
	}
}

// Another connection's messages lie between those of the wave.
func TestWaveSaysWhereSentMessagesAreStored(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	w, other := newWave(t, conn), newWave(t, conn)
	for round := range 3 {
		for i := range 200 {
			if err := w.Send(&nats.Msg{Subject: "LOG.0", Data: fmt.Append(nil, round, i)}); err != nil {
				t.Fatal(err)
			}
			publish(t, other, &nats.Msg{Subject: "LOG.0"})
		}
		places, err := w.WaitStored(t.Context())
		if err != nil || len(places) != 200 {
			t.Fatalf("%d places, %v; want 200", len(places), err)
		}
		for i, place := range places {
			stream, err := js.Stream(t.Context(), "LOG")
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.GetMsg(t.Context(), place)
			if want := fmt.Sprint(round, i); err != nil || string(m.Data) != want {
				t.Fatalf("round %d, message %d: %v at its place, %v", round, i, m, err)
			}
		}
	}
	if places, err := w.WaitStored(t.Context()); err != nil || len(places) != 0 {
		t.Errorf("an empty round: %v, %v", places, err)
	}
}

func TestWaveSaysNoPlacesOfARefusedRound(t *testing.T) {
	t.Parallel()
	conn, js := logStream(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SECOND", Subjects: []string{"second"}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		second *nats.Msg
		is     func(error) bool
	}{
		"conflict":       {&nats.Msg{Subject: "LOG.0", Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: {"77"}}}, IsConflict},
		"repeat":         {&nats.Msg{Subject: "LOG.1", Header: nats.Header{jetstream.MsgIDHeader: {"repeat"}}}, func(err error) bool { return err != nil }},
		"another stream": {&nats.Msg{Subject: "second"}, func(err error) bool { return err != nil }},
		"no stream":      {&nats.Msg{Subject: "nobody.listens"}, func(err error) bool { return errors.Is(err, jetstream.ErrNoStreamResponse) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWave(t, conn)
			for _, m := range []*nats.Msg{{Subject: "LOG.1", Header: nats.Header{jetstream.MsgIDHeader: {name}}}, c.second, {Subject: "LOG.2"}} {
				if err := w.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			if places, err := w.WaitStored(t.Context()); !c.is(err) || places != nil {
				t.Errorf("%v, %v", places, err)
			}
			if err := w.Send(&nats.Msg{Subject: "LOG.0"}); err != nil {
				t.Fatal(err)
			}
			if places, err := w.WaitStored(t.Context()); err != nil || len(places) != 1 {
				t.Errorf("the next round: %v, %v", places, err)
			}
		})
	}
}

// What could not even be sent is answered by its own error: nobody waits for the broker to confirm it.
func TestWaveDoesNotWaitForWhatWasNotSent(t *testing.T) {
	t.Parallel()
	conn, _ := logStream(t)
	w := newWave(t, conn)
	publish(t, w, &nats.Msg{Subject: "LOG.0"})
	if _, err := w.Publish(&nats.Msg{Subject: "LOG.0", Data: make([]byte, conn.MaxPayload()+1)}); !errors.Is(err, nats.ErrMaxPayload) {
		t.Fatalf("publish: %v, want %v", err, nats.ErrMaxPayload)
	}
	publish(t, w, &nats.Msg{Subject: "LOG.0"})
	began := time.Now()
	acks, err := w.Wait(t.Context())
	if !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("error %v, want %v", err, nats.ErrMaxPayload)
	}
	if len(acks) != 3 || acks[0].Sequence != 1 || acks[2].Sequence != 2 {
		t.Errorf("answers %+v", acks)
	}
	if took := time.Since(began); took > AckTimeout/2 {
		t.Errorf("it waited %s", took)
	}
}

func TestWaveEndsWithItsSubscription(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "connection closed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			conn, _ := connect(t, enginetest.NATS(t))
			w, desk := newWave(t, conn), newResponder(t, conn)
			publish(t, w, &nats.Msg{Subject: "desk"})
			desk.take()
			waited := make(chan error, 1)
			go func() {
				_, err := w.Wait(context.Background())
				waited <- err
			}()
			if how == "closed" {
				w.Close()
				w.Close()
			} else {
				conn.Close()
			}
			select {
			case err := <-waited:
				if !errors.Is(err, ErrNoAnswer) {
					t.Errorf("error %v, want %v", err, ErrNoAnswer)
				}
			case <-time.After(AckTimeout / 2):
				t.Fatal("Wait still waits")
			}
		})
	}
}

func TestIsConflict(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("other"), false},
		{&jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}, true},
		{fmt.Errorf("wrapped: %w", &jetstream.APIError{ErrorCode: codeWrongLastSequenceConstant}), true},
		{&jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamNotFound}, false},
	} {
		if got := IsConflict(test.err); got != test.want {
			t.Errorf("IsConflict(%v) = %v", test.err, got)
		}
	}
}

func TestPlainAck(t *testing.T) {
	for text, want := range map[string]uint64{
		`{"stream":"EVENTS","seq":17}`:                                                         17,
		`{"stream":"KV_duplicates","seq":18446744073709551615}`:                                math.MaxUint64,
		`{"stream":"EVENTS","seq":17,"duplicate": true}`:                                       0,
		`{"stream":"EVENTS","domain":"hub","seq":17}`:                                          17,
		`{"error":{"code":400,"err_code":10071,"description":"no"},"stream":"EVENTS","seq":0}`: 0,
		`{"stream":"EVENTS","seq":17`:                                                          0,
		`{"stream":"EVENTS","seq":-1}`:                                                         0,
		``:                                                                                     0,
	} {
		if _, got, ok := plainAck([]byte(text)); got != want || ok != (want != 0) {
			t.Errorf("%s: %d, %t", text, got, ok)
		}
	}
}
