// Package smtp delivers mail by SMTP (RFC 5321) to a relay or a provider.
//
// A send ends in one of four ways, told by the error: nil (the server took the mail), pipeline.Refused (it said no for
// good, 5xx: a bounce), pipeline.Unknown (the mail was handed over and the connection broke before the last reply), or
// any other error (nothing was sent, try again). Neither errors nor receipts hold an address.
package smtp

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/mail"
	"net/textproto"
	"os"
	"sync"
	"time"

	"attune/pipeline"
)

// ErrClosed is returned by a Send after Close.
var ErrClosed = errors.New("smtp: the sink is closed")

// ErrLate is returned, before anything is sent, for a mail whose time limit has passed. Trying again can't help: the
// caller that watches the limit drops the mail.
var ErrLate = errors.New("smtp: the mail's time limit has passed; it was not sent")

// maxIdle is how long a connection waits for the next mail before it is replaced. Servers drop them after some minutes.
const maxIdle = 30 * time.Second

// Sink sends mails over at most Config.MaxConnections connections, which it keeps for the next mail. It starts no
// goroutine. It is safe for concurrent use; the caller closes it.
type Sink struct {
	config Config
	roots  *x509.CertPool // nil: the system's
	slots  chan struct{}  // one token for each send under way

	mu     sync.Mutex
	idle   []*connection
	closed chan struct{}
	once   sync.Once
}

// New checks the settings. It doesn't connect: a server that is down now may be up for the first mail.
func New(c Config) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Sink{config: c, slots: make(chan struct{}, c.MaxConnections), closed: make(chan struct{})}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("smtp: ca_file: %w", err)
		}
		if s.roots, err = x509.SystemCertPool(); err != nil {
			s.roots = x509.NewCertPool()
		}
		if !s.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("smtp: ca_file is %q: it holds no PEM certificate", c.CAFile)
		}
	}
	return s, nil
}

// Send hands the mail to the server and returns its answer. The Message-ID derives from Mail.ID, so that a resend
// carries the same. A connection that turns out to be dead before the mail was handed over is replaced once.
// When ctx ends, the connection is cut: after the hand-over the outcome is unknown.
func (s *Sink) Send(ctx context.Context, m pipeline.Mail) (pipeline.Receipt, error) {
	msg, err := build(m, s.config.From)
	if err != nil {
		return pipeline.Receipt{}, pipeline.Refuse(fmt.Errorf("smtp: %w", err))
	}
	select {
	case <-s.closed:
		return pipeline.Receipt{}, ErrClosed
	default:
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-s.closed:
		return pipeline.Receipt{}, ErrClosed
	case <-ctx.Done():
		return pipeline.Receipt{}, fmt.Errorf("smtp: wait for a free connection: %w", ctx.Err())
	}

	for {
		if !m.Until.IsZero() && time.Now().After(m.Until) {
			return pipeline.Receipt{}, ErrLate
		}
		c, err := s.connection(ctx)
		if err != nil {
			return pipeline.Receipt{}, fmt.Errorf("smtp: %w", err)
		}
		response, keep, err := s.transact(ctx, c, msg, m.Until)
		if keep {
			s.put(c)
		} else {
			c.raw.Close()
		}
		if errors.Is(err, errStale) {
			if ctx.Err() != nil {
				return pipeline.Receipt{}, fmt.Errorf("smtp: %w", ctx.Err())
			}
			continue
		}
		if err != nil {
			return pipeline.Receipt{}, err
		}
		return pipeline.Receipt{Provider: "smtp", Response: response}, nil
	}
}

// errStale marks a kept connection that the server had given up: the next one is tried, in the end a new one.
var errStale = errors.New("the connection was no longer alive")

