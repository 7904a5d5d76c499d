package lease

import (
	"io"
	"net"
	"sync"
	"testing"
)

// line is a cable between a worker and the broker; it can be cut without a sound.
type line struct {
	t        *testing.T
	mu       sync.Mutex
	listener net.Listener
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{t: t, listener: listener}
	var ends []net.Conn
	var work sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		l.mu.Lock()
		for _, c := range ends {
			_ = c.Close()
		}
		l.mu.Unlock()
		work.Wait()
	})
	work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			l.mu.Lock()
			ends = append(ends, near, far)
			l.mu.Unlock()
			work.Go(func() { l.copy(near, far) })
			work.Go(func() { l.copy(far, near) })
		}
	})
	return l
}

// cut lets nothing pass until it is mended.
func (l *line) cut() (mend func()) {
	l.mu.Lock()
	mend = sync.OnceFunc(l.mu.Unlock)
	l.t.Cleanup(mend)
	return mend
}

func (l *line) address() string { return l.listener.Addr().String() }

func (l *line) copy(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		_, failed := to.Write(buffer[:n])
		l.mu.Unlock()
		if err != nil || failed != nil {
			return
		}
	}
}
