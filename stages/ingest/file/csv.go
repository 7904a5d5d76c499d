package file

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// csvRecord splits lines into fields. encoding/csv isn't used because one unclosed quote makes it swallow
// the rest of a file as one bad record; this one gives back the lines that it took in vain.
type csvRecord struct {
	delimiter byte
	fields    []string
	open      strings.Builder // the quoted field that goes on in the next line
	quoted    bool
}

// feed takes one line. It says whether the record goes on in the next, and at which byte (from 1) text
// follows a closing quote.
func (c *csvRecord) feed(text string) (more bool, bad int) {
	at := 0
	if c.quoted {
		c.open.WriteByte('\n')
	}
	for {
		if !c.quoted && at < len(text) && text[at] == '"' {
			c.quoted = true
			c.open.Reset()
			at++
		}
		if !c.quoted {
			n := strings.IndexByte(text[at:], c.delimiter)
			if n < 0 {
				c.fields = append(c.fields, text[at:])
				return false, 0
			}
			c.fields = append(c.fields, text[at:at+n])
			at += n + 1
			continue
		}
		n := strings.IndexByte(text[at:], '"')
		if n < 0 {
			c.open.WriteString(text[at:])
			return true, 0
		}
		c.open.WriteString(text[at : at+n])
		at += n + 1
		if at < len(text) && text[at] == '"' {
			c.open.WriteByte('"')
			at++
			continue
		}
		c.quoted = false
		c.fields = append(c.fields, c.open.String())
		switch {
		case at == len(text):
			return false, 0
		case text[at] != c.delimiter:
			return false, at + 1
		}
		at++
	}
}

// csvRow reads one record. A malformed one costs its first line; the others are read again.
func (t *table) csvRow() (row, *fault, error) {
	first, err := t.lines.next()
	for err == nil && first.text == "" && !first.tooLong {
		first, err = t.lines.next()
	}
	if err != nil {
		return row{}, nil, err
	}
	c := &t.csv
	c.fields, c.quoted = make([]string, 0, max(len(t.header), 8)), false
	var taken []line
	size, invalid := 0, false
	for l := first; ; {
		if l.tooLong {
			t.lines.giveBack(taken)
			if l.number == first.number {
				return row{}, &fault{first.number, "too_long", fmt.Errorf("longer than %d bytes", t.lines.max), row{}}, nil
			}
			return row{}, t.unclosed(first), nil
		}
		size += len(l.text) + 1
		invalid = invalid || l.invalid
		more, bad := c.feed(l.text)
		if bad > 0 {
			t.lines.giveBack(taken)
			return row{}, &fault{first.number, "malformed", fmt.Errorf("line %d, byte %d: text follows a closing quote", l.number, bad), row{cells: c.fields}}, nil
		}
		if !more {
			break
		}
		if size > t.lines.max {
			t.lines.giveBack(taken)
			return row{}, t.unclosed(first), nil
		}
		if l, err = t.lines.next(); errors.Is(err, io.EOF) {
			t.lines.giveBack(taken)
			return row{}, t.unclosed(first), nil
		} else if err != nil {
			return row{}, nil, err
		}
		taken = append(taken, l)
	}
	r := row{line: first.number, cells: c.fields, size: size + 16*len(c.fields) + 64}
	if invalid {
		return r, &fault{first.number, "invalid_utf8", errEncoding, r}, nil
	}
	return r, nil, nil
}

func (t *table) unclosed(first line) *fault {
	return &fault{first.number, "malformed", fmt.Errorf("a quote opens and doesn't close within the file or %d bytes", t.lines.max), row{cells: t.csv.fields}}
}
