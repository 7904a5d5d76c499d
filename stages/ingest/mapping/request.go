package mapping

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// Request is one payload with what its sender said beside it.
type Request struct {
	ID      string              // unique, the same when the payload is tried again
	Headers map[string][]string // in lower case; as far as the mapping names them, and content-type
	Query   map[string][]string // as far as the mapping names them
	Body    []byte
}

const contentType = "content-type"

// Request keeps of a request what the mapping may see. Tokens and signatures stay behind unless the mapping names them.
func (m *Mapping) Request(id string, header http.Header, query url.Values, body []byte) Request {
	r := Request{ID: id, Headers: map[string][]string{}, Query: map[string][]string{}, Body: body}
	for name, values := range header {
		if lower := strings.ToLower(name); lower == contentType || named(m.headers, lower) {
			r.Headers[lower] = values
		}
	}
	for _, name := range m.query {
		for key, values := range query {
			if strings.EqualFold(key, name) {
				r.Query[name] = values
			}
		}
	}
	return r
}

func named(patterns []string, name string) bool {
	for _, p := range patterns {
		if begin, open := strings.CutSuffix(p, "*"); p == name || open && strings.HasPrefix(name, begin) {
			return true
		}
	}
	return false
}

// Bounds of a payload: its nesting, as ingest has it for calls, and its numbers, with which arithmetic takes more than
// linear time.
const (
	maxDepth  = 512
	maxDigits = 400
)

// payload reads the body: JSON, of which an empty one is null, or CSV, whose rows become objects by the header row. size
// is what it would have as JSON, in bytes.
func (m *Mapping) payload(r Request, most int) (payload any, size int, p *Problem) {
	if kind, _, _ := strings.Cut(first(r.Headers[contentType]), ";"); m.csvOnly || m.csv && strings.EqualFold(strings.TrimSpace(kind), "text/csv") {
		list, size, p := rows(r.Body, most)
		return list, size, p
	}
	payload, p = JSON(r.Body)
	if p != nil && p.Reason == ReasonInvalidJSON {
		if kind, _, err := mime.ParseMediaType(first(r.Headers[contentType])); err == nil && !strings.HasSuffix(kind, "json") && len(kind) <= maxMediaType {
			p.What += ", its Content-Type is " + kind
		}
	}
	return payload, len(r.Body), p
}

// maxMediaType bounds the name of a media type, in bytes (RFC 6838, without the top level): a longer one is none.
const maxMediaType = 127

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func unreadable(reason, what, hint string) *Problem {
	return &Problem{Reason: reason, Item: -1, What: what, Hint: hint}
}

// JSON reads a payload as mappings see it: numbers stay as they are written, and what is empty is null.
func JSON(body []byte) (any, *Problem) {
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	switch depth, digits := measure(body); {
	case depth > maxDepth:
		return nil, unreadable(ReasonTooDeep, fmt.Sprintf("the payload is nested deeper than %d", maxDepth), "")
	case digits > maxDigits:
		return nil, unreadable(ReasonInvalidJSON, fmt.Sprintf("the payload has a number with more than %d digits", maxDigits), "write it as text")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
		return nil, unreadable(ReasonInvalidJSON, fmt.Sprintf("the payload is not JSON: text after its end, at byte %d", d.InputOffset()), "")
	}
	at := d.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = syntax.Offset
	}
	return nil, unreadable(ReasonInvalidJSON, fmt.Sprintf("the payload is not JSON, at byte %d", at), "")
}

// measure is how deep text nests arrays and objects, and the length of its longest number.
func measure(text []byte) (depth, digits int) {
	open, run, inside := 0, 0, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if !inside && c >= '0' && c <= '9' {
			run++
			digits = max(digits, run)
			continue
		}
		run = 0
		switch {
		case c == '\\' && inside:
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			open++
			depth = max(depth, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return depth, digits
}

// rows reads CSV with a header row, whatever of , ; and tab separates its names. Empty cells are left out.
func rows(body []byte, most int) (list []any, size int, p *Problem) {
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	header, _, _ := bytes.Cut(body, []byte("\n"))
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, 0, nil
	}
	r := csv.NewReader(bytes.NewReader(body))
	r.ReuseRecord = true
	for _, c := range ";\t" {
		if bytes.Count(header, []byte(string(c))) > bytes.Count(header, []byte(string(r.Comma))) {
			r.Comma = c
		}
	}
	wrong := func(err error) *Problem {
		var e *csv.ParseError
		if errors.As(err, &e) {
			return unreadable(ReasonInvalidCSV, fmt.Sprintf("the payload is not CSV: line %d: %s", e.Line, e.Err), "")
		}
		return unreadable(ReasonInvalidCSV, "the payload is not CSV", "")
	}
	read, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, wrong(err)
	}
	names := make([]string, len(read))
	seen := map[string]bool{}
	for i, n := range read {
		names[i] = strings.Clone(strings.TrimSpace(n))
		if seen[names[i]] {
			return nil, 0, unreadable(ReasonInvalidCSV, fmt.Sprintf("the payload is not CSV with a header row: column %d has the name of another", i+1), "")
		}
		seen[names[i]] = true
	}
	size = len(body)
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) && list == nil {
			return nil, 0, unreadable(ReasonInvalidCSV, "the payload is not CSV with a header row: no row follows it", "")
		}
		if errors.Is(err, io.EOF) {
			return list, size, nil
		}
		if err != nil {
			return nil, 0, wrong(err)
		}
		if len(list) >= most {
			return nil, 0, unreadable(ReasonTooMany, fmt.Sprintf("the payload has more than %d rows", most), "send it in parts, or import the file: attune import")
		}
		row := make(map[string]any, len(names))
		for i, cell := range record {
			if cell != "" {
				row[names[i]] = strings.ToValidUTF8(strings.Clone(cell), "\uFFFD")
				size += len(names[i]) + len(`"":"",`)
			}
		}
		list = append(list, row)
	}
}