// transact sends the message and says whether the connection can carry another.
func (s *Sink) transact(ctx context.Context, c *connection, msg *message, until time.Time) (response string, keep bool, err error) {
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	defer func() {
		if !stop() {
			keep = false
		}
	}()

	if offered, _ := c.client.Extension("SMTPUTF8"); msg.utf8 && !offered {
		return "", true, pipeline.Refuse(errors.New("smtp: an address has characters beyond ASCII, which the server doesn't take (no SMTPUTF8)"))
	}
	c.deadline(s.config.Timeout)
	if err := c.client.Mail(envelope(msg.from)); err != nil {
		code, _ := reply(err)
		if c.reused && code < 500 { // gone, or has carried as many mails as the server allows
			return "", false, errStale
		}
		return "", code >= 500 && s.reset(c, err), s.failed(ctx, "MAIL FROM", msg, err)
	}
	c.deadline(s.config.Timeout)
	if err := c.client.Rcpt(envelope(msg.to)); err != nil {
		return "", s.reset(c, err), s.failed(ctx, "RCPT TO", msg, err)
	}
	if !until.IsZero() && time.Now().After(until) {
		return "", s.reset(c, nil), ErrLate
	}
	c.deadline(s.config.Timeout)
	body, err := c.client.Data()
	if err != nil {
		return "", s.reset(c, err), s.failed(ctx, "DATA", msg, err)
	}
	c.deadline(s.config.Timeout)
	if _, err := body.Write(msg.raw); err != nil {
		// The end mark was never written: whatever the server does, it has no whole mail.
		return "", false, s.failed(ctx, "message", msg, err)
	}
	c.deadline(s.config.ReplyTimeout)
	err = body.Close() // writes the end mark and reads the reply
	code, words := reply(err)
	switch {
	case err == nil:
		if closer, ok := body.(interface{ ServerResponse() string }); ok {
			words = closer.ServerResponse()
		}
		return msg.scrub.clean("250 " + words), true, nil
	case code >= 200 && code < 300:
		return msg.scrub.clean(fmt.Sprintf("%d %s", code, words)), true, nil
	case code >= 400 && code < 600:
		return "", code != 421, s.failed(ctx, "end of message", msg, err)
	case ctx.Err() != nil:
		return "", false, pipeline.OutcomeUnknown(fmt.Errorf("smtp: the message was handed over, no reply was awaited: %w", ctx.Err()))
	default:
		return "", false, pipeline.OutcomeUnknown(fmt.Errorf("smtp: the message was handed over, no reply came: %w", wordless(err)))
	}
}

// failed turns a failure before or in the server's reply into an instruction.
func (s *Sink) failed(ctx context.Context, step string, msg *message, err error) error {
	code, words := reply(err)
	switch {
	case code == 0 && ctx.Err() != nil:
		return fmt.Errorf("smtp: %s: %w", step, ctx.Err())
	case code == 0:
		return fmt.Errorf("smtp: %s: %w", step, wordless(err))
	}
	// The words are the provider's; they are cleaned, and the original error isn't wrapped: it holds them as they came.
	said := fmt.Errorf("smtp: %s: the server says %s", step, msg.scrub.clean(fmt.Sprintf("%d %s", code, words)))
	switch code {
	case 530, 534, 535, 538: // not this mail's fault, and the same for every other
		return fmt.Errorf("%w: check username, password and tls", said)
	}
	if code >= 500 && code < 600 {
		return pipeline.Refuse(said)
	}
	return said
}

// reset ends the server's transaction after a refusal; false means that the connection is lost.
func (s *Sink) reset(c *connection, err error) bool {
	if code, _ := reply(err); err != nil && (code == 0 || code == 421) {
		return false
	}
	c.deadline(s.config.Timeout)
	return c.client.Reset() == nil
}

// connection is a kept one, the most recent first, or a new one.
func (s *Sink) connection(ctx context.Context) (*connection, error) {
	s.mu.Lock()
	var old []*connection
	var c *connection
	if n := len(s.idle); n > 0 {
		if time.Since(s.idle[n-1].idle) < maxIdle {
			c, s.idle = s.idle[n-1], s.idle[:n-1]
		} else {
			old, s.idle = s.idle, nil
		}
	}
	s.mu.Unlock()
	for _, o := range old {
		o.quit()
	}
	if c != nil {
		return c, nil
	}
	return s.dial(ctx)
}

func (s *Sink) put(c *connection) {
	c.reused, c.idle = true, time.Now()
	s.mu.Lock()
	s.idle = append(s.idle, c)
	s.mu.Unlock()
}

// Close waits for the sends under way and ends all connections. Closing twice is fine.
func (s *Sink) Close() error {
	s.once.Do(func() {
		close(s.closed)
		for range cap(s.slots) {
			s.slots <- struct{}{}
		}
		s.mu.Lock()
		idle := s.idle
		s.idle = nil
		s.mu.Unlock()
		for _, c := range idle {
			c.quit()
		}
	})
	return nil
}

// envelope is the address in angle brackets, quoted where needed, without the name.
func envelope(a mail.Address) string { return (&mail.Address{Address: a.Address}).String() }

// reply is the code and the words of a server's answer, or 0 when err is no answer.
func reply(err error) (code int, words string) {
	var e *textproto.Error
	if errors.As(err, &e) {
		return e.Code, e.Msg
	}
	return 0, ""
}
