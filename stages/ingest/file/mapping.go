package file

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Mapping says how the rows of a file become calls. It is immutable and safe for concurrent use.
type Mapping struct {
	file      string
	hash      string
	name      string
	format    Format
	delimiter byte
	latin1    bool
	clock     clock
	missing   map[string][]string
	require   []column
	refuse    []refuseRule
	groupBy   *column
	calls     []*callRule

	columns []column // every column that is named anywhere, with its place, for the check against a header
}

// Format is how a file's rows are written.
type Format string

const (
	CSV   Format = "csv"
	JSONL Format = "jsonl"
)

// Name is the mapping's own name, which every generated messageId begins with.
func (m *Mapping) Name() string { return m.name }

// Hash is the SHA-256 of the mapping file: a checkpoint belongs to one mapping.
func (m *Mapping) Hash() string { return m.hash }

// Grouped says whether several rows may become one call, for which the file is read whole first.
func (m *Mapping) Grouped() bool { return m.groupBy != nil }

// column names a CSV column or a path into a JSONL object.
type column struct {
	name string
	path []string
	at   place
}

// maxMappingBytes bounds a mapping file: somebody who gives the data for the mapping gets a clear answer.
const maxMappingBytes = 1 << 20

// LoadMapping reads a mapping file. Its mistakes come back joined, each a *MappingError.
func LoadMapping(path string) (*Mapping, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read mapping: %w", err)
	}
	if info.Size() > maxMappingBytes {
		return nil, &MappingError{File: path, Message: "too large for a mapping", Hint: "a mapping is a small YAML file; is this the data?"}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read mapping: %w", err)
	}
	return ParseMapping(path, data)
}

// ParseMapping reads a mapping; file is the name that its errors carry.
func ParseMapping(file string, data []byte) (*Mapping, error) {
	if len(data) > maxMappingBytes {
		return nil, &MappingError{File: file, Message: "too large for a mapping", Hint: "a mapping is a small YAML file; is this the data?"}
	}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(file, err)
	}
	d := &decoder{file: file}
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(placeOf(doc.Body), "one mapping per file", "a second document")
			break
		}
		body = doc.Body
	}
	if body == nil {
		return nil, &MappingError{File: file, Message: "the mapping is empty", Hint: "it needs at least name and calls"}
	}
	m := d.mapping(body)
	if err := d.err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	m.file, m.hash = file, hex.EncodeToString(sum[:])
	return m, nil
}

func syntaxError(file string, err error) error {
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil || y.GetToken().Position == nil {
		return &MappingError{File: file, Message: "not YAML: " + err.Error()}
	}
	at := y.GetToken().Position
	return &MappingError{File: file, Line: at.Line, Column: at.Column, Message: y.GetMessage()}
}

