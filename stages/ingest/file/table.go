package file

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"attune/stages/ingest/mapping"
)

// Format is how a file's rows are written.
type Format string

const (
	CSV   Format = "csv"
	JSONL Format = "jsonl"
)

// row is one record of the file.
type row struct {
	line  int      // the physical line where it begins
	cells []string // CSV
	text  string   // JSONL
	size  int      // bytes that it holds in memory, roughly
}

// table reads rows.
type table struct {
	lines  *lines
	format Format
	header []string
	csv    csvRecord
}

// fault is a record that can't be read. What could be made of it comes along, so that its group is known.
type fault struct {
	line   int
	reason string
	err    error
	row    row
}

func newTable(l *lines, format Format, delimiter byte) (*table, error) {
	t := &table{lines: l, format: format}
	if format == JSONL {
		return t, nil
	}
	if t.csv.delimiter = delimiter; delimiter == 0 {
		if err := t.guess(); err != nil {
			return nil, err
		}
	}
	header, bad, err := t.csvRow()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read import %s: the file is empty: a CSV file begins with a header row", l.from.name)
	case err != nil:
		return nil, err
	case bad != nil:
		return nil, fmt.Errorf("%s:%d: the header row can't be read (%s): %w", l.from.name, bad.line, bad.reason, bad.err)
	}
	t.header = header.cells
	seen := map[string]bool{}
	for i, name := range t.header {
		name = strings.TrimSpace(name)
		if seen[name] && name != "" {
			return nil, fmt.Errorf("read import %s:%d: two columns are called %q: rename one of them", l.from.name, header.line, clip(name))
		}
		t.header[i], seen[name] = name, true
	}
	return t, nil
}

// guess takes whatever of comma, semicolon, tab and bar separates the most names of the header row.
func (t *table) guess() error {
	first, err := t.lines.next()
	for err == nil && strings.TrimSpace(first.text) == "" && !first.tooLong {
		first, err = t.lines.next()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	t.csv.delimiter = ','
	for _, c := range []byte(";\t|") {
		if strings.Count(first.text, string(c)) > strings.Count(first.text, string(t.csv.delimiter)) {
			t.csv.delimiter = c
		}
	}
	if err == nil {
		t.lines.giveBack([]line{first})
	}
	return nil
}

// next gives a row, or the fault of a record that is none, or io.EOF, or an error that ends it all.
func (t *table) next() (row, *fault, error) {
	if t.format == JSONL {
		return t.jsonRow()
	}
	r, bad, err := t.csvRow()
	if bad == nil && err == nil && len(r.cells) != len(t.header) {
		bad = &fault{r.line, "wrong_field_count", fmt.Errorf("%d fields, and the header has %d", len(r.cells), len(t.header)), r}
	}
	return r, bad, err
}

func (t *table) jsonRow() (row, *fault, error) {
	for {
		l, err := t.lines.next()
		if err != nil {
			return row{}, nil, err
		}
		if strings.TrimSpace(l.text) == "" && !l.tooLong {
			continue
		}
		r := row{line: l.number, text: l.text, size: len(l.text) + 64}
		switch {
		case l.tooLong:
			return r, &fault{l.number, "too_long", fmt.Errorf("longer than %d bytes", t.lines.max), row{}}, nil
		case strings.TrimLeft(l.text, " \t")[0] != '{':
			return r, &fault{l.number, "malformed", errors.New("not a JSON object"), row{}}, nil
		case l.invalid:
			return r, &fault{l.number, "invalid_utf8", errEncoding, r}, nil
		}
		return r, nil, nil
	}
}

var errEncoding = errors.New("not UTF-8: if the file is Latin-1, say --encoding latin1")

// value is what a mapping sees of a row: of CSV an object of the cells that aren't empty, by the names in the header.
func (t *table) value(r row) (mapping.Row, error) {
	out := mapping.Row{Size: r.size}
	if t.format == JSONL {
		sum := sha256.Sum256([]byte(r.text))
		out.ID = hex.EncodeToString(sum[:16])
		v, p := mapping.JSON([]byte(r.text))
		if p != nil {
			return out, p
		}
		out.Value = v
		return out, nil
	}
	object := make(map[string]any, len(t.header))
	hash := sha256.New()
	var length [binary.MaxVarintLen64]byte
	for i, name := range t.header {
		if i >= len(r.cells) || r.cells[i] == "" || name == "" {
			continue
		}
		object[name] = r.cells[i]
		for _, s := range []string{name, r.cells[i]} {
			hash.Write(length[:binary.PutUvarint(length[:], uint64(len(s)))])
			_, _ = io.WriteString(hash, s) // a hash takes everything
		}
	}
	out.ID, out.Value = hex.EncodeToString(hash.Sum(nil)[:16]), object
	return out, nil
}

// clip keeps a message readable when a value is not.
func clip(s string) string {
	const most = 60
	for i := range s {
		if i >= most {
			return s[:i] + "…"
		}
	}
	return s
}
