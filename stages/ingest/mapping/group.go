package mapping

import "context"

// Part is an item of a payload that is grouped, with what it is grouped by.
type Part struct {
	Item any
	Key  string
}

// Grouped says whether several items may become one: a file is read whole first.
func (m *Mapping) Grouped() bool { return m.group != nil }

// parts are a payload's items with their keys.
func (a *run) parts(payload any) (parts []Part, p *Problem) {
	n := 0
	p = a.items(payload, func(item any) *Problem {
		key, p := a.text(a.m.group, item, append(a.values[:len(a.values):cap(a.values)], n))
		if p == nil && key == "" {
			p = a.m.group.wrong("it gives nothing to group by", "leave such items out under each: select(…)")
		}
		n++
		if p != nil {
			return a.note(p, n-1)
		}
		parts = append(parts, Part{item, key})
		return nil
	})
	return parts, p
}

// grouped are the groups of a payload, in the order of their first items.
func grouped(parts []Part) [][]any {
	var groups [][]any
	index := map[string]int{}
	for _, p := range parts {
		i, known := index[p.Key]
		if !known {
			i = len(groups)
			index[p.Key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], p.Item)
	}
	return groups
}

// Row is a row of a file: a payload that is read already.
type Row struct {
	ID    string // $request: the same when the row is read again
	Value any
	Size  int // what it would have as JSON, in bytes
}

// MapRow maps a row as a payload of its own.
func (m *Mapping) MapRow(ctx context.Context, row Row, limits Limits) Result {
	a := m.newRun(ctx, row.Value, row.Size, Request{ID: row.ID}, limits)
	return a.done(a.items(row.Value, a.visit))
}

// Items are what a row of a file holds, without their keys.
func (m *Mapping) Items(ctx context.Context, row Row, limits Limits) (items []any, problems []*Problem) {
	a := m.newRun(ctx, row.Value, row.Size, Request{ID: row.ID}, limits)
	return items, a.done(a.items(row.Value, func(item any) *Problem {
		items = append(items, item)
		return nil
	})).Problems
}

// Parts are the items of a row of a file, to be gathered by key and mapped by MapGroup.
func (m *Mapping) Parts(ctx context.Context, row Row, limits Limits) ([]Part, []*Problem) {
	a := m.newRun(ctx, row.Value, row.Size, Request{ID: row.ID}, limits)
	parts, p := a.parts(row.Value)
	return parts, a.done(p).Problems
}

// MapGroup maps the items that have one key, from wherever in a file; $payload is their array.
func (m *Mapping) MapGroup(ctx context.Context, row Row, limits Limits) Result {
	a := m.newRun(ctx, row.Value, row.Size, Request{ID: row.ID}, limits)
	return a.done(a.visit(row.Value))
}
