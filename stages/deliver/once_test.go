package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
)

func TestRepeatsAreSentOnce(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	s := startServer(t, &server{})
	b.enqueue(nil, delivery("d1"), delivery("d1"), delivery("d2"), delivery("d1")) // within a batch
	stop := b.run(b.stage("mail", s.address))
	eventually(t, "four ends", func() bool { return len(b.stored(topology.Raw)) == 4 })
	b.enqueue(nil, delivery("d2")) // later
	eventually(t, "five ends", func() bool { return len(b.stored(topology.Raw)) == 5 })
	stop()
	b.enqueue(nil, delivery("d1")) // after a restart
	b.run(b.stage("mail", s.address))
	eventually(t, "six ends", func() bool { return len(b.stored(topology.Raw)) == 6 })
	for _, id := range []string{"d1", "d2"} {
		if came, _ := s.count(id); came != 1 {
			t.Errorf("%s came %d times", id, came)
		}
	}
	if got := len(b.ends()); got != 2 { // each repeat says the same
		t.Errorf("%d ends", got)
	}
	if diff := cmp.Diff(map[string]float64{"mail accepted ": 2}, b.counted()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
}

// What a crash left behind, and what is made of it.
func TestAfterCrash(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  AfterCrash
		left    Record
		came    int
		outcome Outcome
		reason  string
		attempt int
	}{
		{"by default it is held", "", Record{State: attempting, Attempt: 1}, 0, Unknown, "interrupted", 1},
		{"held", Hold, Record{State: attempting, Attempt: 3}, 0, Unknown, "interrupted", 3},
		{"resent", Resend, Record{State: attempting, Attempt: 1}, 1, Accepted, "", 2},
		{"between two attempts nothing was sent", Hold, Record{State: waiting, Attempt: 2}, 1, Accepted, "", 3},
		{"sent, and the message not acknowledged", Hold, Record{State: Accepted, Attempt: 1}, 0, Accepted, "", 1},
		{"bounced, and the message not acknowledged", Resend, Record{State: Bounced, Reason: "refused", Attempt: 1}, 0, Bounced, "refused", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.person("anna", map[string]string{"email": "anna@shop.example"})
			s := startServer(t, &server{})
			c.left.At = time.Now().Add(-time.Minute).UTC()
			b.note("d1", c.left)
			b.enqueue(nil, delivery("d1"))
			b.run(b.stage("mail", s.address, func(config *Config) { config.AfterCrash = c.policy }))
			e := b.awaitEnds(1)["d1"]
			if came, _ := s.count("d1"); came != c.came {
				t.Errorf("%d mails came, want %d", came, c.came)
			}
			r := b.record("d1")
			if r.State != c.outcome || r.Reason != c.reason || r.Attempt != c.attempt {
				t.Errorf("record %+v", r)
			}
			if e.Properties.Outcome != string(c.outcome) || e.Properties.Reason != c.reason || e.Properties.Attempt != c.attempt || e.Timestamp != event.At(r.At).String() {
				t.Errorf("feedback %+v", e)
			}
		})
	}
}

