package clickhouse

import (
	"net"
	"sync"
	"testing"
)

// tcpProxy stands between a sink and its server and breaks connections.
type tcpProxy struct {
	listener net.Listener
	target   string
	wait     sync.WaitGroup

	mu      sync.Mutex
	open    map[net.Conn]bool
	budget  int64 // bytes of the client's until the connection is cut; 0: none
	left    int   // connections that the budget is for
	deaf    bool  // after the budget the server's bytes vanish, and the connection stays
	refused bool
	cutted  int
}

func startProxy(t *testing.T, target string) *tcpProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tcpProxy{listener: l, target: target, open: map[net.Conn]bool{}}
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cutAll()
		p.wait.Wait()
	})
	return p
}

func (p *tcpProxy) address() string { return p.listener.Addr().String() }

func (p *tcpProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refused := p.refused
		p.open[client] = true
		p.mu.Unlock()
		if refused {
			p.drop(client)
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			p.drop(client)
			continue
		}
		p.mu.Lock()
		p.open[server] = true
		p.mu.Unlock()
		link := &link{proxy: p, client: client, server: server}
		p.wait.Go(link.up)
		p.wait.Go(link.down)
	}
}

func (p *tcpProxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.open, c)
		_ = c.Close()
	}
}

// cutAfter breaks three connections in a row, each when the client has sent n more bytes.
func (p *tcpProxy) cutAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.left, p.deaf = n, 3, false
}

// deafAfter withholds what the server says once the client has sent n bytes.
func (p *tcpProxy) deafAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.left, p.deaf = n, 1, true
}

func (p *tcpProxy) refuse() {
	p.mu.Lock()
	p.refused = true
	p.mu.Unlock()
	p.cutAll()
}

func (p *tcpProxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.left, p.deaf = 0, 0, false
	for c := range p.open {
		_ = c.Close()
	}
	clear(p.open)
}

func (p *tcpProxy) cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cutted
}

type link struct {
	proxy          *tcpProxy
	client, server net.Conn

	mu    sync.Mutex
	sent  int64 // since the budget was set
	epoch int64
	deaf  bool
}

func (l *link) up() {
	defer l.proxy.drop(l.client, l.server)
	buffer := make([]byte, 2048)
	for {
		n, err := l.client.Read(buffer)
		if n > 0 {
			if l.spend(int64(n)) {
				return
			}
			if _, err := l.server.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// spend tells whether the connection breaks now.
func (l *link) spend(n int64) bool {
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.budget == 0 || p.left == 0 {
		return false
	}
	if l.epoch != p.budget {
		l.epoch, l.sent = p.budget, 0
	}
	if l.sent += n; l.sent < p.budget {
		return false
	}
	p.left--
	if p.deaf {
		l.mu.Lock()
		l.deaf = true
		l.mu.Unlock()
		return false
	}
	p.cutted++
	return true
}

func (l *link) down() {
	defer l.proxy.drop(l.client, l.server)
	buffer := make([]byte, 2048)
	for {
		n, err := l.server.Read(buffer)
		l.mu.Lock()
		deaf := l.deaf
		l.mu.Unlock()
		if n > 0 && !deaf {
			if _, err := l.client.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
