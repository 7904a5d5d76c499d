package clickhouse

import (
	"bytes"
	"unicode/utf8"
)

const (
	// maxDepth and maxFields bound what the server parses: a kilobyte of brackets can cost it seconds, and
	// thousands of fields 20 ms a row.
	maxDepth    = 32
	maxFields   = 512
	exactKeys   = 64 // objects with more fields are not compared, and count as not exact
	exactDigits = 15 // what a float64 surely holds
)

// tooMuch tells whether the text nests deeper, or names more fields, than the server should parse.
func tooMuch(text []byte) bool {
	depth, fields := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ':':
			fields++
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
		if depth > maxDepth || fields > maxFields {
			return true
		}
	}
	return false
}

// exact tells whether a JSON column gives back all that the object's text says, as far as that can be seen
// without the engine. False is always safe: the text is then kept beside the column. typed are the names of the
// column's typed paths, which hold text.
//
// What a JSON column bends: null and empty objects vanish; a.b is the same as b inside a; of a name that comes
// twice only the first stays; numbers become 64-bit integers or floats; in an array of several kinds, numbers and
// booleans may become text.
func exact(text []byte, typed []string) bool {
	s := scanner{text: text, typed: typed}
	return len(text) == 0 || s.object() && s.at == len(text) && utf8.Valid(text)
}

// scanner walks compact JSON text, as event.Object holds it; on anything that it doesn't know it says false.
type scanner struct {
	text  []byte
	typed []string
	at    int
	depth int
	keys  [][]byte // of the objects that are open, innermost last

	// kinds is what the outermost open array holds, by level of nesting; level is the current one, 0 outside.
	kinds [maxDepth + 2]byte
	level int
}

func (s *scanner) object() bool {
	if s.depth++; s.depth > maxDepth || !s.take('{') {
		return false
	}
	if s.take('}') { // an empty object vanishes, except as the whole
		s.depth--
		return s.depth == 0
	}
	first := len(s.keys)
	for {
		key, ok := s.str()
		if !ok || !s.take(':') || bytes.ContainsAny(key, `.\`) || len(s.keys)-first == exactKeys {
			return false
		}
		for _, k := range s.keys[first:] {
			if bytes.Equal(k, key) {
				return false
			}
		}
		s.keys = append(s.keys, key)
		if s.depth == 1 && s.isTyped(key) && !s.scalarAhead() || !s.value() {
			return false
		}
		if s.take(',') {
			continue
		}
		s.keys = s.keys[:first]
		s.depth--
		return s.take('}')
	}
}

func (s *scanner) value() bool {
	if s.at >= len(s.text) {
		return false
	}
	c := s.text[s.at]
	if s.level > 0 && !s.sameKind(c) {
		return false
	}
	switch {
	case c == '{':
		kinds, level := s.kinds, s.level
		s.kinds, s.level = [maxDepth + 2]byte{}, 0
		ok := s.object()
		s.kinds, s.level = kinds, level
		return ok
	case c == '[':
		return s.array()
	case c == '"':
		_, ok := s.str()
		return ok
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	return false // null among them
}

// sameKind tells whether a value that begins with c is of the kind of those before it in its array.
func (s *scanner) sameKind(c byte) bool {
	switch {
	case c == '-' || c >= '0' && c <= '9':
		c = '0'
	case c == 'f':
		c = 't'
	}
	kind := &s.kinds[s.level]
	if *kind == 0 {
		*kind = c
	}
	return *kind == c
}

func (s *scanner) array() bool {
	if s.depth++; s.depth > maxDepth || !s.take('[') {
		return false
	}
	if s.level == 0 {
		s.kinds = [maxDepth + 2]byte{}
	}
	s.level++
	defer func() { s.depth, s.level = s.depth-1, s.level-1 }()
	if s.take(']') {
		return true
	}
	for s.value() {
		if !s.take(',') {
			return s.take(']')
		}
	}
	return false
}

// str returns what stands between the quotes, escapes as they are.
func (s *scanner) str() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	start := s.at
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '"':
			s.at++
			return s.text[start : s.at-1], true
		case '\\':
			s.at++
		}
		s.at++
	}
	return nil, false
}

// number takes numbers of few digits and without an exponent.
func (s *scanner) number() bool {
	s.take('-')
	digits := 0
	for ; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		if c >= '0' && c <= '9' {
			digits++
		} else if c != '.' {
			break
		}
	}
	return digits <= exactDigits && !s.take('e') && !s.take('E')
}

func (s *scanner) isTyped(key []byte) bool {
	for _, t := range s.typed {
		if string(key) == t {
			return true
		}
	}
	return false
}

// scalarAhead: a typed path holds text, and so it does of a number; of the rest the kind would be lost.
func (s *scanner) scalarAhead() bool {
	return s.at < len(s.text) && (s.text[s.at] == '"' || s.text[s.at] == '-' || s.text[s.at] >= '0' && s.text[s.at] <= '9')
}

func (s *scanner) word(w string) bool {
	if !bytes.HasPrefix(s.text[s.at:], []byte(w)) {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}
