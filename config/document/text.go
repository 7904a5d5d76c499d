package document

import (
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

// InText is where line and column (from 1, in characters) of the text at the path stand in the file: a rule's
// mistake is told where the rule is written, also inside a folded or quoted scalar. What can't be followed
// exactly is told at the scalar's beginning.
func (d *Document) InText(path string, line, column int) (fileLine, fileColumn int) {
	p, ok := d.places[path]
	if !ok {
		return d.Place(path)
	}
	var value string
	var from cursor
	switch n := p.node.(type) {
	case *ast.StringNode:
		value, from = n.Value, cursor{line: p.line - 1, column: p.column - 1}
		if r, ok := d.at(from); ok && (r == '"' || r == '\'') {
			from.column++
			from.quote = r
		}
	case *ast.LiteralNode:
		value, from = n.Value.Value, cursor{line: p.line}
	default:
		return p.line, p.column
	}
	target := offset(value, line, column)
	at, ok := d.follow([]rune(value), from, target)
	if !ok {
		return p.line, p.column
	}
	return at.line + 1, at.column + 1
}

// cursor is a place in the file, from 0, and the quote that is open there.
type cursor struct {
	line, column int
	quote        rune
}

// at is the character at the cursor: a line's end is a newline.
func (d *Document) at(c cursor) (rune, bool) {
	if c.line >= len(d.lines) {
		return 0, false
	}
	line := []rune(d.lines[c.line])
	if c.column >= len(line) {
		return '\n', true
	}
	return line[c.column], true
}

func (c cursor) next(r rune) cursor {
	if r == '\n' {
		return cursor{line: c.line + 1, quote: c.quote}
	}
	return cursor{line: c.line, column: c.column + 1, quote: c.quote}
}

// follow walks through the file beside the value. YAML changes nothing but white space and escapes: so each
// character that is no white space is the next such character in the file.
func (d *Document) follow(value []rune, c cursor, target int) (cursor, bool) {
	last := c
	for i := 0; i <= len(value); i++ {
		if i == len(value) || unicode.IsSpace(value[i]) {
			if i == target {
				return last, true
			}
			if i < len(value) && value[i] == '\n' && c.quote == '"' {
				if r, ok := d.at(c); ok && r == '\\' { // a written "\n"
					c = c.next(r).next('n')
					last = c
				}
			} else if r, ok := d.at(c); ok && r == ' ' {
				last = c.next(r)
			}
			continue
		}
		r, ok := d.at(c)
		for ok && unicode.IsSpace(r) {
			c = c.next(r)
			r, ok = d.at(c)
		}
		if !ok {
			return cursor{}, false
		}
		start := c
		switch {
		case c.quote == '"' && r == '\\':
			c = c.next(r)
			escaped, ok := d.at(c)
			if !ok {
				return cursor{}, false
			}
			for range map[rune]int{'x': 3, 'u': 5, 'U': 9}[escaped] - 1 {
				c = c.next(' ')
			}
		case r != value[i]:
			return cursor{}, false
		case c.quote == '\'' && r == '\'':
			c = c.next(r)
		}
		if i == target {
			return start, true
		}
		c = c.next(' ')
		last = c
	}
	return cursor{}, false
}

// offset is the index of a line's column among the text's characters.
func offset(text string, line, column int) int {
	at := 0
	for range line - 1 {
		i := strings.IndexByte(text, '\n')
		if i < 0 {
			break
		}
		at += len([]rune(text[:i])) + 1
		text = text[i+1:]
	}
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return at + min(max(column-1, 0), len([]rune(text)))
}
