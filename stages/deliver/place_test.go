package deliver

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/pipeline/topology"
)

// clock is moved by a test.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// queued are the decisions that are in the queue, in its order.
func (b *bench) queued() (decisions []string) {
	b.t.Helper()
	for _, m := range b.stored(topology.Outbox) {
		var a assignment
		if err := a.read(m.Data); err != nil {
			b.t.Fatal(err)
		}
		decisions = append(decisions, a.delivery.Decision)
	}
	return decisions
}

// Deliveries that wait for a later attempt hold up none that is due, however many they are.
func TestWaitingDeliveriesHoldUpNobody(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	const waits = 100
	later := Record{State: waiting, Attempt: 3, At: time.Now(), NotBefore: time.Now().Add(time.Hour)}
	for i := range waits {
		d := delivery(fmt.Sprint("later", i))
		b.note(d.Decision, later)
		b.enqueue(nil, d)
	}
	b.enqueue(nil, delivery("now"))
	s := startServer(t, &server{})
	began := time.Now()
	stop := b.run(b.stage("mail", s.address))
	b.awaitEnds(1)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the due delivery was sent after %s, behind %d that wait", took, waits)
	}
	eventually(t, "only what waits is left", func() bool { return len(b.queued()) == waits })
	stop()
	if came, _ := s.all(); came != 1 {
		t.Errorf("%d mails were sent: what waits too", came)
	}
}

// A full queue has no room to put back what the destination does not take for the moment. The others go on all the same,
// and make room for new ones.
func TestAFullQueueGoesOn(t *testing.T) {
	b := newBench(t)
	const limit = 40
	config := topology.DefaultConfig()
	config.OutboxMessages = limit
	if err := topology.Ensure(t.Context(), b.js, config); err != nil {
		t.Fatal(err)
	}
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	grey := func(id string) bool { return strings.HasPrefix(id, "grey") }
	var mu sync.Mutex
	open := false
	s := startServer(t, &server{data: func(_ net.Conn, id string, _ int) error {
		mu.Lock()
		defer mu.Unlock()
		if grey(id) && !open {
			return says(451, "come back later")
		}
		return nil
	}})
	for i := range limit {
		name := fmt.Sprint("d", i)
		if i%20 == 3 {
			name = fmt.Sprint("grey", i)
		}
		b.enqueue(nil, delivery(name))
	}
	if _, err := b.js.Publish(t.Context(), "OUTBOX.mail", []byte("{}")); err == nil {
		t.Fatal("the queue is not full: the test shows nothing")
	}
	var c clock
	b.run(b.stage("mail", s.address, func(config *Config) {
		config.Now = c.now
		config.Pause = func(int) time.Duration { return time.Hour }
	}))
	b.awaitEnds(limit - 2)
	eventually(t, "only what waits is left", func() bool {
		left := b.queued()
		return len(left) == 2 && grey(left[0]) && grey(left[1])
	})
	for i := range limit - 2 {
		b.enqueue(nil, delivery(fmt.Sprint("new", i)))
	}
	b.awaitEnds(2*limit - 4)
	mu.Lock()
	open = true
	mu.Unlock()
	c.forward(2 * time.Hour)
	b.awaitEnds(2*limit - 2)
	eventually(t, "the queue is empty", func() bool { return len(b.queued()) == 0 })
	for id, e := range b.ends() {
		attempts := 1
		if grey(id) {
			attempts = 2
		}
		if _, taken := s.count(id); e.Properties.Outcome != string(Accepted) || e.Properties.Attempt != attempts || taken != 1 {
			t.Errorf("%s was taken %d times: %+v", id, taken, e.Properties)
		}
	}
}

// What waits is known to the next worker, which tries it no earlier.
func TestWhatWaitsIsHandedOver(t *testing.T) {
	b := newBench(t)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	s := startServer(t, &server{data: func(_ net.Conn, id string, attempt int) error {
		if id == "grey" && attempt == 1 {
			return says(451, "come back later")
		}
		return nil
	}})
	var c clock
	set := func(config *Config) {
		config.Now = c.now
		config.Pause = func(int) time.Duration { return time.Hour }
	}
	b.enqueue(nil, delivery("first"), delivery("grey"), delivery("last"))
	stop := b.run(b.stage("mail", s.address, set))
	b.awaitEnds(2)
	eventually(t, "it waits alone", func() bool { return len(b.queued()) == 1 })
	stop()
	b.enqueue(nil, delivery("next"), delivery("grey")) // as a relay repeats it
	b.run(b.stage("mail", s.address, set))
	b.awaitEnds(3)
	eventually(t, "the next one is read", func() bool { return len(b.queued()) == 2 })
	if came, _ := s.count("grey"); came != 1 {
		t.Errorf("it came %d times before its time", came)
	}
	c.forward(2 * time.Hour)
	if e := b.awaitEnds(4)["grey"].Properties; e.Outcome != string(Accepted) || e.Attempt != 2 {
		t.Errorf("feedback %+v", e)
	}
	eventually(t, "the queue is empty", func() bool { return len(b.queued()) == 0 })
	if came, taken := s.count("grey"); came != 2 || taken != 1 {
		t.Errorf("it came %d times and was taken %d times", came, taken)
	}
}

// Where too many wait nothing new is begun, until there are fewer.
func TestNotTooManyWait(t *testing.T) {
	b := newBench(t)
	var c clock
	opened, err := b.stage("mail", "127.0.0.1:1", func(config *Config) { config.Now = c.now }).open(t.Context(), "OUTBOX.mail")
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	o := opened.(*session)
	for i := range maxWaiting { // another worker has ended them, which shows when they are due
		o.places = append(o.places, &place{sequence: uint64(i + 1), decision: fmt.Sprint("d", i), notBefore: c.now().Add(time.Hour)})
	}
	began := make(chan error, 1)
	go func() {
		_, err := o.Begin(t.Context(), nil)
		began <- err
	}()
	select {
	case err := <-began:
		t.Fatalf("it began: %v", err)
	case <-time.After(3 * roomPace):
	}
	c.forward(2 * time.Hour)
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	if got := len(o.places); got != maxWaiting-batchSize {
		t.Errorf("%d wait, want %d", got, maxWaiting-batchSize)
	}
}
