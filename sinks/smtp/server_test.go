package smtp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

// server is a real SMTP server whose answers a test scripts. A nil hook accepts.
type server struct {
	*gosmtp.Server
	host string
	port int

	mail func(n int, from string) error                        // n counts MAIL commands of all connections, from 1
	rcpt func(to string) error                                 //
	data func(conn net.Conn, n int, body []byte) error         // n counts messages that came whole
	auth func(username, password string) error                 // nil: no authentication offered
	hook func(r io.Reader, conn net.Conn) (done bool, e error) // replaces the reading of a body

	implicit bool // TLS from the first byte

	mu       sync.Mutex
	sessions int
	mails    int
	bodies   [][]byte
	froms    []string
	tos      []string
}

func start(t *testing.T, s *server) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.host = "127.0.0.1"
	s.port = listener.Addr().(*net.TCPAddr).Port
	tlsConfig := (*tls.Config)(nil)
	if s.Server != nil {
		tlsConfig = s.Server.TLSConfig
	}
	if s.implicit {
		listener = tls.NewListener(listener, tlsConfig)
		tlsConfig = nil
	}
	s.Server = gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		s.mu.Lock()
		s.sessions++
		s.mu.Unlock()
		if s.auth != nil {
			return &authSession{session{s, c}}, nil
		}
		return &session{s, c}, nil
	}))
	s.Domain = "server.example"
	s.AllowInsecureAuth = true
	s.TLSConfig = tlsConfig
	s.ErrorLog = log.New(io.Discard, "", 0)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() { s.Server.Close(); listener.Close(); done.Wait() })
	return s
}

func (s *server) config() Config {
	c := DefaultConfig()
	c.Host, c.Port, c.TLS, c.Timeout, c.ReplyTimeout = s.host, s.port, TLSNone, 5*time.Second, 5*time.Second
	return c
}

func (s *server) seen() (sessions, mails int, bodies [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions, s.mails, s.bodies
}

type session struct {
	s    *server
	conn *gosmtp.Conn
}

func (x *session) Reset()        {}
func (x *session) Logout() error { return nil }

func (x *session) Mail(from string, _ *gosmtp.MailOptions) error {
	x.s.mu.Lock()
	x.s.mails++
	n := x.s.mails
	x.s.froms = append(x.s.froms, from)
	x.s.mu.Unlock()
	if x.s.mail != nil {
		return x.s.mail(n, from)
	}
	return nil
}

func (x *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	x.s.mu.Lock()
	x.s.tos = append(x.s.tos, to)
	x.s.mu.Unlock()
	if x.s.rcpt != nil {
		return x.s.rcpt(to)
	}
	return nil
}

func (x *session) Data(r io.Reader) error {
	if x.s.hook != nil {
		if done, err := x.s.hook(r, x.conn.Conn()); done {
			return err
		}
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	x.s.mu.Lock()
	x.s.bodies = append(x.s.bodies, body)
	n := len(x.s.bodies)
	x.s.mu.Unlock()
	if x.s.data != nil {
		return x.s.data(x.conn.Conn(), n, body)
	}
	return nil
}

type authSession struct{ session }

func (x *authSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (x *authSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error { return x.s.auth(username, password) }), nil
}

func says(code int, words string) error {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{code / 100, 1, 1}, Message: words}
}

// certificate is a fresh self-signed certificate for 127.0.0.1, also as a PEM file.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, path
}

// raw is a server that greets with a line and then does as it is told with the connection.
func raw(t *testing.T, serve func(net.Conn)) (host string, port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			all.Go(func() { defer c.Close(); serve(c) })
		}
	})
	t.Cleanup(func() { listener.Close(); all.Wait() })
	host, p, _ := net.SplitHostPort(listener.Addr().String())
	port, _ = strconv.Atoi(p)
	return host, port
}
