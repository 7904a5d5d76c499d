package mapping

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Limits bound what a payload may become.
type Limits struct {
	Items     int // of a payload, and calls
	CallBytes int // of one call
	AllBytes  int // of all calls together
}

// Call is a call in Segment's shape.
type Call struct {
	Kind    string // track, identify, page, screen, group, alias
	ID      string // its messageId
	Item    int    // which of the payload's items it is from, from 0
	Event   string // of a track
	Timed   bool   // it says when it happened
	Payload []byte
}

// Result is what a payload became. Calls are right even where there are problems: those are of other items, unless
// Item is -1.
type Result struct {
	Calls    []Call
	Problems []*Problem
	Ignored  int // items that the mapping ignores by declaration
}

// run is the mapping of one payload.
type run struct {
	m       *Mapping
	fuel    *fuel
	limits  Limits
	values  []any // of the variables
	bytes   int
	visited int            // items
	ids     map[string]int // calls by messageId, to their index in result
	hashes  map[string]int // how often an item's content was met
	result  Result
}

// Map turns a payload into calls. The same request gives the same calls. It ends after a number of steps that grows with
// the payload, and when ctx does; it never panics on a payload.
func (m *Mapping) Map(ctx context.Context, r Request, limits Limits) Result {
	payload, size, p := m.payload(r, limits.Items)
	if p != nil {
		p.Hint = cmp.Or(p.Hint, instead(m.wanted))
		return Result{Problems: []*Problem{p}}
	}
	a := m.newRun(ctx, payload, size, r, limits)
	if m.group == nil {
		return a.done(a.items(payload, a.visit))
	}
	parts, p := a.parts(payload)
	for _, g := range grouped(parts) {
		if p == nil {
			p = a.visit(g)
		}
	}
	return a.done(p)
}

func (m *Mapping) newRun(ctx context.Context, payload any, size int, r Request, limits Limits) *run {
	a := &run{m: m, fuel: newFuel(ctx, size), limits: limits, ids: map[string]int{}, hashes: map[string]int{}}
	a.values = append(make([]any, 0, 5+len(m.variables)), payload, joined(r.Headers), joined(r.Query), r.ID)
	return a
}

// items gives each of the payload's items.
func (a *run) items(payload any, visit func(item any) *Problem) *Problem {
	if p := a.lacking(a.m.wanted, payload, a.values); p != nil {
		return p
	}
	if a.m.each == nil {
		return visit(payload)
	}
	return a.m.each.each(a.fuel, payload, a.values, visit)
}

// visit makes the calls of the next item. A problem ends it all; what is wrong with the item alone is noted.
func (a *run) visit(item any) *Problem {
	if a.visited >= a.limits.Items {
		return unreadable(ReasonTooMany, fmt.Sprintf("the payload has more than %d items", a.limits.Items), "send it in parts")
	}
	p := a.item(item, a.visited)
	a.visited++
	return a.note(p, a.visited-1)
}

// note keeps what is wrong with one item, unless it is wrong with the payload.
func (a *run) note(p *Problem, item int) *Problem {
	switch {
	case p == nil:
		return nil
	case p.Item < 0:
		if p.Reason == ReasonTooSlow || p.Reason == ReasonTooLarge && a.bytes > a.limits.AllBytes {
			return p
		}
		p.Item = item
	}
	a.result.Problems = append(a.result.Problems, p)
	if len(a.result.Problems) > maxProblems {
		return unreadable(ReasonFailed, fmt.Sprintf("more than %d of the payload's items can't be used", maxProblems), "")
	}
	return nil
}

// done is the result, with what ended it first.
func (a *run) done(p *Problem) Result {
	if p != nil {
		a.result.Problems = append([]*Problem{p}, a.result.Problems...)
	}
	for _, p := range a.result.Problems {
		if p.Field != "" {
			p.File = a.m.file
		}
	}
	return a.result
}

// maxProblems is how many items of one payload are told to be wrong.
const maxProblems = 100

// joined are headers or parameters as jq sees them: text by name, several values with commas.
func joined(all map[string][]string) map[string]any {
	m := make(map[string]any, len(all))
	for name, values := range all {
		m[name] = strings.Join(values, ", ")
	}
	return m
}

