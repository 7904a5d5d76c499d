package mailbox

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Summary is what a list shows of a mail.
type Summary struct {
	ID        string    `json:"id"`
	From      string    `json:"from"`
	To        string    `json:"to"` // of the header; where it names nobody, of the envelope
	Subject   string    `json:"subject"`
	Preview   string    `json:"preview"`    // the first words of the text
	MessageID string    `json:"message_id"` // with its angle brackets; may be empty
	Copies    int       `json:"copies"`     // mails kept with this Message-ID; above 1 something was sent more than once
	Date      time.Time `json:"date"`       // the sender's; zero when it gives none
	Received  time.Time `json:"received"`   // when it was caught
	Size      int       `json:"size"`       // bytes
}

// Header is one line of a mail's head, decoded and unfolded.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Mail is a mail as a reader sees it.
type Mail struct {
	Summary
	HTML    string   `json:"html"` // as sent: it's not safe outside a sandbox
	Text    string   `json:"text"`
	Headers []Header `json:"headers"` // in their order, with the envelope's first
}

const (
	maxDepth      = 10  // parts within parts
	maxParts      = 200 // in all
	previewLength = 140 // characters
)

// parse reads whatever came. What it can't understand it shows as text: there is no error.
func parse(id string, raw []byte) Mail {
	head, body := splitHead(raw)
	m := Mail{Summary: Summary{ID: id, Received: received(id), Size: len(raw)}, Headers: head}
	m.From = display(get(head, "From"), get(head, "Return-Path"))
	var envelope []string
	for _, h := range head {
		if h.Name == "Delivered-To" {
			envelope = append(envelope, h.Value)
		}
	}
	m.To = display(get(head, "To"), strings.Join(envelope, ", "))
	m.Subject = get(head, "Subject")
	m.MessageID = get(head, "Message-Id")
	m.Date, _ = mail.ParseDate(get(head, "Date"))
	p := parts{}
	p.read(head, body, 0)
	m.HTML, m.Text = p.html, p.text
	if m.HTML == "" && m.Text == "" {
		m.Text = strings.ReplaceAll(valid(body), "\r\n", "\n")
	}
	m.Preview = preview(m.Text, m.HTML)
	return m
}

// splitHead separates head and body. A first line that is no header begins the body, so that garbage stays visible.
func splitHead(raw []byte) (head []Header, body []byte) {
	words := &mime.WordDecoder{CharsetReader: charset}
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if len(line) == 0 {
			raw = rest
			break
		}
		if (line[0] == ' ' || line[0] == '\t') && len(head) > 0 {
			head[len(head)-1].Value += " " + string(bytes.TrimSpace(line))
			raw = rest
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			break
		}
		head = append(head, Header{canonical(string(name)), string(bytes.TrimSpace(value))})
		raw = rest
	}
	for i := range head {
		if decoded, err := words.DecodeHeader(head[i].Value); err == nil {
			head[i].Value = decoded
		}
		head[i].Value = valid([]byte(head[i].Value))
	}
	return head, raw
}

// canonical writes a header's name as mail does: Message-Id, Mime-Version.
func canonical(name string) string {
	words := strings.Split(strings.ToLower(valid([]byte(name))), "-")
	for i, w := range words {
		if w != "" && w[0] < utf8.RuneSelf {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "-")
}

func get(head []Header, name string) string {
	for _, h := range head {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func display(header, envelope string) string {
	if header == "" {
		return strings.Trim(envelope, "<>")
	}
	plain := strings.ReplaceAll(header, `"`, "")
	if strings.HasPrefix(plain, "<") && strings.Count(plain, "<") == 1 {
		return strings.Trim(plain, "<>") // an address without a name needs no brackets
	}
	return plain
}

// parts collects the first text and the first HTML of a mail.
type parts struct {
	html, text string
	count      int
}

func (p *parts) read(head []Header, body []byte, depth int) {
	if p.count++; p.count > maxParts || depth > maxDepth {
		return
	}
	kind, params, err := mime.ParseMediaType(get(head, "Content-Type"))
	if err != nil && kind == "" {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" {
		reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for {
			part, err := reader.NextRawPart()
			if err != nil {
				return
			}
			content, _ := io.ReadAll(part) // what came before an error is shown
			var head []Header
			for name, values := range part.Header {
				for _, v := range values {
					head = append(head, Header{canonical(name), v})
				}
			}
			p.read(head, content, depth+1)
		}
	}
	if disposition, _, _ := mime.ParseMediaType(get(head, "Content-Disposition")); disposition == "attachment" {
		return
	}
	switch {
	case kind == "text/html" && p.html == "":
		p.html = decoded(head, params["charset"], body)
	case kind == "text/plain" && p.text == "":
		p.text = decoded(head, params["charset"], body)
	}
}

func decoded(head []Header, set string, body []byte) string {
	switch strings.ToLower(get(head, "Content-Transfer-Encoding")) {
	case "quoted-printable":
		body, _ = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
	case "base64":
		body = bytes.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == ' ' || r == '\t' {
				return -1
			}
			return r
		}, body)
		body, _ = io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body)))
	}
	if r, err := charset(set, bytes.NewReader(body)); err == nil {
		body, _ = io.ReadAll(r)
	}
	return strings.ReplaceAll(valid(body), "\r\n", "\n")
}

// charset reads the two sets that need no table; anything else is read as UTF-8.
func charset(name string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(name) {
	case "iso-8859-1", "latin1", "windows-1252":
		b, err := io.ReadAll(r)
		runes := make([]rune, len(b))
		for i, c := range b {
			runes[i] = rune(c)
		}
		return strings.NewReader(string(runes)), err
	case "", "utf-8", "us-ascii":
		return r, nil
	}
	return nil, fmt.Errorf("unknown character set %q", name)
}

func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// preview is the first words of the text, or of the HTML without its tags.
func preview(text, markup string) string {
	if strings.TrimSpace(text) == "" {
		for _, hidden := range []string{`(?is)<(style|script|head|title)\b.*?</(style|script|head|title)>`, `(?s)<!--.*?-->`, `(?s)<[^>]*>`} {
			markup = regexp.MustCompile(hidden).ReplaceAllString(markup, " ")
		}
		text = html.UnescapeString(markup)
	}
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > previewLength {
		text = strings.TrimSpace(string(r[:previewLength])) + "…"
	}
	return text
}
