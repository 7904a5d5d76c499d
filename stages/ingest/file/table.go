package file

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// row is one record of the file.
type row struct {
	line   int            // the physical line where it begins
	cells  []string       // CSV
	object map[string]any // JSONL
	size   int            // bytes that it holds in memory, roughly
}

// cell is what a row holds in one column.
type cell struct {
	text      string
	json      any // JSONL: the value itself
	composite bool
	missing   bool
}

// table reads rows and finds columns in them.
type table struct {
	lines   *lines
	format  Format
	header  []string
	index   map[string]int
	missing map[string][]string
	csv     csvRecord
}

// fault is a record that can't be read. What could be made of it comes along, so that its group is known.
type fault struct {
	line   int
	reason string
	err    error
	row    row
}

func newTable(l *lines, m *Mapping, format Format) (*table, error) {
	t := &table{lines: l, format: format, missing: m.missing}
	t.csv.delimiter = m.delimiter
	if format == JSONL {
		return t, nil
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
	t.header, t.index = header.cells, make(map[string]int, len(header.cells))
	for i, name := range t.header {
		t.header[i] = strings.TrimSpace(name)
		t.index[t.header[i]] = i
	}
	return t, m.check(t.header)
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
		r := row{line: l.number, size: 4 * len(l.text)}
		if l.tooLong {
			return r, &fault{l.number, "too_long", fmt.Errorf("longer than %d bytes", t.lines.max), row{}}, nil
		}
		if strings.TrimLeft(l.text, " \t")[0] != '{' {
			return r, &fault{l.number, "malformed", errors.New("not a JSON object"), row{}}, nil
		}
		decoder := json.NewDecoder(strings.NewReader(l.text))
		decoder.UseNumber()
		err = decoder.Decode(&r.object)
		if err == nil {
			if _, more := decoder.Token(); more != io.EOF {
				err = errors.New("something follows the object: one object per line")
			}
		}
		switch {
		case err != nil:
			return r, &fault{l.number, "malformed", fmt.Errorf("not a JSON object: %w", err), row{}}, nil
		case l.invalid:
			return r, &fault{l.number, "invalid_utf8", errEncoding, r}, nil
		}
		return r, nil, nil
	}
}

var errEncoding = errors.New("not UTF-8: if the file is Latin-1, say encoding: latin1 in the mapping")

// cell finds a column in a row.
func (t *table) cell(r row, c column) cell {
	var out cell
	if t.format == CSV {
		i, ok := t.index[c.name]
		if !ok || i >= len(r.cells) {
			return cell{missing: true}
		}
		out.text = r.cells[i]
	} else {
		out.json = lookUp(r.object, c)
		switch v := out.json.(type) {
		case nil:
		case string:
			out.text = v
		case json.Number:
			out.text = v.String()
		case bool:
			out.text = fmt.Sprint(v)
		default:
			out.composite = true
			return out
		}
	}
	text := strings.TrimSpace(out.text)
	if out.missing = text == ""; !out.missing {
		for _, spelling := range t.missing[c.name] {
			out.missing = out.missing || text == spelling
		}
	}
	return out
}

func lookUp(object map[string]any, c column) any {
	if v, ok := object[c.name]; ok {
		return v
	}
	var v any = object
	for _, key := range c.path {
		o, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = o[key]
	}
	return v
}

// content is a row's own bytes for a hash, whatever its quoting, spacing or order of keys.
func (t *table) content(r row) []byte {
	if t.format == JSONL {
		return appendJSON(nil, r.object)
	}
	var b []byte
	for i, s := range r.cells {
		b = binary.AppendUvarint(b, uint64(len(t.header[i])))
		b = append(b, t.header[i]...)
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}
