package smtp

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"attune/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const recipient = "Ada.Lovelace@personal.example"

func cart() pipeline.Mail {
	return pipeline.Mail{
		ID: "d-0f3a", From: "Shöp <hi@shop.example>", To: "Ada Lovelace <" + recipient + ">",
		Subject: "Ada, your sneakers – 10 € off", HTML: "<p>Grüße, <b>Ada</b></p>\n.\n<p>dot</p>", Text: "Grüße, Ada",
		Headers: map[string]string{
			"List-Unsubscribe":      "<https://shop.example/u/" + strings.Repeat("x", 120) + ">, <mailto:u@shop.example>",
			"List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		},
	}
}

func open(t *testing.T, c Config) *Sink {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// noAddress fails when a text holds any part of the recipient.
func noAddress(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		lower := strings.ToLower(text)
		for _, part := range []string{"lovelace", "personal.example", "@"} {
			if strings.Contains(lower, part) {
				t.Errorf("%q holds %q", text, part)
			}
		}
	}
}

func kind(err error) string {
	var refused *pipeline.Refused
	var unknown *pipeline.Unknown
	switch {
	case err == nil:
		return "sent"
	case errors.As(err, &refused):
		return "refused"
	case errors.As(err, &unknown):
		return "unknown"
	}
	return "retry"
}

func TestSendWritesTheMessage(t *testing.T) {
	srv := start(t, &server{})
	sink := open(t, srv.config())
	receipt, err := sink.Send(t.Context(), cart())
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Provider != "smtp" || !strings.HasPrefix(receipt.Response, "250 2.0.0 OK") {
		t.Errorf("receipt %+v", receipt)
	}
	if srv.froms[0] != "hi@shop.example" || srv.tos[0] != recipient {
		t.Errorf("envelope %q, %q", srv.froms, srv.tos)
	}
	_, _, bodies := srv.seen()
	m, err := mail.ReadMessage(bytes.NewReader(bodies[0]))
	if err != nil {
		t.Fatalf("%v in\n%s", err, bodies[0])
	}
	word := new(mime.WordDecoder)
	for name, want := range map[string]string{
		"Subject": cart().Subject, "Message-Id": "<d-0f3a@shop.example>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		"List-Unsubscribe": cart().Headers["List-Unsubscribe"], "From": `Shöp <hi@shop.example>`, "To": `"Ada Lovelace" <` + recipient + ">",
		"X-Mailer": "", "User-Agent": "", "Mime-Version": "1.0",
	} {
		if got, _ := word.DecodeHeader(m.Header.Get(name)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if date, err := m.Header.Date(); err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("Date %v, %v", date, err)
	}
	kindOf, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kindOf != "multipart/alternative" {
		t.Fatalf("Content-Type %q, %v", kindOf, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []struct{ kind, body string }{
		{"text/plain; charset=UTF-8", cart().Text}, {"text/html; charset=UTF-8", cart().HTML},
	} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); got != want.body || p.Header.Get("Content-Type") != want.kind {
			t.Errorf("part %q: got %q, want %q", p.Header.Get("Content-Type"), got, want.body)
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Errorf("one part too many: %v", err)
	}
}

func TestSendHTMLOnly(t *testing.T) {
	srv := start(t, &server{})
	c := srv.config()
	c.From = "fallback@shop.example"
	m := cart()
	m.Text, m.From, m.ID = "", "", "odd id/ü"
	if _, err := open(t, c).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_, _, bodies := srv.seen()
	got, err := mail.ReadMessage(bytes.NewReader(bodies[0]))
	if err != nil {
		t.Fatal(err)
	}
	if kind := got.Header.Get("Content-Type"); kind != "text/html; charset=UTF-8" {
		t.Errorf("Content-Type %q", kind)
	}
	if id := got.Header.Get("Message-Id"); id != "<"+messageID(m.ID, c.From)+">" || !strings.HasPrefix(id, "<sha256-") || !strings.HasSuffix(id, "@shop.example>") {
		t.Errorf("Message-ID %q", id)
	}
	if srv.froms[0] != "fallback@shop.example" {
		t.Errorf("sender %q", srv.froms[0])
	}
}

func TestLateMailIsNotSent(t *testing.T) {
	srv := start(t, &server{})
	m := cart()
	m.Until = time.Now().Add(-time.Second)
	_, err := open(t, srv.config()).Send(t.Context(), m)
	if !errors.Is(err, ErrLate) || kind(err) != "retry" {
		t.Errorf("%v", err)
	}
	// It may also become late while the server takes its time.
	slow := start(t, &server{})
	m.Until = time.Now().Add(50 * time.Millisecond)
	slow.rcpt = func(string) error { <-time.After(time.Until(m.Until) + time.Millisecond); return nil }
	if _, err := open(t, slow.config()).Send(t.Context(), m); !errors.Is(err, ErrLate) {
		t.Errorf("%v", err)
	}
	if _, _, bodies := slow.seen(); len(bodies) != 0 {
		t.Errorf("%d mails", len(bodies))
	}
}

// Nothing that a mail carries can begin a header, a recipient or a command of its own.
func TestInjectionIsRefused(t *testing.T) {
	srv := start(t, &server{})
	sink := open(t, srv.config())
	for name, change := range map[string]func(*pipeline.Mail){
		"subject LF":          func(m *pipeline.Mail) { m.Subject = "Hi\nBcc: lovelace@personal.example" },
		"subject CRLF":        func(m *pipeline.Mail) { m.Subject = "Hi\r\n\r\nbody" },
		"subject NUL":         func(m *pipeline.Mail) { m.Subject = "Hi\x00" },
		"recipient CRLF":      func(m *pipeline.Mail) { m.To = "a@b.example>\r\nRCPT TO:<lovelace@personal.example" },
		"recipient name":      func(m *pipeline.Mail) { m.To = "=?utf-8?q?a=0D=0ABcc:_lovelace=40personal.example?= <a@b.example>" },
		"recipient bracket":   func(m *pipeline.Mail) { m.To = `"a> NOTIFY=NEVER <b"@personal.example` },
		"two recipients":      func(m *pipeline.Mail) { m.To = "lovelace@personal.example, b@personal.example" },
		"no recipient":        func(m *pipeline.Mail) { m.To = "lovelace" },
		"sender CR":           func(m *pipeline.Mail) { m.From = "a@b.example\rX" },
		"no sender":           func(m *pipeline.Mail) { m.From = "" },
		"no id":               func(m *pipeline.Mail) { m.ID = "" },
		"no body":             func(m *pipeline.Mail) { m.HTML = "" },
		"header value":        func(m *pipeline.Mail) { m.Headers = map[string]string{"X-A": "1\r\nBcc: lovelace@personal.example"} },
		"header name":         func(m *pipeline.Mail) { m.Headers = map[string]string{"X-A: 1\r\nBcc": "lovelace@personal.example"} },
		"header name, spaces": func(m *pipeline.Mail) { m.Headers = map[string]string{"X A": "1"} },
		"header Bcc":          func(m *pipeline.Mail) { m.Headers = map[string]string{"bcc": "lovelace@personal.example"} },
		"header Content-Type": func(m *pipeline.Mail) { m.Headers = map[string]string{"content-type": "text/plain"} },
		"header twice":        func(m *pipeline.Mail) { m.Headers = map[string]string{"X-A": "1", "x-a": "2"} },
		"header too long":     func(m *pipeline.Mail) { m.Headers = map[string]string{"X-A": strings.Repeat("a", 1000)} },
		"reply-to":            func(m *pipeline.Mail) { m.Headers = map[string]string{"Reply-To": "lovelace"} },
		"international":       func(m *pipeline.Mail) { m.To = "lövelace@personal.example" },
	} {
		t.Run(name, func(t *testing.T) {
			m := cart()
			change(&m)
			_, err := sink.Send(t.Context(), m)
			if kind(err) != "refused" {
				t.Fatalf("%s: %v", kind(err), err)
			}
			noAddress(t, err.Error())
		})
	}
	if _, _, bodies := srv.seen(); len(bodies) != 0 {
		t.Errorf("%d mails were sent", len(bodies))
	}
}

func TestReplyToAndQuotedRecipient(t *testing.T) {
	srv := start(t, &server{})
	m := cart()
	m.To = `"ada lovelace"@personal.example`
	m.Headers = map[string]string{"reply-to": "Hëlp <help@shop.example>"}
	if _, err := open(t, srv.config()).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_, _, bodies := srv.seen()
	got, err := mail.ReadMessage(bytes.NewReader(bodies[0]))
	if err != nil {
		t.Fatal(err)
	}
	if to, err := got.Header.AddressList("Reply-To"); err != nil || to[0].Name != "Hëlp" || to[0].Address != "help@shop.example" {
		t.Errorf("Reply-To %v, %v", to, err)
	}
	if srv.tos[0] != "ada lovelace@personal.example" && srv.tos[0] != m.To {
		t.Errorf("envelope %q", srv.tos)
	}
}

func TestResponseIsScrubbed(t *testing.T) {
	srv := start(t, &server{data: func(net.Conn, int, []byte) error {
		return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "queued as 4XyZ for ada.lovelace@PERSONAL.example " + strings.Repeat("é", 500)}
	}})
	receipt, err := open(t, srv.config()).Send(t.Context(), cart())
	if err != nil {
		t.Fatal(err)
	}
	noAddress(t, receipt.Response)
	if !strings.HasPrefix(receipt.Response, "250 2.0.0 queued as 4XyZ for [address]") || len([]rune(receipt.Response)) > maxResponse {
		t.Errorf("response %q", receipt.Response)
	}
}

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	c.Host = "smtp.example"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	bad := Config{Host: "smtp.example:25", Port: 70000, TLS: "ssl", Password: "p4ss", From: "nobody", HelloName: "a b"}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`host is "smtp.example:25"`, `port is "70000"`, `tls is "ssl"`, "username is", "from is", "timeout is", "reply_timeout is",
		"max_connections is", "hello_name is",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "p4ss") || strings.Contains(bad.LogValue().String(), "p4ss") {
		t.Error("the password is shown")
	}
	if _, err := New(bad); err == nil {
		t.Error("New takes it")
	}
	c.CAFile = "/nowhere/ca.pem"
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("got %v", err)
	}
}
