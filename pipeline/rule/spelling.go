package rule

import (
	"bytes"
	"encoding/json"

	"attune/pipeline/event"
)

// spelled is a value's JSON in one form: without white space, and with its texts escaped only where they must be. Producers
// spell the same value otherwise, and so does what writes a part of an event anew. It may be the value's own memory.
func spelled(v event.Value) []byte {
	raw := v.Raw()
	if len(raw) == 0 || raw[0] != '[' && raw[0] != '{' && bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '"':
			end := endOfText(raw, i)
			out = appendText(out, raw[i:end])
			i = end
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

// endOfText is the place after the text that begins at i.
func endOfText(raw []byte, i int) int {
	for i++; i < len(raw) && raw[i] != '"'; i++ {
		if raw[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(raw))
}

// appendText adds a quoted text in its one form.
func appendText(out, quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return append(out, quoted...)
	}
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return append(out, quoted...) // no valid event has one
	}
	return event.AppendText(out, text)
}