// item makes the calls of one item. A problem means none.
func (a *run) item(item any, n int) *Problem {
	m := a.m
	values := append(a.values[:len(a.values):cap(a.values)], n)
	if p := a.lacking(m.expected, item, values); p != nil {
		return p
	}
	for _, v := range m.variables {
		value, p := v.value.run(a.fuel, item, values)
		if p != nil {
			return p
		}
		values = append(values, value)
	}
	for _, r := range m.refuse {
		refused, p := a.holds(r.when, item, values)
		if p != nil {
			return p
		}
		if refused {
			p := &Problem{Reason: r.reason, Item: -1, Line: r.when.at.line, Field: r.when.field, What: "the mapping refuses the item"}
			if r.send != "" {
				p.Hint = "send " + r.send
			}
			return p
		}
	}
	if m.ignore != nil {
		ignored, p := a.holds(m.ignore, item, values)
		if p != nil {
			return p
		}
		if ignored {
			a.result.Ignored++
			return nil
		}
	}
	id, p := a.itemID(item, values)
	if p != nil {
		return p
	}
	var calls []Call
	for i, c := range m.calls {
		if c.when != nil {
			holds, p := a.holds(c.when, item, values)
			if p != nil {
				return p
			}
			if !holds {
				continue
			}
		}
		own := id
		if len(calls) > 0 {
			own = id + "#" + strconv.Itoa(i)
		}
		made, p := a.call(c, own, item, values)
		if p != nil {
			return p
		}
		made.Item = n
		calls = append(calls, made)
	}
	if len(calls) == 0 {
		return &Problem{Reason: ReasonNotMapped, Item: -1, Line: m.calls[0].at.line, Field: "calls", What: "no call's condition holds", Hint: "add a call, or say under ignore that such payloads mean nothing"}
	}
	return a.keep(calls)
}

// keep adds an item's calls to the result; of the same call twice the first.
func (a *run) keep(calls []Call) *Problem {
	for i, c := range calls {
		if j, met := a.ids[c.ID]; met && string(a.result.Calls[j].Payload) != string(c.Payload) || !met && repeats(calls[:i], c.ID) {
			return &Problem{Reason: ReasonFailed, Item: -1, Line: a.m.calls[0].at.line, Field: "id", What: "two different calls of the payload have the same id", Hint: "the later would pass for a repeat: put something into id that tells them apart"}
		}
	}
	for _, c := range calls {
		if _, met := a.ids[c.ID]; met {
			continue
		}
		a.bytes += len(c.Payload)
		if a.bytes > a.limits.AllBytes || len(a.result.Calls) >= a.limits.Items {
			return unreadable(ReasonTooLarge, fmt.Sprintf("the payload becomes more than %d bytes or %d calls", a.limits.AllBytes, a.limits.Items), "send it in parts")
		}
		a.ids[c.ID] = len(a.result.Calls)
		a.result.Calls = append(a.result.Calls, c)
	}
	return nil
}

func repeats(calls []Call, id string) bool {
	for _, c := range calls {
		if c.ID == id {
			return true
		}
	}
	return false
}

// holds tells whether a condition is neither false nor null.
func (a *run) holds(e *expression, item any, values []any) (bool, *Problem) {
	v, p := e.run(a.fuel, item, values)
	return v != nil && v != false, p
}

// itemID is what the mapping says, else a hash of the item's content. An item that comes again in one payload has
// an id of its own.
func (a *run) itemID(item any, values []any) (string, *Problem) {
	if a.m.id != nil {
		id, p := a.text(a.m.id, item, values)
		if p != nil {
			return "", p
		}
		if id != "" {
			return id, nil
		}
	}
	content := encoder{left: maxContent, nest: maxDepth + 1}
	if content.value(item, 0); content.left < 0 || content.deep {
		return "", unreadable(ReasonTooLarge, fmt.Sprintf("an item is larger than %d bytes or nests deeper than %d", maxContent, maxDepth), "")
	}
	sum := sha256.Sum256(content.out)
	id := hex.EncodeToString(sum[:16])
	a.hashes[id]++
	if again := a.hashes[id]; again > 1 {
		id += "~" + strconv.Itoa(again)
	}
	return id, nil
}

// maxContent bounds what an item's id is a hash of, in bytes.
const maxContent = 4 << 20
