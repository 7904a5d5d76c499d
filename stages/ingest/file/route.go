package file

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"attune/pipeline/event"
)

// route finds the call that a row belongs to.
func (r *Reader) route(row row) (*callRule, *Refusal) {
	m := r.options.Mapping
	for _, c := range m.require {
		if r.table.cell(row, c).missing {
			return nil, missing(row, c.name)
		}
	}
	for _, rule := range m.refuse {
		if allHold(r.table, row, rule.when) {
			first := rule.when[0].column
			return nil, refusal(row, rule.reason, first.name, r.table.cell(row, first).text, errRule)
		}
	}
	for _, c := range m.calls {
		if allHold(r.table, row, c.when) {
			return c, nil
		}
	}
	return nil, refusal(row, "no_call", "", "", errors.New("no call's when holds for it"))
}

var errRule = errors.New("refused by the mapping")

func (r *Reader) groupOf(row row) string {
	return strings.TrimSpace(r.table.cell(row, *r.options.Mapping.groupBy).text)
}

func (r *Reader) hold(g *groups, c *callRule, row row) error {
	by := r.options.Mapping.groupBy
	v := r.table.cell(row, *by)
	switch {
	case v.missing:
		r.refuse(*missing(row, by.name))
		return nil
	case v.composite:
		r.refuse(*refusal(row, "bad_string", by.name, "", errors.New("rows can't be grouped by an object or list")))
		return nil
	}
	if err := g.add(c, strings.TrimSpace(v.text), row); err != nil {
		return fmt.Errorf("read import %s:%d: %w", r.source.name, row.line, err)
	}
	return nil
}

func (r *Reader) refuse(no Refusal) {
	no.File = r.source.name
	r.report.refuse(no)
	if r.options.OnRefusal != nil {
		r.options.OnRefusal(no)
	}
}

func (r *Reader) refuseAll(all []Refusal) {
	for _, no := range all {
		r.refuse(no)
	}
}

// make builds one call and hands it on, unless it is refused or lies before the resumed position.
func (r *Reader) make(c *callRule, rows []row, emit func(Call) error) error {
	b, refused := r.build.build(c, rows)
	if refused == nil {
		refused = r.acceptable(b, rows)
	}
	if refused != nil {
		r.refuseAll(refused)
		return nil
	}
	name := b.event
	if c.kind != "track" {
		name = c.kind
	}
	r.report.call(name, len(rows))
	chain := sha256.New()
	chain.Write(r.digest[:])
	chain.Write(b.payload)
	chain.Sum(r.digest[:0])
	at := Position{Calls: r.calls.Add(1), Digest: hex.EncodeToString(r.digest[:])}
	if at.Calls <= r.resume.Calls {
		r.report.Skipped++
		if at.Calls == r.resume.Calls && at.Digest != r.resume.Digest {
			return fmt.Errorf("resume %s: the calls before the checkpoint are others now: the file %w", r.source.name, ErrChanged)
		}
		return nil
	}
	return emit(Call{
		Raw:  event.Raw{Key: b.key, Payload: b.payload, Historical: true},
		ID:   b.id,
		Line: rows[0].line, Event: name, Rows: len(rows), Position: at,
	})
}

// acceptable refuses what the pipeline couldn't carry, and what it would drop as a repeat.
func (r *Reader) acceptable(b built, rows []row) []Refusal {
	why := Refusal{Reason: "too_large", Err: fmt.Errorf("the call has %d bytes, %d are allowed", len(b.payload), r.options.MaxPayload)}
	if len(b.payload) <= r.options.MaxPayload {
		sum := sha256.Sum256([]byte(b.id))
		key := [16]byte(sum[:16])
		if _, again := r.seen[key]; !again {
			if len(r.seen) < rememberedIDs {
				r.seen[key] = struct{}{}
			}
			return nil
		}
		why = Refusal{Reason: "repeated_id", Value: clip(b.id), Err: fmt.Errorf("an earlier call has the messageId %q", clip(b.id))}
	}
	all := make([]Refusal, len(rows))
	for i, row := range rows {
		all[i] = why
		all[i].Line = row.line
	}
	return all
}
