package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The scanner checks JSON (RFC 8259) and finds where its parts lie, without building anything, so that an event
// can go on as the bytes that were sent.

// maxDepth bounds the nesting of arrays and objects, and with it the scanner's recursion.
const maxDepth = 512

// member is one member of an object: slices of the input.
type member struct {
	name  []byte // decoded, without quotes
	key   []byte // as sent, with quotes
	value []byte // as sent
}

// syntaxError says where JSON is wrong.
type syntaxError struct {
	at   int // byte offset
	what string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("at byte %d: %s", e.at, e.what) }

// document checks that b is one JSON value with nothing but white space around it, and returns that value.
func document(b []byte) ([]byte, error) {
	start := space(b, 0)
	end, err := value(b, start, 0)
	if err != nil {
		return nil, err
	}
	if rest := space(b, end); rest != len(b) {
		return nil, &syntaxError{rest, "text after the end of the value"}
	}
	return b[start:end], nil
}

// members appends the members of the object obj, in order, to dst. obj must have passed document or value.
func members(obj []byte, dst []member) []member {
	i := space(obj, 1)
	for obj[i] != '}' {
		keyEnd, _ := text(obj, i)
		m := member{key: obj[i:keyEnd], name: obj[i+1 : keyEnd-1]}
		if bytes.IndexByte(m.name, '\\') >= 0 {
			m.name = []byte(unquote(m.key))
		}
		i = space(obj, space(obj, keyEnd)+1)
		end, _ := value(obj, i, 0)
		m.value = obj[i:end]
		dst = append(dst, m)
		if i = space(obj, end); obj[i] == ',' {
			i = space(obj, i+1)
		}
	}
	return dst
}

// elements calls yield with each element of the array arr, which must have passed document or value.
func elements(arr []byte, yield func(elem []byte) bool) {
	i := space(arr, 1)
	for arr[i] != ']' {
		end, _ := value(arr, i, 0)
		if !yield(arr[i:end]) {
			return
		}
		if i = space(arr, end); arr[i] == ',' {
			i = space(arr, i+1)
		}
	}
}

// unquote decodes a JSON string that passed the scanner.
func unquote(s []byte) string {
	if bytes.IndexByte(s, '\\') < 0 {
		return string(s[1 : len(s)-1])
	}
	var out string
	_ = json.Unmarshal(s, &out) // it is a valid string
	return out
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// value returns the end of the value that starts at i.
func value(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return i, &syntaxError{i, "the text ends where a value should be"}
	}
	switch c := b[i]; {
	case c == '"':
		return text(b, i)
	case c == '{':
		return object(b, i, depth+1)
	case c == '[':
		return array(b, i, depth+1)
	case c == '-' || isDigit(c):
		return number(b, i)
	case c == 't':
		return literal(b, i, "true")
	case c == 'f':
		return literal(b, i, "false")
	case c == 'n':
		return literal(b, i, "null")
	}
	return i, &syntaxError{i, "this is not the start of a value"}
}

func object(b []byte, i, depth int) (int, error) {
	if depth > maxDepth {
		return i, &syntaxError{i, fmt.Sprintf("nested deeper than %d", maxDepth)}
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return i, &syntaxError{i, "a member's name in double quotes should be here"}
		}
		end, err := text(b, i)
		if err != nil {
			return end, err
		}
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return i, &syntaxError{i, "a colon should be here"}
		}
		if end, err = value(b, space(b, i+1), depth); err != nil {
			return end, err
		}
		if i = space(b, end); i >= len(b) {
			return i, &syntaxError{i, "the text ends inside an object"}
		}
		if b[i] == '}' {
			return i + 1, nil
		}
		if b[i] != ',' {
			return i, &syntaxError{i, "a comma or } should be here"}
		}
		i = space(b, i+1)
	}
}

func array(b []byte, i, depth int) (int, error) {
	if depth > maxDepth {
		return i, &syntaxError{i, fmt.Sprintf("nested deeper than %d", maxDepth)}
	}
	if i = space(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := value(b, i, depth)
		if err != nil {
			return end, err
		}
		if i = space(b, end); i >= len(b) {
			return i, &syntaxError{i, "the text ends inside an array"}
		}
		if b[i] == ']' {
			return i + 1, nil
		}
		if b[i] != ',' {
			return i, &syntaxError{i, "a comma or ] should be here"}
		}
		i = space(b, i+1)
	}
}

func text(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		c := b[i]
		if c > '\\' || c > '"' && c < '\\' { // most of what strings hold
			continue
		}
		switch {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			i++
			if i >= len(b) {
				return i, &syntaxError{i, "the text ends inside a string"}
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for n := 1; n <= 4; n++ {
					if i+n >= len(b) || !isHex(b[i+n]) {
						return i, &syntaxError{i, `\u needs four hexadecimal digits`}
					}
				}
				i += 4
			default:
				return i, &syntaxError{i, "no such escape in a string"}
			}
		case c < ' ':
			return i, &syntaxError{i, "a control character inside a string; escape it"}
		}
	}
	return i, &syntaxError{i, "the text ends inside a string"}
}

func number(b []byte, i int) (int, error) {
	digits := func() bool {
		start := i
		for i < len(b) && isDigit(b[i]) {
			i++
		}
		return i > start
	}
	bad := func() (int, error) { return i, &syntaxError{i, "a digit should be here"} }
	if b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++ // nothing may follow a leading zero
	} else if !digits() {
		return bad()
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return bad()
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return bad()
		}
	}
	return i, nil
}

func literal(b []byte, i int, word string) (int, error) {
	if end := i + len(word); end <= len(b) && string(b[i:end]) == word {
		return end, nil
	}
	return i, &syntaxError{i, "this is not the start of a value"}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
