package mapping

import (
	"fmt"
	"slices"
	"strings"
)

// expectation is something that a payload, or an item of it, must hold to be mapped at all.
type expectation struct {
	of       *expression
	when     *expression // nil: always
	whole    bool        // it is about all of the payload or item
	called   string      // what its sender calls it
	kinds    []string    // as jq calls them; empty: any
	optional bool        // it may be absent or null
	reason   string
	send     string
}

// expect reads the expectations of payloads and of items, in the order written.
func (d *decoder) expect(o *object, payload, item []string) (ofPayload, ofItem []*expectation) {
	for i, n := range o.list("expect") {
		e, ok := d.object(n, fmt.Sprintf("expect[%d]", i))
		if !ok {
			continue
		}
		_, whole := e.take("payload")
		_, part := e.take("item")
		switch {
		case whole == part:
			d.fail(e.at, e.field, "want one of payload and item", "payload: .events for what is looked at before each, item: .name for each item")
		case whole:
			ofPayload = append(ofPayload, d.expectation(e, "payload", payload))
		default:
			ofItem = append(ofItem, d.expectation(e, "item", item))
		}
	}
	return ofPayload, ofItem
}

// expectation reads one, whose expression is under the key.
func (d *decoder) expectation(e *object, key string, variables []string) *expectation {
	one := &expectation{of: e.expression(key, variables), when: e.expression("when", variables), reason: ReasonUnexpected}
	if p, _ := e.take(key); one.of != nil {
		text, _ := scalar(p.value)
		if one.called, one.whole = strings.TrimPrefix(text, "."), text == "."; one.whole {
			one.called = "the " + key
		}
	}
	if called, _ := e.text("called"); called != "" {
		one.called = called
	}
	kinds := []string{"object", "array", "string", "number", "boolean"}
	for _, n := range e.list("type") {
		kind, _ := scalar(n)
		if !slices.Contains(kinds, kind) {
			d.fail(placeOf(n), join2(e.field, "type"), fmt.Sprintf("%q is no type", kind), nearest(kind, kinds))
		}
		one.kinds = append(one.kinds, kind)
	}
	switch s, at := e.text("optional"); s {
	case "", "false":
	case "true":
		one.optional = true
	default:
		d.fail(at, join2(e.field, "optional"), fmt.Sprintf("%q is neither true nor false", s), "")
	}
	if reason, at := e.text("reason"); reason != "" {
		if one.reason = reason; !reasonPattern.MatchString(reason) {
			d.fail(at, join2(e.field, "reason"), "want a reason", "lower-case letters, digits and underscores, such as no_topic")
		}
	}
	if one.send, _ = e.text("send"); one.send == "" {
		d.fail(e.at, e.field, "send is missing", `what to send instead, in a few words, such as send: 'at least one event: "events": [{"name": "purchase"}]'`)
	}
	e.done()
	return one
}

// lacking tells what the first expectation that is not met finds.
func (a *run) lacking(expected []*expectation, v any, values []any) *Problem {
	for _, e := range expected {
		if e.when != nil {
			if holds, p := a.holds(e.when, v, values); p != nil || !holds {
				if p != nil {
					return p
				}
				continue
			}
		}
		found, p := e.of.run(a.fuel, v, values)
		if p != nil {
			return p
		}
		if what := e.wrong(found); what != "" {
			return &Problem{Reason: e.reason, Item: -1, What: e.called + " is " + what, Hint: "send " + e.send}
		}
	}
	return nil
}

// wrong says what v is, where it is not what is expected; else it is empty.
func (e *expectation) wrong(v any) string {
	if v == nil {
		if e.optional {
			return ""
		}
		return "missing"
	}
	if len(e.kinds) > 0 && !slices.Contains(e.kinds, typeOf(v)) {
		return kindOf(v)
	}
	if s, ok := v.(string); ok && !e.optional && strings.TrimSpace(s) == "" {
		return "empty"
	}
	return ""
}

// instead is what to send in place of a payload that can't even be read.
func instead(expected []*expectation) string {
	for _, e := range expected {
		if e.whole && e.when == nil {
			return "send " + e.send
		}
	}
	return ""
}

// typeOf is jq's word for what v is; every number is one, however it is kept.
func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case string:
		return "string"
	}
	return "number"
}
