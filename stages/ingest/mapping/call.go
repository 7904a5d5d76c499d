package mapping

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"attune/pipeline/normal"
)

// call makes one call.
func (a *run) call(c *call, id string, item any, values []any) (Call, *Problem) {
	e := encoder{left: a.limits.CallBytes, nest: maxNesting}
	e.raw(`{"type":"` + c.kind + `"`)
	if c.id != nil {
		own, p := a.text(c.id, item, values)
		if p != nil {
			return Call{}, p
		}
		if own != "" {
			id = own
		}
	}
	id = cmp.Or(a.m.ids, a.m.name) + ":" + id
	e.member(",", "messageId", id, 1)
	said, happened := map[string]bool{}, ""
	for _, f := range []struct {
		name string
		from *expression
	}{
		{"userId", c.user}, {"anonymousId", c.anonymous}, {"previousId", c.previous}, {"groupId", c.group}, {"event", c.event}, {"name", c.name},
	} {
		if f.from == nil {
			continue
		}
		text, p := a.text(f.from, item, values)
		if p != nil {
			return Call{}, p
		}
		if text != "" {
			e.member(",", f.name, text, 1)
			said[f.name] = true
			if f.from == c.event {
				happened = text
			}
		}
	}
	if p := c.complete(said); p != nil {
		return Call{}, p
	}
	timed := false
	for _, f := range []struct {
		name string
		from *expression
	}{{"timestamp", c.time}, {"sentAt", c.sentAt}} {
		if f.from == nil {
			continue
		}
		text, p := a.text(f.from, item, values)
		if p != nil {
			return Call{}, p
		}
		if text == "" {
			continue
		}
		t, err := normal.Time(text, a.m.zone)
		if err != nil {
			p := f.from.wrong("it gives no time", "want RFC 3339 such as 2026-05-01T12:00:00Z, the same without zone, or Unix time; others by strptime(\"%d.%m.%Y\") | mktime")
			p.Detail = err.Error()
			return Call{}, p
		}
		e.member(",", f.name, t.Format(time.RFC3339Nano), 1)
		timed = timed || f.from == c.time
	}
	for _, f := range []struct {
		name string
		from *fields
	}{{"properties", c.properties}, {"traits", c.traits}, {"context", c.context}} {
		if f.from == nil {
			continue
		}
		v, p := a.object(f.from, item, values)
		if p != nil {
			return Call{}, p
		}
		if v != nil {
			e.member(",", f.name, v, 1)
		}
	}
	e.raw("}")
	switch {
	case e.deep:
		return Call{}, &Problem{Reason: ReasonTooDeep, Item: -1, Line: c.at.line, Field: c.field, What: fmt.Sprintf("the call nests deeper than %d", maxNesting)}
	case e.left < 0:
		return Call{}, &Problem{Reason: ReasonTooLarge, Item: -1, Line: c.at.line, Field: c.field, What: fmt.Sprintf("the call is larger than %d bytes", a.limits.CallBytes), Hint: "take over less of the payload, or raise ingest.max_event_bytes"}
	}
	return Call{Kind: c.kind, ID: id, Event: happened, Timed: timed, Payload: e.out}, nil
}

// complete tells what a call of its kind lacks.
func (c *call) complete(said map[string]bool) *Problem {
	lacks := func(reason string, e *expression, field, what, hint string) *Problem {
		p := &Problem{Reason: reason, Item: -1, Line: c.at.line, Field: c.field + "." + field, What: what, Hint: hint}
		if e != nil {
			p.Line = e.at.line
		}
		return p
	}
	who := c.user
	if who == nil {
		who = c.anonymous
	}
	switch {
	case !said["userId"] && !said["anonymousId"]:
		return lacks("no_user_anon_id", who, "user", "it gives nobody", "have the sender name the customer there, the mapping look elsewhere, or ignore leave such payloads out")
	case c.kind == "track" && !said["event"]:
		return lacks("event_not_defined", c.event, "event", "it gives no name", "have the sender name what happened there, or the mapping look elsewhere")
	case c.kind == "group" && !said["groupId"]:
		return lacks("group_id_not_defined", c.group, "group", "it gives no id", "have the sender name the group there, or the mapping look elsewhere")
	case c.kind == "alias" && (!said["previousId"] || !said["userId"]):
		return lacks("previous_id_not_defined", c.previous, "previous", "an alias needs both user and previous", "have the sender give both, or the mapping look elsewhere")
	}
	return nil
}

// text evaluates an expression that gives an id or a name: text, or a number as it is written. Null and what is
// blank are empty.
func (a *run) text(e *expression, item any, values []any) (string, *Problem) {
	v, p := e.run(a.fuel, item, values)
	if p != nil || v == nil {
		return "", p
	}
	text, ok := plain(v)
	if !ok {
		return "", e.wrong("it gives "+kindOf(v), "want text or a number")
	}
	return strings.TrimSpace(text), nil
}

// object evaluates the fields of an object; null where it has none.
func (a *run) object(f *fields, item any, values []any) (map[string]any, *Problem) {
	if f.whole != nil {
		v, p := f.whole.run(a.fuel, item, values)
		if p != nil || v == nil {
			return nil, p
		}
		o, ok := v.(map[string]any)
		if !ok {
			return nil, f.whole.wrong("it gives "+kindOf(v), "want an object: {name: value}")
		}
		return o, nil
	}
	o := make(map[string]any, len(f.names))
	for i, member := range f.members {
		var v any
		var p *Problem
		if member.whole != nil {
			v, p = member.whole.run(a.fuel, item, values)
		} else if nested, q := a.object(member, item, values); nested != nil {
			v = nested
		} else {
			p = q
		}
		if p != nil {
			return nil, p
		}
		if v != nil {
			o[f.names[i]] = v
		}
	}
	if len(o) == 0 {
		return nil, nil
	}
	return o, nil
}
