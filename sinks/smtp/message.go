package smtp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"attune/pipeline"
)

// maxWord is the longest piece of a header without a space: lines end at 998 bytes (RFC 5322), and fold only at spaces.
const maxWord = 900

// message is a mail as it goes over the wire.
type message struct {
	from, to mail.Address
	raw      []byte
	scrub    scrubber
	utf8     bool // an address needs the server's SMTPUTF8
}

// build writes the mail. An error means that it can never be sent; it holds no address.
func build(m pipeline.Mail, defaultFrom string) (*message, error) {
	if m.From == "" {
		m.From = defaultFrom
	}
	if m.From == "" {
		return nil, errors.New("no sender: set from in the campaign's send or in the destination")
	}
	from, err := parseAddress("sender", m.From)
	if err != nil {
		return nil, err
	}
	to, err := parseAddress("recipient", m.To)
	if err != nil {
		return nil, err
	}
	switch {
	case m.ID == "":
		return nil, errors.New("no id: a mail needs the decision's id, from which its Message-ID is made")
	case m.HTML == "":
		return nil, errors.New("no HTML body: the template rendered nothing")
	case unsafeLine(m.Subject):
		return nil, errors.New("the subject holds a line break or another control character: remove it in the template")
	}

	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	msg.FromMailAddress(from)
	msg.ToMailAddress(to)
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageIDWithValue(messageID(m.ID, from.Address))
	if err := setHeaders(msg, m.Headers); err != nil {
		return nil, err
	}
	if m.Text != "" {
		msg.SetBodyString(gomail.TypeTextPlain, m.Text)
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	} else {
		msg.SetBodyString(gomail.TypeTextHTML, m.HTML)
	}
	var raw bytes.Buffer
	if _, err := msg.WriteTo(&raw); err != nil {
		return nil, fmt.Errorf("write the message: %w", err)
	}
	return &message{
		from: *from, to: *to, raw: raw.Bytes(), scrub: newScrubber(to),
		utf8: !ascii(from.Address) || !ascii(to.Address),
	}, nil
}

// parseAddress never repeats the address: whose names the role only.
func parseAddress(role, s string) (*mail.Address, error) {
	if unsafeLine(s) {
		return nil, fmt.Errorf("the %s's address holds a line break or another control character", role)
	}
	a, err := mail.ParseAddress(s)
	if err != nil || unsafeLine(a.Address) || unsafeLine(a.Name) || strings.ContainsAny(a.Address, "<>") {
		return nil, fmt.Errorf("the %s's address is not valid (RFC 5322)", role)
	}
	return a, nil
}

// setHeaders adds the mail's own headers; those that say who, when, what and how belong to the sink.
func setHeaders(msg *gomail.Msg, headers map[string]string) error {
	seen := map[string]bool{}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := headers[name]
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 127 || r == ':' }):
			return fmt.Errorf("header name %q is not valid: want letters, digits and hyphens", name)
		case reserved(canonical):
			return fmt.Errorf("header %s is written by the sink: remove it from the mail's headers", canonical)
		case seen[canonical]:
			return fmt.Errorf("header %s is given twice", canonical)
		case unsafeLine(value):
			return fmt.Errorf("header %s holds a line break or another control character", canonical)
		case slices.ContainsFunc(strings.Fields(value), func(word string) bool { return len(word) > maxWord }):
			return fmt.Errorf("header %s has a piece of more than %d bytes without a space, which no mail line can hold", canonical, maxWord)
		}
		seen[canonical] = true
		if canonical == "Reply-To" {
			if err := msg.ReplyTo(value); err != nil {
				return errors.New("header Reply-To is not a valid address (RFC 5322)")
			}
			continue
		}
		msg.SetGenHeader(gomail.Header(canonical), value)
	}
	return nil
}

func reserved(canonical string) bool {
	switch canonical {
	case "From", "To", "Cc", "Bcc", "Subject", "Date", "Message-Id", "Mime-Version", "Return-Path", "Received":
		return true
	}
	return strings.HasPrefix(canonical, "Content-")
}

// messageID is the same for every attempt to send the decision, so that a mailbox can drop a resend.
func messageID(id, from string) string {
	local := id
	plain := !strings.HasPrefix(id, ".") && !strings.HasSuffix(id, ".") && !strings.Contains(id, "..") && len(id) <= 200
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			plain = false
		}
	}
	if !plain {
		sum := sha256.Sum256([]byte(id))
		local = "sha256-" + hex.EncodeToString(sum[:])
	}
	return local + "@" + from[strings.LastIndexByte(from, '@')+1:]
}

// unsafeLine reports control characters: a CR or LF would begin a header of the sender's choice.
func unsafeLine(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 127 })
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}