func TestTemporaryFailures(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	const failures = 4 // more than are tried in place
	s := startServer(t, &server{data: func(_ net.Conn, id string, attempt int) error {
		if id == "grey" && attempt <= failures {
			return says(451, "come back later")
		}
		return nil
	}})
	var mu sync.Mutex
	var pauses []int
	b.enqueue(nil, delivery("grey"), delivery("next"))
	b.run(b.stage("mail", s.address, func(c *Config) {
		c.Concurrency = 1
		c.Pause = func(attempt int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			pauses = append(pauses, attempt)
			return time.Duration(attempt) * 10 * time.Millisecond
		}
	}))
	ends := b.awaitEnds(2)
	if e := ends["grey"].Properties; e.Outcome != "accepted" || e.Attempt != failures+1 {
		t.Errorf("feedback %+v", e)
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]int{1, 2, 3, 4}, pauses); diff != "" {
		t.Errorf("pauses after attempts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{"mail accepted ": 2}, b.counted()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
	if queue, err := b.js.Stream(t.Context(), topology.Outbox); err != nil || queue.CachedInfo().State.LastSeq != 2 {
		t.Errorf("it did not stay where it was: %v", err)
	}
}

// What fails with a long pause waits at once, and once it is late it is dropped.
func TestLongPausesAndLateness(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	s := startServer(t, &server{data: func(_ net.Conn, id string, _ int) error {
		if id == "down" {
			return says(451, "not now")
		}
		return nil
	}})
	b.enqueue(nil, delivery("down", func(d *pipeline.Delivery) { d.NotAfter = event.At(time.Now().Add(time.Hour)) }), delivery("next"))
	var clock struct {
		sync.Mutex
		ahead time.Duration
	}
	b.run(b.stage("mail", s.address, func(c *Config) {
		c.Concurrency = 1
		c.Pause = func(int) time.Duration { return 30 * time.Minute }
		c.Now = func() time.Time {
			clock.Lock()
			defer clock.Unlock()
			return time.Now().Add(clock.ahead)
		}
	}))
	b.awaitEnds(1) // of the other
	eventually(t, "the first waits", func() bool { return b.record("down").State == waiting })
	if came, _ := s.count("down"); came != 1 {
		t.Errorf("it was tried %d times", came)
	}
	clock.Lock()
	clock.ahead = 2 * time.Hour
	clock.Unlock()
	if e := b.awaitEnds(2)["down"].Properties; e.Outcome != "dropped" || e.Reason != "late" || e.Attempt != 1 {
		t.Errorf("feedback %+v", e)
	}
}

func TestConnectionLostAndResent(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	s := startServer(t, &server{data: func(conn net.Conn, _ string, attempt int) error {
		if attempt == 1 {
			conn.Close()
		}
		return nil
	}})
	b.enqueue(nil, delivery("d1"))
	b.run(b.stage("mail", s.address, func(c *Config) { c.AfterCrash = Resend }))
	if e := b.awaitEnds(1)["d1"].Properties; e.Outcome != "accepted" || e.Attempt != 2 {
		t.Errorf("feedback %+v", e)
	}
	if came, _ := s.count("d1"); came != 2 { // counted by its Message-ID, which stayed the same
		t.Errorf("%d mails came, want 2", came)
	}
}

func TestAsManyAtTheSameTimeAsAllowed(t *testing.T) {
	for _, most := range []int{1, 3} {
		b := newBench(t)
		b.person("anna", map[string]string{"email": "anna@shop.example"})
		var s *server
		s = startServer(t, &server{data: func(net.Conn, string, int) error {
			// Each mail waits a while for one too many.
			for deadline := time.Now().Add(50 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				s.mu.Lock()
				now := s.now
				s.mu.Unlock()
				if now > most {
					break
				}
			}
			return nil
		}})
		for n := range 12 {
			b.enqueue(nil, delivery(fmt.Sprint("d", n)))
		}
		stop := b.run(b.stage("mail", s.address, func(c *Config) { c.Concurrency = most }))
		b.awaitEnds(12)
		stop()
		if s.most != most {
			t.Errorf("%d mails at the same time, want %d", s.most, most)
		}
		if mails, ids := s.all(); mails != 12 || ids != 12 {
			t.Errorf("%d mails of %d deliveries came, want 12 of 12", mails, ids)
		}
	}
}

// A stop while mails are on their way waits for their answers; nothing is lost and nothing sent twice, however
// often it happens.
func TestStops(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	came := make(chan struct{}, 1000)
	answer := make(chan struct{})
	s := startServer(t, &server{data: func(net.Conn, string, int) error {
		came <- struct{}{}
		<-answer
		return nil
	}})
	const count = 60
	for n := range count {
		b.enqueue(nil, delivery(fmt.Sprint("d", n)))
	}
	for round := range 6 {
		stop := b.run(b.stage("mail", s.address))
		for range 3 + round {
			<-came
			answer <- struct{}{}
		}
		<-came // on its way, with whatever else is
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		for open := true; open; { // answers come while it stops
			select {
			case answer <- struct{}{}:
			case <-stopped:
				open = false
			}
		}
		for len(came) > 0 {
			<-came
		}
	}
	close(answer)
	b.run(b.stage("mail", s.address))
	ends := b.awaitEnds(count)
	if mails, ids := s.all(); mails != count || ids != count {
		t.Errorf("%d mails of %d deliveries came, want %d of %d", mails, ids, count, count)
	}
	for id, e := range ends {
		if e.Properties.Outcome != "accepted" || e.Properties.Attempt != 1 {
			t.Errorf("%s: %+v", id, e.Properties)
		}
	}
	if got := b.counted()["mail accepted "]; got != count {
		t.Errorf("metric %g, want %d", got, count)
	}
}

func TestADeadDestinationSlowsNoOther(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	listener.Close()
	s := startServer(t, &server{})
	dead := func(d *pipeline.Delivery) { d.Destination = "dead" }
	const count = 30
	for n := range count {
		b.enqueue(nil, delivery(fmt.Sprint("dead", n), dead), delivery(fmt.Sprint("live", n)))
	}
	b.run(b.stage("dead", nobody, func(c *Config) { c.Pause = func(int) time.Duration { return time.Second } }), b.stage("mail", s.address))
	began := time.Now()
	for id, e := range b.awaitEnds(count) {
		if !strings.HasPrefix(id, "live") || e.Properties.Outcome != "accepted" {
			t.Errorf("%s: %+v", id, e.Properties)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("%d mails took %s", count, took)
	}
	if got := b.record("dead0").State; got != waiting && got != attempting {
		t.Errorf("the dead destination's first delivery is %q", got)
	}
}

// A delivery that the relay has dropped, since the queue was full, is not sent when a repeat of it finds room, and its
// end is not stated a second time.
func TestWhatTheRelayDroppedStaysDropped(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	b.note("dropped", Record{State: Dropped, Reason: pipeline.QueueFull})
	s := startServer(t, &server{})
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	b.enqueue(nil, delivery("dropped"), delivery("sent", func(d *pipeline.Delivery) { d.Trace = trace }))
	b.run(b.stage("mail", s.address))
	b.awaitEnds(1)
	eventually(t, "the queue is read", func() bool { return len(b.stored(topology.Outbox)) == 0 })
	if ends := b.ends(); len(ends) != 1 || ends["sent"].Properties.Outcome != "accepted" {
		t.Errorf("ends: %+v", ends)
	}
	if got := b.stored(topology.Raw)[0].Header.Get(event.HeaderTrace); got != trace {
		t.Errorf("the end travels with the trace %q, want that of the call", got)
	}
	if r := b.record("dropped"); r.State != Dropped || r.Attempt != 0 {
		t.Errorf("record: %+v", r)
	}
}

// meddler lets another hand write the record while a mail is being sent, so that its outcome can't be stored at
// the first try.
type meddler struct {
	Sender
	meddle func(id string)
}

func (m meddler) Send(ctx context.Context, mail pipeline.Mail) (pipeline.Receipt, error) {
	receipt, err := m.Sender.Send(ctx, mail)
	m.meddle(mail.ID)
	return receipt, err
}

func TestAnOutcomeThatCouldNotBeStoredIsStoredLater(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	s := startServer(t, &server{})
	b.enqueue(nil, delivery("d1"))
	b.run(b.stage("mail", s.address, func(c *Config) {
		c.Sender = meddler{c.Sender, func(id string) { b.note(id, Record{State: attempting, Attempt: 1, At: time.Now()}) }}
	}))
	if e := b.awaitEnds(1)["d1"].Properties; e.Outcome != "accepted" || e.Attempt != 1 {
		t.Errorf("feedback %+v", e)
	}
	if r := b.record("d1"); r.State != Accepted {
		t.Errorf("record %+v", r)
	}
	if came, _ := s.count("d1"); came != 1 {
		t.Errorf("%d mails came", came)
	}
	if diff := cmp.Diff(map[string]float64{"mail accepted ": 1}, b.counted()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
}

// flaky refuses in ways that SMTP does not have.
type flaky struct {
	Sender
	mu   sync.Mutex
	errs []error
}

func (f *flaky) Send(ctx context.Context, mail pipeline.Mail) (pipeline.Receipt, error) {
	f.mu.Lock()
	if len(f.errs) == 0 {
		f.mu.Unlock()
		return f.Sender.Send(ctx, mail)
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	f.mu.Unlock()
	if err == nil {
		panic("canary of " + mail.To)
	}
	return pipeline.Receipt{}, err
}

func TestSendersOfAllKinds(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "canary@shop.example"})
	s := startServer(t, &server{})
	b.enqueue(nil, delivery("d1"))
	began := time.Now()
	b.run(b.stage("mail", s.address, func(c *Config) {
		c.AfterCrash = Resend
		c.Sender = &flaky{Sender: c.Sender, errs: []error{
			pipeline.RetryAfter(300*time.Millisecond, errors.New("too many")), nil, errors.New("no"),
		}}
	}))
	if e := b.awaitEnds(1)["d1"].Properties; e.Outcome != "accepted" || e.Attempt != 4 {
		t.Errorf("feedback %+v", e)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("tried again after %s, before the provider allowed it", took)
	}
	if text := b.log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "delivery panicked") {
		t.Error("the log should tell of the panic, without what it said")
	}
}

// poisoned panics at one mail, whenever it is sent.
type poisoned struct{ Sender }

func (p poisoned) Send(ctx context.Context, mail pipeline.Mail) (pipeline.Receipt, error) {
	if mail.ID == "poison" {
		panic("canary of " + mail.To)
	}
	return p.Sender.Send(ctx, mail)
}

// A mail that has its sender run into a defect holds up no other.
func TestAMailThatPanicsHoldsUpNobody(t *testing.T) {
	for policy, want := range map[AfterCrash]Outcome{Hold: Unknown, Resend: waiting} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.person("anna", map[string]string{"email": "canary@shop.example"})
			s := startServer(t, &server{})
			b.enqueue(nil, delivery("poison"))
			for i := range 3 * batchSize {
				b.enqueue(nil, delivery(fmt.Sprint("d", i)))
			}
			b.run(b.stage("mail", s.address, func(c *Config) { c.AfterCrash, c.Sender = policy, poisoned{c.Sender} }))
			b.awaitEnds(3 * batchSize)
			eventually(t, "the others are accepted", func() bool { return b.counted()["mail accepted "] == 3*batchSize })
			if r := b.record("poison"); r.State != want && r.State != attempting || want == Unknown && r.Reason != "interrupted" {
				t.Errorf("record %+v", r)
			}
			if text := b.log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "delivery panicked") {
				t.Error("the log should tell of the panic, without what it said")
			}
		})
	}
}

