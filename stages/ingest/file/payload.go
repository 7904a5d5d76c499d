package file

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// builder turns the rows of one call into its payload.
type builder struct {
	mapping *Mapping
	table   *table
}

// built is a call before it has its place in the sequence.
type built struct {
	id, event string
	key       string
	payload   []byte
}

// part is what one row contributes to its call.
type part struct {
	user, anonymous string
	time            time.Time
	item            []byte
	sums            []decimal.Decimal
}

func refusal(r row, reason, column, value string, err error) *Refusal {
	return &Refusal{Line: r.line, Reason: reason, Column: column, Value: clip(value), Err: err}
}

func missing(r row, column string) *Refusal {
	return refusal(r, "missing_"+column, column, "", fmt.Errorf("no value in %q", column))
}

// build gives the call, or the refusals of all its rows.
func (b *builder) build(c *callRule, rows []row) (built, []Refusal) {
	parts := make([]part, len(rows))
	var refused []*Refusal
	for i, r := range rows {
		var no *Refusal
		if parts[i], no = b.part(c, r); no != nil {
			refused = append(refused, no)
		}
	}
	if refused == nil {
		if mixed := b.mixed(c, rows, parts); mixed != nil {
			return built{}, mixed
		}
		out, no := b.assemble(c, rows, parts)
		if no == nil {
			return out, nil
		}
		refused = append(refused, no)
	}
	return built{}, b.refuseAll(rows, refused)
}

// refuseAll refuses every row of a group: some for what is wrong with them, the others for their company.
func (b *builder) refuseAll(rows []row, why []*Refusal) []Refusal {
	all := make([]Refusal, 0, len(rows))
	for _, r := range rows {
		if len(why) > 0 && why[0].Line == r.line {
			all = append(all, *why[0])
			why = why[1:]
			continue
		}
		by := b.mapping.groupBy // set: one row alone is refused for itself
		v := b.table.cell(r, *by)
		all = append(all, *refusal(r, "incomplete_group", by.name, v.text,
			fmt.Errorf("another row of group %q can't be used, and without it the call would be wrong", clip(v.text))))
	}
	return all
}

func (b *builder) part(c *callRule, r row) (part, *Refusal) {
	var p part
	var no *Refusal
	if p.user, no = b.identity(r, c.user); no != nil {
		return p, no
	}
	if p.anonymous, no = b.identity(r, c.anonymous); no != nil {
		return p, no
	}
	if p.user == "" && p.anonymous == "" {
		switch {
		case c.anonymous == nil:
			return p, missing(r, c.user.name)
		case c.user == nil:
			return p, missing(r, c.anonymous.name)
		}
		return p, refusal(r, "missing_identity", c.user.name, "", fmt.Errorf("no value in %q nor in %q", c.user.name, c.anonymous.name))
	}
	if c.time != nil {
		v := b.table.cell(r, *c.time)
		if v.missing {
			return p, missing(r, c.time.name)
		}
		var err error
		if p.time, err = b.mapping.clock.parse(strings.TrimSpace(v.text)); err != nil {
			return p, refusal(r, "bad_time", c.time.name, v.text, err)
		}
	}
	for _, f := range c.sums {
		product := decimal.New(1, 0)
		for _, factor := range f.factors {
			v := b.table.cell(r, factor)
			if v.missing {
				return p, missing(r, factor.name)
			}
			n, ok := parseDecimal(strings.TrimSpace(v.text))
			if !ok {
				return p, refusal(r, "bad_number", factor.name, v.text, errors.New("no number: digits and a decimal point"))
			}
			product = product.Mul(n)
		}
		p.sums = append(p.sums, product)
	}
	if c.items != "" {
		if p.item, no = b.object(nil, c.itemFields, r, nil); no != nil {
			return p, no
		}
	}
	return p, nil
}

func (b *builder) identity(r row, c *column) (string, *Refusal) {
	if c == nil {
		return "", nil
	}
	v := b.table.cell(r, *c)
	switch {
	case v.missing:
		return "", nil
	case v.composite:
		return "", refusal(r, "bad_string", c.name, "", errors.New("an object or list is no id"))
	}
	return strings.TrimSpace(v.text), nil
}

// mixed refuses a group whose rows name different people.
func (b *builder) mixed(c *callRule, rows []row, parts []part) []Refusal {
	for i, p := range parts {
		var col *column
		var first, other string
		switch {
		case p.user != parts[0].user:
			col, first, other = c.user, parts[0].user, p.user
		case p.anonymous != parts[0].anonymous:
			col, first, other = c.anonymous, parts[0].anonymous, p.anonymous
		default:
			continue
		}
		all := make([]Refusal, len(rows))
		for j, r := range rows {
			all[j] = *refusal(r, "mixed_"+col.name, col.name, b.table.cell(r, *col).text,
				fmt.Errorf("one group, two people: %q in line %d, %q in line %d", clip(first), rows[0].line, clip(other), rows[i].line))
		}
		return all
	}
	return nil
}