var (
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	reasonPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

func (d *decoder) mapping(body ast.Node) *Mapping {
	m := &Mapping{delimiter: ',', missing: map[string][]string{}}
	o, ok := d.object(body, "a mapping")
	if !ok {
		return m
	}
	name, p, ok := o.text("name")
	switch {
	case ok && !namePattern.MatchString(name):
		d.fail(placeOf(p.value), "letters, digits, dot, dash, underscore; at most 64", "name %q can't be used", name)
	case !ok && p.value == nil:
		d.fail(p.at, "name: my-shop — generated message ids begin with it", "a mapping needs a name")
	}
	m.name = name
	if s, p, ok := o.text("format"); ok {
		if m.format = Format(s); m.format != CSV && m.format != JSONL {
			d.fail(placeOf(p.value), nearest(s, []string{"csv", "jsonl"}), "unknown format %q", s)
		}
	}
	if s, p, ok := o.text("delimiter"); ok {
		if s == "tab" {
			s = "\t"
		}
		switch {
		case len(s) != 1 || s[0] >= 0x80 || strings.ContainsAny(s, "\"\r\n"):
			d.fail(placeOf(p.value), `such as ";", "|" or tab`, "delimiter must be one ASCII character and no quote")
		case m.format == JSONL:
			d.fail(p.at, "remove it", "jsonl has no delimiter")
		default:
			m.delimiter = s[0]
		}
	}
	if s, p, ok := o.text("encoding"); ok {
		switch strings.ToLower(s) {
		case "utf-8", "utf8":
		case "latin1", "latin-1":
			m.latin1 = true
		default:
			d.fail(placeOf(p.value), "utf-8 or latin1; convert others first, for example with iconv", "unknown encoding %q", s)
		}
	}
	d.clock(o, &m.clock)
	if p, ok := o.take("missing"); ok {
		if mo, ok := d.object(p.value, "missing"); ok {
			for _, p := range mo.pairs {
				c := d.named(m, p.key, p.at)
				for _, n := range d.list(p.value) {
					if s, ok := d.text(n, "a spelling of missing"); ok {
						m.missing[c.name] = append(m.missing[c.name], s)
					}
				}
			}
		}
	}
	if p, ok := o.take("require"); ok {
		for _, n := range d.list(p.value) {
			if c := d.column(m, n, "require"); c != nil {
				m.require = append(m.require, *c)
			}
		}
	}
	if p, ok := o.take("refuse"); ok {
		for _, n := range d.list(p.value) {
			d.refuse(m, n)
		}
	}
	if p, ok := o.take("group_by"); ok {
		m.groupBy = d.column(m, p.value, "group_by")
	}
	if p, ok := o.take("calls"); ok {
		for _, n := range d.list(p.value) {
			d.call(m, n)
		}
		if len(d.list(p.value)) == 0 {
			d.fail(p.at, "", "calls is empty")
		}
	} else {
		d.fail(o.at, "calls: [{type: track, event: …, user: …, time: …}]", "a mapping needs calls")
	}
	o.done("a mapping")
	return m
}

func (d *decoder) clock(o *object, c *clock) {
	c.name, c.layout, c.zone = "rfc3339", time.RFC3339Nano, time.UTC
	if s, p, ok := o.text("timezone"); ok {
		zone, err := time.LoadLocation(s)
		if err != nil || s == "Local" {
			d.fail(placeOf(p.value), "an IANA name such as Europe/London", "unknown timezone %q", s)
		} else {
			c.zone = zone
		}
	}
	if s, p, ok := o.text("time_layout"); ok {
		c.name = s
		switch s {
		case "rfc3339":
		case "unix":
			c.unit = time.Second
		case "unix_ms":
			c.unit = time.Millisecond
		default:
			c.layout = s
			if why := checkLayout(s); why != "" {
				d.fail(placeOf(p.value), "rfc3339, unix, unix_ms, or how 2 January 2006, 15:04:05 is written: 2006-01-02 15:04:05", "time_layout %q %s", s, why)
			}
		}
	}
}

// column reads a column's name and notes its place for the check against the header.
func (d *decoder) column(m *Mapping, n ast.Node, what string) *column {
	s, ok := d.text(n, what)
	if !ok {
		return nil
	}
	c := d.named(m, s, placeOf(n))
	return &c
}

func (d *decoder) named(m *Mapping, name string, at place) column {
	c := column{name: name, path: strings.Split(name, "."), at: at}
	m.columns = append(m.columns, c)
	return c
}

// check compares the columns that the mapping names with those of a CSV header.
func (m *Mapping) check(header []string) error {
	d := &decoder{file: m.file}
	for _, c := range m.columns {
		n := 0
		for _, h := range header {
			if h == c.name {
				n++
			}
		}
		switch {
		case n > 1:
			d.fail(c.at, "rename one of them", "the file has %d columns called %q", n, c.name)
		case n == 0 && len(header) == 1:
			d.fail(c.at, fmt.Sprintf("its header is one column, %q: is the delimiter %q right?", clip(header[0]), m.delimiter), "the file has no column %q", c.name)
		case n == 0:
			d.fail(c.at, nearest(c.name, slices.Clone(header)), "the file has no column %q", c.name)
		}
	}
	return d.err()
}
