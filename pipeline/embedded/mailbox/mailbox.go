// Package mailbox catches mail on a developer's machine: an SMTP server on a loopback address that takes every mail
// for every recipient, keeps the newest on disk, and shows them on a page and through a small JSON API.
//
// It stands for the outside world, so what it keeps is personal: its folder is readable by its owner only, and the
// page is for the machine itself.
package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// maxMail is the largest mail taken, in bytes.
const maxMail = 25 << 20

// Config says where mail is caught and kept.
type Config struct {
	SMTPAddr string `yaml:"smtp_addr"` // host:port on a loopback address; port 0 picks one; default 127.0.0.1:0
	Dir      string `yaml:"dir"`       // folder of the mails, made if absent; required
	Keep     int    `yaml:"keep"`      // number of mails kept, the newest; 1 to 100000, default 1000
}

// DefaultConfig is complete but for the folder.
func DefaultConfig() Config { return Config{SMTPAddr: "127.0.0.1:0", Keep: 1000} }

// Validate reports every setting that can't work: field, value, hint.
func (c Config) Validate() error {
	var errs []error
	if host, _, err := net.SplitHostPort(c.SMTPAddr); err != nil {
		errs = append(errs, fmt.Errorf("mailbox: smtp_addr is %q: want host:port, such as 127.0.0.1:2525", c.SMTPAddr))
	} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		errs = append(errs, fmt.Errorf("mailbox: smtp_addr is %q: it takes any mail from anyone, so it listens on this machine only; want 127.0.0.1, ::1 or localhost", c.SMTPAddr))
	}
	if c.Dir == "" {
		errs = append(errs, errors.New(`mailbox: dir is "": name a folder for the mails`))
	}
	if c.Keep < 1 || c.Keep > 100000 {
		errs = append(errs, fmt.Errorf("mailbox: keep is %d: want 1 to 100000", c.Keep))
	}
	return errors.Join(errs...)
}

// Mailbox is a running catcher. It is safe for concurrent use; the caller closes it.
type Mailbox struct {
	store  *store
	page   *page
	server *smtp.Server
	listen net.Listener
	served sync.WaitGroup
	once   sync.Once
	unbind func() bool
}

// Start reads the mails kept in Config.Dir and listens for more until ctx ends or Close is called. Zero values of
// SMTPAddr and Keep mean their defaults.
func Start(ctx context.Context, c Config) (*Mailbox, error) {
	if c.SMTPAddr == "" {
		c.SMTPAddr = DefaultConfig().SMTPAddr
	}
	if c.Keep == 0 {
		c.Keep = DefaultConfig().Keep
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	kept, err := openStore(c.Dir, c.Keep)
	if err != nil {
		return nil, fmt.Errorf("mailbox: open %s: %w", c.Dir, err)
	}
	m := &Mailbox{store: kept}
	if m.page, err = newPage(kept); err != nil {
		return nil, fmt.Errorf("mailbox: page: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.SMTPAddr)
	if err != nil {
		return nil, fmt.Errorf("mailbox: listen for SMTP (smtp_addr): %w", err)
	}
	m.listen = listener
	m.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{store: kept}, nil }))
	m.server.Domain = "localhost"
	m.server.EnableSMTPUTF8 = true
	m.server.MaxMessageBytes = maxMail
	m.server.MaxLineLength = 1 << 16 // lenient: a mail that breaks the rules is what one wants to see
	m.server.ReadTimeout = 10 * time.Minute
	m.server.WriteTimeout = time.Minute
	m.server.ErrorLog = log.New(io.Discard, "", 0)
	m.served.Go(func() { _ = m.server.Serve(listener) })
	m.unbind = context.AfterFunc(ctx, func() { _ = m.Close() })
	return m, nil
}

// SMTPAddr is the address, host:port, at which mail is taken.
func (m *Mailbox) SMTPAddr() string { return m.listen.Addr().String() }

// List returns the mails, newest first, without their bodies.
func (m *Mailbox) List() []Summary { return m.store.list() }

// Get returns one mail. The error wraps fs.ErrNotExist when there is none of that id.
func (m *Mailbox) Get(id string) (Mail, error) { return m.store.get(id) }

// Clear removes all mails.
func (m *Mailbox) Clear() error { return m.store.clear() }

// Close stops taking mail; what was caught stays on disk and readable. Closing twice is fine.
func (m *Mailbox) Close() error {
	m.once.Do(func() {
		if m.unbind != nil {
			m.unbind()
		}
		m.store.close()
		_ = m.server.Close()
		_ = m.listen.Close() // the server knows its listener only once Serve runs
		m.served.Wait()
	})
	return nil
}

// session is one SMTP connection. It takes everything.
type session struct {
	store *store
	from  string
	to    []string
}

func (s *session) Reset()        { s.from, s.to = "", nil }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from, s.to = from, nil
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data keeps the mail before it is acknowledged. As any server that delivers, it writes the envelope above the mail.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var file strings.Builder
	fmt.Fprintf(&file, "Return-Path: <%s>\r\n", oneLine(s.from))
	for _, to := range s.to {
		fmt.Fprintf(&file, "Delivered-To: %s\r\n", oneLine(to))
	}
	file.Write(raw)
	if err := s.store.add([]byte(file.String())); err != nil {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "the mail could not be kept: " + oneLine(err.Error())}
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