// assemble writes the payload. A Refusal is about the first row, which speaks for its group.
func (b *builder) assemble(c *callRule, rows []row, parts []part) (built, *Refusal) {
	first := rows[0]
	who := parts[0]
	out := built{key: who.anonymous}
	if out.key == "" {
		out.key = who.user
	}
	var no *Refusal
	if out.event, no = b.fill(c.event, first); no != nil {
		return out, no
	}
	if out.id, no = b.messageID(c, first); no != nil {
		return out, no
	}
	p := append(make([]byte, 0, 512), `{"type":"`...)
	p = append(p, c.kind...)
	p = appendString(append(p, `","messageId":`...), out.id)
	if who.user != "" {
		p = appendString(append(p, `,"userId":`...), who.user)
	}
	if who.anonymous != "" {
		p = appendString(append(p, `,"anonymousId":`...), who.anonymous)
	}
	if c.time != nil {
		earliest := who.time
		for _, q := range parts {
			if q.time.Before(earliest) {
				earliest = q.time
			}
		}
		p = appendString(append(p, `,"timestamp":`...), formatTime(earliest))
	}
	sums := make([]decimal.Decimal, len(c.sums))
	for _, q := range parts {
		for i := range sums {
			sums[i] = sums[i].Add(q.sums[i])
		}
	}
	if c.kind == "track" {
		p = appendString(append(p, `,"event":`...), out.event)
		p = append(p, `,"properties":`...)
		if p, no = b.whole(p, c.propertiesFrom, c.properties, first, sums); no != nil {
			return out, no
		}
		if c.items != "" {
			p = appendItems(p, c.items, parts)
		}
	} else {
		p = append(p, `,"traits":`...)
		if p, no = b.whole(p, c.traitsFrom, c.traits, first, sums); no != nil {
			return out, no
		}
	}
	p = append(p, `,"context":`...)
	if p, no = b.object(p, c.context, first, sums); no != nil {
		return out, no
	}
	p = addMember(p, "library", `{"name":"attune import"}`)
	out.payload = append(p, '}')
	return out, nil
}

// addMember adds to the object that p ends with.
func addMember(p []byte, name, value string) []byte {
	p = p[:len(p)-1]
	if p[len(p)-1] != '{' {
		p = append(p, ',')
	}
	p = append(appendString(p, name), ':')
	return append(append(p, value...), '}')
}

func appendItems(p []byte, name string, parts []part) []byte {
	var list strings.Builder
	list.WriteByte('[')
	for i, q := range parts {
		if i > 0 {
			list.WriteByte(',')
		}
		list.Write(q.item)
	}
	list.WriteByte(']')
	return addMember(p, name, list.String())
}

// messageID is the mapping's own template, else a hash of what the call is made from.
func (b *builder) messageID(c *callRule, first row) (string, *Refusal) {
	if !c.id.empty() {
		return b.fill(c.id, first)
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\x00%s\x00%s\x00", b.mapping.name, c.kind, c.event.source)
	if b.mapping.groupBy != nil {
		hash.Write([]byte(strings.TrimSpace(b.table.cell(first, *b.mapping.groupBy).text)))
	} else {
		hash.Write(b.table.content(first))
	}
	return b.mapping.name + "-" + hex.EncodeToString(hash.Sum(nil)[:16]), nil
}

func (b *builder) fill(t template, r row) (string, *Refusal) {
	var out strings.Builder
	for _, p := range t.parts {
		if p.column == nil {
			out.WriteString(p.text)
			continue
		}
		v := b.table.cell(r, *p.column)
		switch {
		case v.missing:
			return "", missing(r, p.column.name)
		case v.composite:
			return "", refusal(r, "bad_string", p.column.name, "", errors.New("an object or list is no text"))
		}
		out.WriteString(strings.TrimSpace(v.text))
	}
	return out.String(), nil
}

// whole writes an object that is taken over from JSONL, else one of fields.
func (b *builder) whole(p []byte, from *column, all fields, r row, sums []decimal.Decimal) ([]byte, *Refusal) {
	if from == nil {
		return b.object(p, all, r, sums)
	}
	v := b.table.cell(r, *from)
	if v.missing {
		return append(p, "{}"...), nil
	}
	o, ok := v.json.(map[string]any)
	if !ok {
		return p, refusal(r, "bad_object", from.name, v.text, errors.New("no JSON object"))
	}
	return appendJSON(p, o), nil
}

// object writes fields as a JSON object; those without a value are left out, and so are empty objects.
func (b *builder) object(p []byte, all fields, r row, sums []decimal.Decimal) ([]byte, *Refusal) {
	p = append(p, '{')
	empty := true
	for _, f := range all {
		begin := len(p)
		if !empty {
			p = append(p, ',')
		}
		p = append(appendString(p, f.name), ':')
		var wrote bool
		var no *Refusal
		if p, wrote, no = b.value(p, f, r, sums); no != nil {
			return p, no
		}
		if !wrote {
			p = p[:begin]
			continue
		}
		empty = false
	}
	return append(p, '}'), nil
}

func (b *builder) value(p []byte, f *field, r row, sums []decimal.Decimal) ([]byte, bool, *Refusal) {
	switch {
	case f.children != nil:
		begin := len(p)
		p, no := b.object(p, f.children, r, sums)
		return p, len(p) > begin+len("{}"), no
	case f.constant != nil:
		return append(p, f.constant...), true, nil
	case f.factors != nil:
		n := sums[f.sum]
		if f.negate {
			n = n.Neg()
		}
		p, err := appendNumber(p, n, f.kind, f.decimals)
		if err != nil {
			return p, false, refusal(r, "bad_"+string(f.kind), f.factors[0].name, n.String(), fmt.Errorf("sum %s: %w", f.name, err))
		}
		return p, true, nil
	}
	v := b.table.cell(r, f.column)
	if v.missing {
		return p, false, nil
	}
	p, reason, err := f.appendCell(p, v, b.mapping.clock)
	if err != nil {
		return p, false, refusal(r, reason, f.column.name, v.text, err)
	}
	return p, true, nil
}
