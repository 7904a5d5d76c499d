package deliver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded"
	"attune/pipeline/embedded/enginetest"
	"attune/pipeline/topology"
)

// death is how a worker ends at a point.
type death int

const (
	closed   death = iota // all that it sent arrives, then its connection is gone
	left                  // the process does nothing more, its connection stays open
	stumbled              // the step fails, the worker lives on
	stopped               // SIGSTOP: it goes on once the next worker is through
	deaths
)

func (d death) String() string {
	return [...]string{closed: "closed", left: "left", stumbled: "stumbled", stopped: "stopped"}[d]
}

var errDead = errors.New("dead")

// fate is where and how a worker ends.
type fate struct {
	at  point
	how death
	cut func()

	mu     sync.Mutex
	struck bool
	dead   bool
	wake   chan struct{}
}

// strike is asked at every point. A dead process gets no further at any of them, a stopped one stands still.
func (f *fate) strike(at point) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errDead
	}
	if f.struck && f.how == stopped || at == f.at && !f.struck && f.how == stopped {
		f.struck = true
		f.mu.Unlock()
		<-f.wake
		f.mu.Lock()
		return nil
	}
	if at != f.at || f.struck {
		return nil
	}
	f.struck = true
	if f.how == closed {
		f.cut()
	}
	f.dead = f.how != stumbled
	return errDead
}

func (f *fate) happened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.struck
}

// benchOn is another process on the same broker.
func (b *bench) benchOn(n *embedded.NATS) (other *bench, cut func()) {
	b.t.Helper()
	conn, err := n.Connect()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		b.t.Fatal(err)
	}
	one := *b
	one.js = js
	return &one, func() {
		_ = conn.FlushTimeout(patience)
		conn.Close()
	}
}

// A worker dies at every point, in every way. Each delivery comes to one end, told as often as it likes but always the
// same; no mail is taken twice; and one that was not is not called accepted. One of them is not taken at first, and waits.
func TestDiesAtEveryPoint(t *testing.T) {
	n := enginetest.NATS(t)
	for at := range points {
		for how := range deaths {
			t.Run(fmt.Sprintf("%s/%s", at, how), func(t *testing.T) {
				ends, mails, f := ordeal(t, n, at, how, nil)
				if !f.happened() {
					t.Fatalf("%s was never reached", at)
				}
				unknown := 0
				for id, e := range ends {
					switch came := mails(id); {
					case came > 1:
						t.Errorf("%s came %d times", id, came)
					case e.Properties.Outcome == string(Accepted) && came != 1:
						t.Errorf("%s is accepted, and came %d times", id, came)
					case e.Properties.Outcome == string(Unknown):
						unknown++
					case e.Properties.Outcome != string(Accepted):
						t.Errorf("%s: %+v", id, e)
					}
				}
				// Those that were being sent at that time; what is left or stopped still goes on to its next point.
				if (how == closed || how == stumbled) && unknown > 4 {
					t.Errorf("%d of %d ends are unknown", unknown, len(ends))
				}
			})
		}
	}
}

// ordeal delivers with one worker that has its fate and then another.
func ordeal(t *testing.T, n *embedded.NATS, at point, how death, change func(*Config)) (ends map[string]end, mails func(id string) int, f *fate) {
	t.Helper()
	const count = 8
	b := newBenchOn(t, n)
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	destination := fmt.Sprintf("mail%d%d%t", at, how, change != nil)
	name := func(i int) string { return fmt.Sprintf("%s-%d", destination, i) }
	for i := range count {
		d := delivery(name(i))
		d.Destination = destination
		b.enqueue(nil, d)
	}
	s := startServer(t, &server{data: func(_ net.Conn, id string, attempt int) error {
		if id == name(2) && attempt <= attemptsInPlace { // it waits
			return says(451, "come back later")
		}
		return nil
	}})
	if change == nil {
		change = func(*Config) {}
	}
	victim, cut := b.benchOn(n)
	f = &fate{at: at, how: how, cut: cut, wake: make(chan struct{})}
	goOn := sync.OnceFunc(func() { close(f.wake) })
	stop := victim.run(victim.stage(destination, s.address, func(c *Config) { c.faults = f.strike }, change))
	t.Cleanup(func() { goOn(); stop() })
	eventually(t, "the worker dies", f.happened)
	if how == closed || how == left {
		stop()
	}
	told := func() bool {
		all := b.ends()
		for i := range count {
			if _, ok := all[name(i)]; !ok {
				return false
			}
		}
		return true
	}
	if how == stumbled {
		eventually(t, "all ends are told", told)
		stop()
	}
	next := b.run(b.stage(destination, s.address, change))
	eventually(t, "all ends are told", told)
	eventually(t, "the queue is acknowledged", func() bool {
		c, err := b.js.Consumer(t.Context(), topology.Outbox, topology.Durable("deliver", destination))
		return err == nil && c.CachedInfo().NumAckPending == 0 && c.CachedInfo().NumPending == 0
	})
	eventually(t, "the queue is empty", func() bool { return len(b.stored(topology.Outbox)) == 0 })
	goOn()
	stop()
	next()
	ends = map[string]end{}
	for id, e := range b.ends() {
		if e.Properties.Destination == destination {
			ends[id] = e
		}
	}
	return ends, func(id string) int { _, taken := s.count(id); return taken }, f
}

// unrecorded is a bucket of delivery records that keeps none.
type unrecorded struct{ jetstream.KeyValue }

func (unrecorded) Get(context.Context, string) (jetstream.KeyValueEntry, error) {
	return nil, jetstream.ErrKeyNotFound
}

func (unrecorded) Create(context.Context, string, []byte, ...jetstream.KVCreateOpt) (uint64, error) {
	return 1, nil
}

func (unrecorded) Update(context.Context, string, []byte, uint64) (uint64, error) { return 1, nil }

// withoutRecords is a broker that keeps no delivery record.
type withoutRecords struct{ jetstream.JetStream }

func (w withoutRecords) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := w.JetStream.KeyValue(ctx, bucket)
	if bucket == topology.Deliveries {
		kv = unrecorded{kv}
	}
	return kv, err
}

// Without the record a crash sends a mail twice: the test above would see it.
func TestWithoutItsRecordAMailIsSentTwice(t *testing.T) {
	ends, mails, _ := ordeal(t, enginetest.NATS(t), mailSent, closed, func(c *Config) { c.JetStream = withoutRecords{c.JetStream} })
	twice := 0
	for id := range ends {
		if mails(id) > 1 {
			twice++
		}
	}
	if twice == 0 {
		t.Error("no mail was sent twice")
	}
}
