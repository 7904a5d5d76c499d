package mapping

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"attune/pipeline/normal"
)

// Mapping turns payloads of one format into calls in Segment's shape. It never changes and is safe for concurrent use.
type Mapping struct {
	file         string
	name         string
	csv          bool // it reads CSV as well
	csvOnly      bool
	headers      []string // in lower case; what ends in * is a beginning
	query        []string
	authenticate Authentication
	wanted       []*expectation // of the payload
	each         *expression    // nil: the payload is the item
	group        *expression    // nil: each item by itself
	expected     []*expectation // of an item
	variables    []variable
	ignore       *expression
	refuse       []refusal
	id           *expression // nil: a hash of the item
	calls        []*call
	zone         *time.Location
	ids          string // what messageIds begin with; empty: name
	hash         string
}

// variable is one line of let.
type variable struct {
	value *expression
}

type refusal struct {
	reason string
	when   *expression
	send   string // what to send instead; may be empty
}

// call is one kind of call that an item may become.
type call struct {
	field                        string
	at                           place
	when                         *expression // nil: always
	kind                         string
	event, name, group, previous *expression
	user, anonymous              *expression
	time, sentAt                 *expression
	id                           *expression // nil: the item's
	properties, traits, context  *fields
}

// fields are an object of a call: one expression that gives it whole, or its members.
type fields struct {
	whole   *expression
	names   []string
	members []*fields
}

// Options are what an entrance adds to a mapping.
type Options struct {
	Country string         // of phone numbers without country code, in any spelling; empty: none
	Zone    *time.Location // of times without one; nil: the mapping's own, or UTC
	IDs     string         // what messageIds begin with, so that two producers' don't meet; empty: the mapping's name
}

// Name is the mapping's own name, with which every messageId begins.
func (m *Mapping) Name() string { return m.name }

// Hash is the SHA-256 of the mapping's text and options: what the same payload becomes does not change while it stays.
func (m *Mapping) Hash() string { return m.hash }

// Reads tells whether it takes payloads of a format: json or csv.
func (m *Mapping) Reads(format string) bool {
	return format == "csv" && m.csv || format == "json" && !m.csvOnly
}

// Authentication says how a request proves where it comes from; without one, nobody can.
func (m *Mapping) Authentication() Authentication { return m.authenticate }

// maxBytes bounds a mapping's file: somebody who gives a payload for the mapping gets a clear answer.
const maxBytes = 1 << 20