func TestPauseGrows(t *testing.T) {
	for attempt, most := range map[int]time.Duration{1: 1500 * time.Millisecond, 2: 3 * time.Second, 5: 24 * time.Second, 20: 450 * time.Second, 1000: 450 * time.Second} {
		for range 50 {
			if got := pause(attempt); got > most || got < most/3 {
				t.Fatalf("pause after attempt %d is %s, want %s to %s", attempt, got, most/3, most)
			}
		}
	}
}

func TestOutlasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		longer, done := outlasting(ctx, time.Minute)
		began := time.Now()
		cancel()
		<-longer.Done()
		if got := time.Since(began); got != time.Minute {
			t.Errorf("it ended after %s", got)
		}
		done()

		ctx, cancel = context.WithCancel(t.Context())
		longer, done = outlasting(ctx, time.Minute)
		cancel()
		done()
		if longer.Err() == nil {
			t.Error("it goes on after it was let go")
		}
	})
}

func TestDiscreet(t *testing.T) {
	entry := vault.Entry{Fields: map[string]vault.Field{
		"email": {Value: []byte(`"anna.ek@shop.example"`)}, "first_name": {Value: []byte(`"Anna"`)}, "last_name": {Value: []byte(`"Ek"`)},
		"address": {Value: []byte(`{"street":"Elm (1)","lines":["Upper Flat"]}`)}, "flag": {Value: []byte(`7`)},
	}}
	for text, want := range map[string]string{
		"":                                   "",
		"250 ok":                             "250 ok",
		"no ANNA.EK@shop.example":            "no [personal]",
		"hello anna, of elm (1), UPPER FLAT": "hello [personal], of [personal], [personal]",
		"Ek":                                 "Ek",
	} {
		if got := discreet(text, entry); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if got := discreet("Anna", vault.Entry{}); got != "Anna" {
		t.Errorf("got %q", got)
	}
}
