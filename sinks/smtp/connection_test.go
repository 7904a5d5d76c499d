package smtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

func TestConnectionsAreReusedAndReplaced(t *testing.T) {
	srv := start(t, &server{})
	sink := open(t, srv.config())
	for range 3 {
		if _, err := sink.Send(t.Context(), cart()); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, _ := srv.seen(); n != 1 {
		t.Errorf("%d connections for three mails", n)
	}
	// The server hangs up on the idle connection.
	sink.mu.Lock()
	dead := sink.idle[0].raw
	sink.mu.Unlock()
	dead.Close()
	if _, err := sink.Send(t.Context(), cart()); err != nil {
		t.Fatal(err)
	}
	sessions, _, bodies := srv.seen()
	if sessions != 2 || len(bodies) != 4 {
		t.Errorf("%d connections, %d mails", sessions, len(bodies))
	}
	// One that waited too long isn't used again.
	sink.mu.Lock()
	sink.idle[0].idle = time.Now().Add(-2 * maxIdle)
	sink.mu.Unlock()
	if _, err := sink.Send(t.Context(), cart()); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := srv.seen(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// A server that takes a limited number of mails per connection costs a new connection, not a failure.
func TestServerThatLimitsMailsPerConnection(t *testing.T) {
	srv := start(t, &server{mail: func(n int, _ string) error {
		if n%3 == 0 {
			return says(421, "too many messages in this connection")
		}
		return nil
	}})
	sink := open(t, srv.config())
	for range 6 {
		if _, err := sink.Send(t.Context(), cart()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcurrentSends(t *testing.T) {
	srv := start(t, &server{})
	c := srv.config()
	c.MaxConnections = 3
	sink := open(t, c)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			m := cart()
			m.ID = fmt.Sprint("d-", i)
			if _, err := sink.Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	sessions, _, bodies := srv.seen()
	if sessions > 3 || len(bodies) != 40 {
		t.Errorf("%d connections, %d mails", sessions, len(bodies))
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	if _, err := sink.Send(t.Context(), cart()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestWaitForAConnectionHonoursContext(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	srv := start(t, &server{data: func(net.Conn, int, []byte) error { close(inside); <-release; return nil }})
	c := srv.config()
	c.MaxConnections = 1
	sink := open(t, c)
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := sink.Send(t.Context(), cart()); err != nil {
			t.Error(err)
		}
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sink.Send(ctx, cart()); kind(err) != "retry" || !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", kind(err), err)
	}
	close(release)
	first.Wait()
}

func TestTLS(t *testing.T) {
	tlsConfig, ca := certificate(t)
	login := func(username, password string) error {
		if username != "shop" || password != "secret" {
			return gosmtp.ErrAuthFailed
		}
		return nil
	}
	secured := func() *server { return start(t, &server{Server: &gosmtp.Server{TLSConfig: tlsConfig}, auth: login}) }
	implicit := func() *server {
		return start(t, &server{Server: &gosmtp.Server{TLSConfig: tlsConfig}, auth: login, implicit: true})
	}
	plain := func() *server { return start(t, &server{}) }
	for _, c := range []struct {
		name     string
		server   func() *server
		tls, ca  string
		password string
		want     string
		hint     string
	}{
		{"mandatory", secured, TLSMandatory, ca, "secret", "sent", ""},
		{"when offered", secured, TLSStartTLS, ca, "secret", "sent", ""},
		{"when offered, and it isn't", plain, TLSStartTLS, "", "", "sent", ""},
		{"mandatory, not offered", plain, TLSMandatory, "", "", "retry", "offers no STARTTLS: set tls to"},
		{"from the first byte", implicit, TLSImplicit, ca, "secret", "sent", ""},
		{"from the first byte, and it isn't", plain, TLSImplicit, ca, "secret", "retry", "TLS handshake"},
		{"unknown authority", secured, TLSMandatory, "", "secret", "retry", "certificate"},
		{"wrong password", secured, TLSMandatory, ca, "wrong", "retry", "check username and password"},
		{"no authentication offered", plain, TLSNone, "", "secret", "retry", "remove username"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := c.server()
			cfg := srv.config()
			cfg.TLS, cfg.CAFile = c.tls, c.ca
			if c.password != "" {
				cfg.Username, cfg.Password = "shop", c.password
			}
			_, err := open(t, cfg).Send(t.Context(), cart())
			if kind(err) != c.want || err != nil && !strings.Contains(err.Error(), c.hint) {
				t.Errorf("%s: %v", kind(err), err)
			}
			if err != nil && strings.Contains(err.Error(), cfg.Password) && cfg.Password != "" && cfg.Password != "wrong" {
				t.Errorf("the password is in %v", err)
			}
		})
	}
}
