package pipeline_test

import (
	"errors"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
)

// death is how a worker ends at a point.
type death int

const (
	cut      death = iota // its connection is gone, with what it had not sent yet
	closed                // all that it sent arrives, then its connection is gone
	left                  // the process does nothing more, its connection stays open
	stumbled              // the session fails, the worker lives on: an answer that got lost
	stopped               // SIGSTOP: it goes on once the next owner has claimed
	slept                 // SIGSTOP: it goes on when the next owner is through with the log
	deaths
)

func (d death) String() string {
	return [...]string{cut: "cut", closed: "closed", left: "left", stumbled: "stumbled", stopped: "stopped", slept: "slept"}[d]
}

var errDead = errors.New("dead")

// wire is a worker's own connection to the broker: it can be cut, and what it sends can be changed on its way.
type wire struct {
	mu     sync.Mutex
	socket net.Conn
	change func([]byte) []byte
}

func (w *wire) Dial(network, address string) (net.Conn, error) {
	socket, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.socket = socket
	if w.change == nil {
		return socket, nil
	}
	return &changed{socket, w.change}, nil
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.socket.Close()
}

type changed struct {
	net.Conn
	change func([]byte) []byte
}

func (c *changed) Write(p []byte) (int, error) { return c.Conn.Write(c.change(p)) }

// fate is where and how one worker ends.
type fate struct {
	at  pipeline.Point
	nth int // the visit to the point at which it happens, from 1
	how death
	// certain tells that the point is sure to be reached, though perhaps only in the background after the end of the log.
	certain bool

	wire wire
	conn *nats.Conn
	js   jetstream.JetStream

	mu     sync.Mutex
	visits int
	dead   bool
	frozen bool
	woken  bool
	struck chan struct{} // closed when it has happened
	wake   chan struct{} // closed when a stopped process goes on
}

func (r *rig) fate(at pipeline.Point, nth int, how death, change func([]byte) []byte) *fate {
	r.t.Helper()
	f := &fate{at: at, nth: nth, how: how, struck: make(chan struct{}), wake: make(chan struct{})}
	f.wire.change = change
	var err error
	if f.conn, err = nats.Connect(r.n.URL(), nats.SetCustomDialer(&f.wire), nats.NoReconnect()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(f.conn.Close)
	if f.js, err = jetstream.New(f.conn); err != nil {
		r.t.Fatal(err)
	}
	return f
}

// strike is asked at every point. A dead process gets no further at any of them; a stopped one stands still.
func (f *fate) strike(at pipeline.Point) error {
	f.mu.Lock()
	for f.frozen {
		f.mu.Unlock()
		<-f.wake
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if f.dead || f.woken && at == pipeline.ClaimBegun { // by then it has heard that it is no longer the owner
		return errDead
	}
	if at != f.at {
		return nil
	}
	if f.visits++; f.visits != f.nth { // nth is 0 once it is spared
		return nil
	}
	close(f.struck)
	switch f.how {
	case stumbled:
		return errDead
	case stopped, slept:
		f.frozen = true
		f.mu.Unlock()
		<-f.wake
		f.mu.Lock()
		return nil
	case cut:
		f.wire.cut()
	case closed:
		_ = f.conn.FlushTimeout(patience)
		f.conn.Close()
	}
	f.dead = true
	return errDead
}

// goOn lets a stopped process go on.
func (f *fate) goOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.woken {
		f.woken, f.frozen = true, false
		close(f.wake)
	}
}

// spare lets a worker off that is through; false: it happened before.
func (f *fate) spare() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nth = 0
	return !f.happened()
}

func (f *fate) happened() bool {
	select {
	case <-f.struck:
		return true
	default:
		return false
	}
}

// victim runs the chain until its fate or, where that isn't certain, to the end of the log. A stopped one lives on: bury
// ends it.
func (w *world) victim(f *fate) (bury func()) {
	w.t.Helper()
	stop := w.customer(func(c *pipeline.CustomerConfig) {
		c.JetStream = w.through(f.js)
		c.FailAt(f.strike)
	})
	w.t.Cleanup(func() { f.goOn(); stop() })
	eventually(w.t, "the end of the log or of the worker", func() bool {
		return f.happened() || !f.certain && w.witness.last().Position >= w.end
	})
	if !f.spare() && (f.how == stopped || f.how == slept || f.how == left) {
		return func() { f.goOn(); stop() }
	}
	if f.how == stumbled {
		w.reach(w.end)
	}
	stop()
	return func() {}
}

// takeOver lets a healthy worker go to the end of the log beside what is left of a victim.
func (w *world) takeOver(f *fate, bury func()) {
	w.t.Helper()
	epoch := w.witness.last().Epoch
	stop := w.customer(nil)
	switch f.how {
	case stopped:
		eventually(w.t, "the next owner has claimed", func() bool { return w.witness.last().Epoch > epoch })
		f.goOn()
		w.reach(w.end)
		bury()
	default:
		w.reach(w.end)
		bury()
	}
	stop()
}
