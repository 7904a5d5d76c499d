package mapping

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// parkedRequest is a request in a dead letter.
type parkedRequest struct {
	ID       string              `json:"id"`
	Received time.Time           `json:"received"`
	Headers  map[string][]string `json:"headers,omitempty"`
	Query    map[string][]string `json:"query,omitempty"`
	Text     string              `json:"text,omitempty"`
	Bytes    []byte              `json:"bytes,omitempty"` // of a body that is no text
}

// MaxParked bounds a body that can be parked whole, in bytes: a dead letter is one message of the broker, which
// writes it in base64.
const MaxParked = 512 << 10

// Park writes the request for a dead letter, from which Unpark reads it.
func (r Request) Park(received time.Time) ([]byte, error) {
	p := parkedRequest{ID: r.ID, Received: received, Headers: r.Headers, Query: r.Query}
	if utf8.Valid(r.Body) {
		p.Text = string(r.Body)
	} else {
		p.Bytes = r.Body
	}
	data, err := json.Marshal(p)
	if err == nil && len(data) > len(r.Body)/3*4 && p.Text != "" { // what JSON escapes is longer than base64
		p.Text, p.Bytes = "", r.Body
		var packed []byte
		if packed, err = json.Marshal(p); len(packed) < len(data) {
			data = packed
		}
	}
	if err != nil {
		return nil, fmt.Errorf("park a request: %w", err)
	}
	return data, nil
}

// Unpark reads what Park wrote.
func Unpark(data []byte) (r Request, received time.Time, err error) {
	var p parkedRequest
	if err := json.Unmarshal(data, &p); err != nil {
		return r, received, fmt.Errorf("read a parked request: %w", err)
	}
	r = Request{ID: p.ID, Headers: p.Headers, Query: p.Query, Body: p.Bytes}
	if p.Bytes == nil {
		r.Body = []byte(p.Text)
	}
	return r, p.Received, nil
}
