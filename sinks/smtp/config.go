package smtp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"os"
	"strings"
	"time"
)

// How the connection is protected.
const (
	TLSNone      = "none"      // never: only for a server on this machine or in a trusted network
	TLSStartTLS  = "starttls"  // by STARTTLS where the server offers it, in the clear where not
	TLSMandatory = "mandatory" // by STARTTLS, or not at all
	TLSImplicit  = "implicit"  // from the first byte, usually port 465
)

// Config says where mail goes and how.
type Config struct {
	Host     string `yaml:"host"`     // name or address of the server; required
	Port     int    `yaml:"port"`     // 1 to 65535; default 587
	Username string `yaml:"username"` // empty: no authentication
	Password string `yaml:"password"` // needs username
	TLS      string `yaml:"tls"`      // none, starttls, mandatory (default) or implicit
	CAFile   string `yaml:"ca_file"`  // PEM file of further certificate authorities; empty: the system's only
	From     string `yaml:"from"`     // sender of a mail that names none; may be empty

	// Timeout bounds each step: connecting, and the reply to each command. Default 30s.
	Timeout time.Duration `yaml:"timeout"`
	// ReplyTimeout bounds the wait for the last reply, after the whole mail was handed over. Too short a time makes
	// sends whose outcome is unknown, so it is longer. Default 2m.
	ReplyTimeout time.Duration `yaml:"reply_timeout"`
	// MaxConnections is the number of mails sent at the same time, 1 to 100. Default 4.
	MaxConnections int `yaml:"max_connections"`
	// HelloName is what the client calls itself, a host name. Default: this machine's.
	HelloName string `yaml:"hello_name"`
}

// DefaultConfig is complete but for the host.
func DefaultConfig() Config {
	return Config{Port: 587, TLS: TLSMandatory, Timeout: 30 * time.Second, ReplyTimeout: 2 * time.Minute, MaxConnections: 4}
}

// Validate reports every setting that can't work: field, value, hint.
func (c Config) Validate() error {
	var errs []error
	wrong := func(field string, value any, hint string) {
		errs = append(errs, fmt.Errorf("smtp: %s is %q: %s", field, fmt.Sprint(value), hint))
	}
	if c.Host == "" || strings.ContainsAny(c.Host, " \t\r\n/@") {
		wrong("host", c.Host, "name the mail server, such as smtp.provider.example, without scheme or port")
	} else if _, _, err := net.SplitHostPort(c.Host); err == nil {
		wrong("host", c.Host, "put the port into the field port")
	}
	if c.Port < 1 || c.Port > 65535 {
		wrong("port", c.Port, "want 1 to 65535; 587 is usual, 465 with tls implicit")
	}
	switch c.TLS {
	case TLSNone, TLSStartTLS, TLSMandatory, TLSImplicit:
	default:
		wrong("tls", c.TLS, "want none, starttls, mandatory or implicit")
	}
	if c.Password != "" && c.Username == "" {
		wrong("username", "", "a password is set, so name the user it belongs to")
	}
	if c.From != "" {
		if _, err := mail.ParseAddress(c.From); err != nil || unsafeLine(c.From) {
			wrong("from", "…", "want an address such as Shop <hi@shop.example>")
		}
	}
	if c.Timeout <= 0 {
		wrong("timeout", c.Timeout, "want a duration above 0, such as 30s")
	}
	if c.ReplyTimeout <= 0 {
		wrong("reply_timeout", c.ReplyTimeout, "want a duration above 0, such as 2m")
	}
	if c.MaxConnections < 1 || c.MaxConnections > 100 {
		wrong("max_connections", c.MaxConnections, "want 1 to 100")
	}
	if strings.ContainsAny(c.HelloName, " \t\r\n") {
		wrong("hello_name", c.HelloName, "want a host name without spaces, such as mailer.shop.example")
	}
	return errors.Join(errs...)
}

// LogValue keeps the password out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("host", c.Host), slog.Int("port", c.Port), slog.String("tls", c.TLS),
		slog.Bool("authenticates", c.Username != ""), slog.Int("max_connections", c.MaxConnections))
}

// helloName is the configured name, this machine's, or an address literal where that is no host name.
func (c Config) helloName() string {
	if c.HelloName != "" {
		return c.HelloName
	}
	if name, err := os.Hostname(); err == nil && name != "" && !strings.ContainsAny(name, " \t\r\n_") {
		return name
	}
	return "[127.0.0.1]"
}
