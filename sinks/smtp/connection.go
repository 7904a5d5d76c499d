package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/wneessen/go-mail/smtp"
)

// connection is one session with the server, greeted and authenticated.
type connection struct {
	raw    net.Conn // below TLS: deadlines and Close work while another goroutine reads
	client *gosmtp.Client
	reused bool
	idle   time.Time // since when it waits for a mail
}

// dial opens a session. Its errors concern the server or the settings, never the mail: they ask for another attempt.
func (s *Sink) dial(ctx context.Context) (_ *connection, err error) {
	address := net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.Port))
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to the mail server: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			raw.Close()
			if ctx.Err() != nil {
				err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
			}
			err = fmt.Errorf("open a session with %s: %w", address, err)
		}
	}()

	tlsConfig := &tls.Config{ServerName: s.config.Host, MinVersion: tls.VersionTLS12, RootCAs: s.roots}
	conn := raw
	if s.config.TLS == TLSImplicit {
		secured := tls.Client(raw, tlsConfig)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		conn = secured
	}
	client, err := gosmtp.NewClient(conn, s.config.Host)
	if err != nil {
		return nil, fmt.Errorf("greeting: %w", wordless(err))
	}
	if err := client.Hello(s.config.helloName()); err != nil {
		return nil, fmt.Errorf("hello: %w", wordless(err))
	}
	secure := s.config.TLS == TLSImplicit
	if offered, _ := client.Extension("STARTTLS"); offered && (s.config.TLS == TLSStartTLS || s.config.TLS == TLSMandatory) {
		if err := client.StartTLS(tlsConfig); err != nil {
			return nil, fmt.Errorf("STARTTLS: %w", wordless(err))
		}
		secure = true
	}
	if s.config.TLS == TLSMandatory && !secure {
		return nil, errors.New("the server offers no STARTTLS: set tls to implicit for a TLS port, or to none in a trusted network")
	}
	if s.config.Username != "" {
		if err := s.authenticate(client, secure || loopback(raw)); err != nil {
			return nil, err
		}
	}
	return &connection{raw: raw, client: client}, nil
}

func (s *Sink) authenticate(client *gosmtp.Client, private bool) error {
	_, offered := client.Extension("AUTH")
	mechanisms := strings.Fields(strings.ToUpper(offered))
	c := s.config
	var auth gosmtp.Auth
	switch {
	case slices.Contains(mechanisms, "SCRAM-SHA-256"):
		auth = gosmtp.ScramSHA256Auth(c.Username, c.Password)
	case !private:
		return errors.New("the connection is not encrypted, so the password was not sent: set tls to mandatory or implicit")
	case slices.Contains(mechanisms, "PLAIN"):
		auth = gosmtp.PlainAuth("", c.Username, c.Password, c.Host, true)
	case slices.Contains(mechanisms, "LOGIN"):
		auth = gosmtp.LoginAuth(c.Username, c.Password, c.Host, true)
	default:
		return errors.New("the server offers no authentication that is known here (SCRAM-SHA-256, PLAIN, LOGIN): remove username, or ask for another port")
	}
	if err := client.Auth(auth); err != nil {
		return fmt.Errorf("authenticate: check username and password: %w", wordless(err))
	}
	return nil
}

func (c *connection) deadline(d time.Duration) { _ = c.raw.SetDeadline(time.Now().Add(d)) }

// quit takes leave without waiting long.
func (c *connection) quit() {
	c.deadline(time.Second)
	_ = c.client.Quit()
	_ = c.raw.Close()
}

// wordless keeps the code of a server's reply and drops its words, which may repeat an account's address.
func wordless(err error) error {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return fmt.Errorf("the server says %d", reply.Code)
	}
	var protocol textproto.ProtocolError
	if errors.As(err, &protocol) {
		return errors.New("the server's answer is not SMTP")
	}
	return err
}

func loopback(c net.Conn) bool {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