var (
	namePattern     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	reasonPattern   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	headerPattern   = regexp.MustCompile(`^[A-Za-z0-9-]{1,100}\*?$`)
	queryPattern    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
	variablePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// Names that every expression sees; $index only where there is an item.
const (
	payloadVariable = "$payload" // the whole payload
	headersVariable = "$headers" // the request's, as far as the mapping names them, in lower case
	queryVariable   = "$query"
	requestVariable = "$request" // an id of this request, the same when it is tried again
	indexVariable   = "$index"   // of the item, from 0
)

func requestVariables() []string {
	return []string{payloadVariable, headersVariable, queryVariable, requestVariable}
}

// Parse reads a mapping; file is the name that its errors carry. All mistakes come back joined, each an *Error.
func Parse(file string, data []byte, options Options) (*Mapping, error) {
	if len(data) > maxBytes {
		return nil, &Error{File: file, Message: "is too large for a mapping", Hint: "a mapping is a small YAML file; is this a payload?"}
	}
	d := &decoder{file: file, lines: strings.Split(string(data), "\n"), functions: map[string]bool{}, own: own(normal.New(options.Country))}
	for _, name := range functions() {
		d.functions[name] = true
	}
	body := d.parse(data)
	if body == nil {
		return nil, join(d.fails)
	}
	m := &Mapping{file: file, zone: options.Zone, ids: options.IDs}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", options.Country, options.Zone, options.IDs, data))
	m.hash = hex.EncodeToString(sum[:])
	if o, ok := d.object(body, ""); ok {
		d.mapping(m, o)
	}
	return m, join(d.fails)
}

func (d *decoder) mapping(m *Mapping, o *object) {
	var at place
	if m.name, at = o.text("name"); !namePattern.MatchString(m.name) {
		d.fail(at, "name", fmt.Sprintf("%q is no mapping's name", m.name), "want lower-case letters, digits and hyphens, such as my-shop: message ids begin with it")
	}
	for _, n := range o.list("reads") {
		switch s, _ := scalar(n); s {
		case "json":
			m.csvOnly = false
		case "csv":
			m.csvOnly = !m.csv && len(o.list("reads")) == 1
			m.csv = true
		default:
			d.fail(placeOf(n), "reads", fmt.Sprintf("%q can't be read", s), "want json or csv, or both: [json, csv]")
		}
	}
	m.headers = o.names("headers", headerPattern, "such as X-Shopify-Topic, or ce-* for all that begin so")
	m.query = o.names("query", queryPattern, "such as measurement_id")
	d.authentication(m, o)
	if name, at := o.text("timezone"); name != "" {
		zone, err := time.LoadLocation(name)
		if err != nil || name == "Local" {
			d.fail(at, "timezone", fmt.Sprintf("%q is no time zone", name), "want an IANA name such as Europe/Berlin")
		}
		m.zone = cmp.Or(m.zone, zone)
	}
	variables := requestVariables()
	m.each = o.expression("each", variables)
	variables = append(variables, indexVariable)
	m.wanted, m.expected = d.expect(o, requestVariables(), slices.Clone(variables))
	m.group = o.expression("group", variables)
	if p, ok := o.take("let"); ok {
		if lets, ok := d.object(p.value, "let"); ok {
			for _, p := range lets.pairs {
				name := "$" + p.key
				if !variablePattern.MatchString(p.key) || slices.Contains(variables, name) {
					d.fail(p.at, "let", fmt.Sprintf("%q can't be a name", p.key), "want lower-case letters, digits and underscores, and no name that is there already: "+strings.Join(variables, ", "))
					continue
				}
				m.variables = append(m.variables, variable{d.jq(p.value, "let."+p.key, variables)})
				variables = append(variables, name)
			}
		}
	}
	variables = slices.Clip(variables)
	m.ignore = o.expression("ignore", variables)
	for i, n := range o.list("refuse") {
		if r, ok := d.object(n, fmt.Sprintf("refuse[%d]", i)); ok {
			one := refusal{when: r.expression("when", variables)}
			if one.reason, at = r.text("reason"); !reasonPattern.MatchString(one.reason) {
				d.fail(at, join2(r.field, "reason"), "want a reason", "lower-case letters, digits and underscores, such as test_order")
			}
			if _, given := r.take("when"); !given {
				d.fail(r.at, r.field, "when is missing", "a jq condition, such as .test")
			}
			one.send, _ = r.text("send")
			r.done()
			m.refuse = append(m.refuse, one)
		}
	}
	m.id = o.expression("id", variables)
	calls := o.list("calls")
	if len(calls) == 0 {
		d.fail(o.at, "calls", "is missing", "calls: [{event: Order Completed, user: .customer.id, time: .created_at}]")
	}
	for i, n := range calls {
		if c, ok := d.object(n, fmt.Sprintf("calls[%d]", i)); ok {
			m.calls = append(m.calls, d.call(c, variables))
		}
	}
	o.done()
}

func (d *decoder) call(o *object, variables []string) *call {
	c := &call{field: o.field, at: o.at, kind: "track"}
	c.when = o.expression("when", variables)
	kinds := []string{"track", "identify", "page", "screen", "group", "alias"}
	if s, at := o.text("type"); s != "" {
		if c.kind = s; !slices.Contains(kinds, s) {
			d.fail(at, join2(o.field, "type"), fmt.Sprintf("%q is no type of call", s), nearest(s, kinds))
		}
	}
	c.event, c.name = o.words("event", variables), o.words("name", variables)
	for _, f := range []struct {
		into *(*expression)
		key  string
	}{
		{&c.user, "user"}, {&c.anonymous, "anonymous"}, {&c.group, "group"}, {&c.previous, "previous"},
		{&c.time, "time"}, {&c.sentAt, "sent_at"}, {&c.id, "id"},
	} {
		*f.into = o.expression(f.key, variables)
	}
	for _, f := range []struct {
		into *(*fields)
		key  string
	}{{&c.properties, "properties"}, {&c.traits, "traits"}, {&c.context, "context"}} {
		if p, ok := o.take(f.key); ok {
			*f.into = d.fields(p.value, join2(o.field, f.key), variables)
		}
	}
	_, user := o.take("user")
	_, anonymous := o.take("anonymous")
	if !user && !anonymous {
		d.fail(o.at, o.field, "names nobody", "give user or anonymous, or both, such as user: .customer.id")
	}
	for _, need := range []struct{ kind, key, hint string }{
		{"track", "event", "such as event: Order Completed"}, {"group", "group", "the group's id"}, {"alias", "previous", "the id that the person had before"},
	} {
		if _, given := o.take(need.key); given != (c.kind == need.kind) && slices.Contains(kinds, c.kind) {
			if given {
				d.fail(o.at, join2(o.field, need.key), "belongs to type: "+need.kind+" only", "leave it out")
			} else {
				d.fail(o.at, o.field, need.key+" is missing", need.hint)
			}
		}
	}
	o.done()
	return c
}

func (d *decoder) fields(n ast.Node, field string, variables []string) *fields {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return &fields{whole: d.jq(n, field, variables)}
	}
	f := &fields{}
	o, _ := d.object(n, field)
	for _, p := range o.pairs {
		f.names = append(f.names, p.key)
		f.members = append(f.members, d.fields(p.value, join2(field, p.key), variables))
	}
	return f
}

// Errors are the single mistakes of what Parse returns.
func Errors(err error) []*Error {
	var one *Error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Error
		for _, e := range joined.Unwrap() {
			if errors.As(e, &one) {
				all = append(all, one)
			}
		}
		return all
	}
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}
