package event

import "encoding/json"

// scanner checks JSON text in one pass, as strictly as encoding/json, and notes what a copy would have to mend.
type scanner struct {
	text   []byte
	spaced bool // white space between tokens
	wide   bool // bytes beyond ASCII, which may be no UTF-8
	depth  int
}

// maxNesting is encoding/json's own bound.
const maxNesting = 10_000

// value returns the index after the JSON value that starts at i; -1: there is none.
func (s *scanner) value(i int) int {
	if i >= len(s.text) {
		return -1
	}
	switch c := s.text[i]; c {
	case '"':
		return s.string(i + 1)
	case '{':
		return s.object(i + 1)
	case '[':
		return s.array(i + 1)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	default:
		return s.number(i)
	}
}

func (s *scanner) space(i int) int {
	for i < len(s.text) {
		switch s.text[i] {
		case ' ', '\n', '\t', '\r':
			s.spaced = true
			i++
		default:
			return i
		}
	}
	return i
}

func (s *scanner) object(i int) int {
	if s.depth++; s.depth > maxNesting {
		return -1
	}
	i = s.members(i, nil)
	s.depth--
	return i
}

// fields visits the members of the object that starts at i, each once it is known to be valid; spaced and wide
// then tell of this member's value alone. It returns the index after the object; -1: it is none.
func (s *scanner) fields(i int, visit func(key, value []byte)) int {
	if i >= len(s.text) || s.text[i] != '{' {
		return -1
	}
	s.depth++
	i = s.members(i+1, visit)
	s.depth--
	return i
}

func (s *scanner) members(i int, visit func(key, value []byte)) int {
	if i = s.space(i); i < len(s.text) && s.text[i] == '}' {
		return i + 1
	}
	for i < len(s.text) && s.text[i] == '"' {
		key := i + 1
		if i = s.string(key); i < 0 {
			return -1
		}
		keyEnd := i - 1
		if i = s.space(i); i >= len(s.text) || s.text[i] != ':' {
			return -1
		}
		start := s.space(i + 1)
		if visit != nil {
			s.spaced, s.wide = false, false
		}
		if i = s.value(start); i < 0 {
			return -1
		}
		if visit != nil {
			visit(s.text[key:keyEnd], s.text[start:i])
		}
		if i = s.space(i); i >= len(s.text) {
			return -1
		}
		switch s.text[i] {
		case '}':
			return i + 1
		case ',':
			i = s.space(i + 1)
		default:
			return -1
		}
	}
	return -1
}

func (s *scanner) array(i int) int {
	if s.depth++; s.depth > maxNesting {
		return -1
	}
	if i = s.space(i); i < len(s.text) && s.text[i] == ']' {
		s.depth--
		return i + 1
	}
	for {
		if i = s.value(i); i < 0 {
			return -1
		}
		if i = s.space(i); i >= len(s.text) {
			return -1
		}
		switch s.text[i] {
		case ']':
			s.depth--
			return i + 1
		case ',':
			i = s.space(i + 1)
		default:
			return -1
		}
	}
}

// string returns the index after the quote that ends the string whose content starts at i.
func (s *scanner) string(i int) int {
	for i < len(s.text) {
		switch c := s.text[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			n := escape(s.text[i+1:])
			if n == 0 {
				return -1
			}
			i += 1 + n
		case c < ' ':
			return -1
		case c >= 0x80:
			s.wide = true
			i++
		default:
			i++
		}
	}
	return -1
}

// escape is the length of what follows a backslash; 0: it is none.
func escape(after []byte) int {
	if len(after) == 0 {
		return 0
	}
	switch after[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(after) < 5 {
			return 0
		}
		for _, c := range after[1:5] {
			if !isHex(c) {
				return 0
			}
		}
		return 5
	}
	return 0
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) literal(i int, word string) int {
	if end := i + len(word); end <= len(s.text) && string(s.text[i:end]) == word {
		return end
	}
	return -1
}

func (s *scanner) number(i int) int {
	if s.text[i] == '-' {
		i++
	}
	switch {
	case i >= len(s.text) || !isDigit(s.text[i]):
		return -1
	case s.text[i] == '0':
		i++
	default:
		i = s.digits(i)
	}
	if i < len(s.text) && s.text[i] == '.' {
		if i = s.someDigits(i + 1); i < 0 {
			return -1
		}
	}
	if i < len(s.text) && (s.text[i] == 'e' || s.text[i] == 'E') {
		if i++; i < len(s.text) && (s.text[i] == '+' || s.text[i] == '-') {
			i++
		}
		return s.someDigits(i)
	}
	return i
}

func (s *scanner) digits(i int) int {
	for i < len(s.text) && isDigit(s.text[i]) {
		i++
	}
	return i
}

func (s *scanner) someDigits(i int) int {
	if i >= len(s.text) || !isDigit(s.text[i]) {
		return -1
	}
	return s.digits(i)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// syntaxError is encoding/json's word for what is wrong with text that the scanner refused.
func syntaxError(text []byte) error {
	var raw json.RawMessage
	return json.Unmarshal(text, &raw)
}
