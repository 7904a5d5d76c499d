package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A name in another charset's words need not be text. The mail is sent all the same, or refused by the server.
func TestANameThatIsNoText(t *testing.T) {
	var refuses atomic.Bool
	srv := start(t, &server{rcpt: func(string) error {
		if refuses.Load() {
			return says(550, "who is ada.lovelace, or \xff")
		}
		return nil
	}})
	sink := open(t, srv.config())
	m := cart()
	m.To = recipient + " (=?utf-8?q?=FF?=)"
	if _, err := sink.Send(t.Context(), m); err != nil {
		t.Error(err)
	}
	refuses.Store(true)
	_, err := sink.Send(t.Context(), m)
	if kind(err) != "refused" {
		t.Fatalf("%s: %v", kind(err), err)
	}
	noAddress(t, err.Error())
}

// What the server says decides what is to be done, and no answer brings the recipient into an error.
func TestSendByAnswer(t *testing.T) {
	words := "no such user <ADA.LOVELACE@personal.example>; lovelace? ada.lovelace at personal.example, see x@other.example"
	answers := func(step string, code int) *server {
		switch step {
		case "MAIL":
			return &server{mail: func(int, string) error { return says(code, words) }}
		case "RCPT":
			return &server{rcpt: func(string) error { return says(code, words) }}
		default:
			return &server{data: func(net.Conn, int, []byte) error { return says(code, words) }}
		}
	}
	for _, c := range []struct {
		step string
		code int
		want string
	}{
		{"MAIL", 550, "refused"}, {"MAIL", 451, "retry"}, {"MAIL", 421, "retry"}, {"MAIL", 530, "retry"}, {"MAIL", 535, "retry"},
		{"RCPT", 550, "refused"}, {"RCPT", 553, "refused"}, {"RCPT", 450, "retry"}, {"RCPT", 421, "retry"},
		{"end", 554, "refused"}, {"end", 552, "refused"}, {"end", 451, "retry"}, {"end", 421, "retry"}, {"end", 250, "sent"},
	} {
		t.Run(fmt.Sprint(c.step, c.code), func(t *testing.T) {
			srv := start(t, answers(c.step, c.code))
			sink := open(t, srv.config())
			for range 2 { // the connection is usable afterwards, or replaced
				m := cart()
				m.To = "Lovelace <" + recipient + ">"
				receipt, err := sink.Send(t.Context(), m)
				if kind(err) != c.want {
					t.Fatalf("%s: %v", kind(err), err)
				}
				if err != nil {
					noAddress(t, err.Error(), fmt.Sprintf("%+v", err))
					for e := err; e != nil; e = errors.Unwrap(e) {
						noAddress(t, e.Error())
					}
					if !strings.Contains(err.Error(), fmt.Sprint(c.code)) || !strings.Contains(err.Error(), "no such user [address]; [recipient]? [recipient] at [recipient], see [address]") {
						t.Errorf("the server's words are lost: %v", err)
					}
				}
				noAddress(t, receipt.Response)
			}
		})
	}
}

func TestConnectionLostAfterTheMessage(t *testing.T) {
	srv := start(t, &server{data: func(conn net.Conn, n int, _ []byte) error {
		if n == 1 {
			conn.Close()
		}
		return nil
	}})
	sink := open(t, srv.config())
	_, err := sink.Send(t.Context(), cart())
	if kind(err) != "unknown" {
		t.Fatalf("%s: %v", kind(err), err)
	}
	noAddress(t, err.Error())
	if _, err := sink.Send(t.Context(), cart()); err != nil { // over a new connection, with the same Message-ID
		t.Fatal(err)
	}
	_, _, bodies := srv.seen()
	var ids []string
	for _, b := range bodies {
		m, err := mail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.Header.Get("Message-Id"))
	}
	if len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("Message-IDs %q", ids)
	}
}

func TestNoReplyAfterTheMessage(t *testing.T) {
	release := make(chan struct{})
	srv := start(t, &server{data: func(net.Conn, int, []byte) error { <-release; return nil }})
	t.Cleanup(func() { close(release) })
	c := srv.config()
	c.ReplyTimeout = 30 * time.Millisecond
	if _, err := open(t, c).Send(t.Context(), cart()); kind(err) != "unknown" {
		t.Errorf("%s: %v", kind(err), err)
	}
}

// A connection that breaks while the message is still under way has delivered nothing.
func TestConnectionLostDuringTheMessage(t *testing.T) {
	srv := start(t, &server{hook: func(r io.Reader, conn net.Conn) (bool, error) {
		_, _ = io.CopyN(io.Discard, r, 100)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
		return true, errors.New("gone")
	}})
	m := cart()
	m.HTML = strings.Repeat("<p>a very long mail</p>\n", 1<<20) // more than the sockets hold
	if _, err := open(t, srv.config()).Send(t.Context(), m); kind(err) != "retry" {
		t.Errorf("%s: %v", kind(err), err)
	}
}

func TestCancelAfterTheMessage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	srv := start(t, &server{data: func(net.Conn, int, []byte) error { cancel(); <-release; return nil }})
	t.Cleanup(func() { close(release) })
	_, err := open(t, srv.config()).Send(ctx, cart())
	if kind(err) != "unknown" || !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", kind(err), err)
	}
}

func TestCancelBeforeTheMessage(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	srv := start(t, &server{rcpt: func(string) error { cancel(); <-release; return nil }})
	t.Cleanup(func() { close(release) })
	_, err := open(t, srv.config()).Send(ctx, cart())
	if kind(err) != "retry" || !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", kind(err), err)
	}
}

// A server that accepts and stays silent doesn't hold a send longer than its context or the timeout.
func TestSilentServer(t *testing.T) {
	host, port := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c := DefaultConfig()
	c.Host, c.Port = host, port
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := open(t, c).Send(ctx, cart()); kind(err) != "retry" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", kind(err), err)
	}
	c.Timeout = 30 * time.Millisecond
	if _, err := open(t, c).Send(t.Context(), cart()); kind(err) != "retry" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v", kind(err), err)
	}
}

// What goes wrong before a mail is named concerns the server: no mail bounces for it.
func TestServerThatCannotBeUsed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	greets := func(line string) (string, int) {
		return raw(t, func(c net.Conn) { fmt.Fprint(c, line); _, _ = io.Copy(io.Discard, c) })
	}
	for _, c := range []struct{ name, greeting, hint string }{
		{"refused", "", "connection refused"},
		{"no service", "554 5.3.2 go away, lovelace@personal.example\r\n", "554"},
		{"not SMTP", "HTTP/1.1 400 Bad Request\r\n\r\n", "not SMTP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Host, cfg.Port = "127.0.0.1", free
			if c.greeting != "" {
				cfg.Host, cfg.Port = greets(c.greeting)
			}
			_, err := open(t, cfg).Send(t.Context(), cart())
			if kind(err) != "retry" || !strings.Contains(err.Error(), c.hint) {
				t.Errorf("%s: %v", kind(err), err)
			}
			noAddress(t, err.Error())
		})
	}
}
