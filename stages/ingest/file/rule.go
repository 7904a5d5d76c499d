package file

import "github.com/goccy/go-yaml/ast"

// refuseRule leaves rows out for a reason of the mapping's own.
type refuseRule struct {
	reason string
	when   []condition
}

// callRule says how a row, or a group of rows, becomes a call.
type callRule struct {
	when            []condition
	kind            string // track or identify
	event           template
	user, anonymous *column
	time            *column
	id              template // empty: a hash
	properties      fields
	propertiesFrom  *column // JSONL: the whole object
	traits          fields
	traitsFrom      *column
	context         fields
	items           string // the property that lists the rows; empty: none
	itemFields      fields
	sums            []*field // every sum among properties, traits and context
}

func (d *decoder) refuse(m *Mapping, n ast.Node) {
	o, ok := d.object(n, "refuse")
	if !ok {
		return
	}
	var r refuseRule
	s, p, ok := o.text("reason")
	if r.reason = s; (ok && !reasonPattern.MatchString(s)) || (!ok && p.value == nil) {
		d.fail(p.at, "such as test_order", "refuse needs a reason in snake_case")
	}
	if p, ok := o.take("when"); ok {
		r.when = d.conditions(m, p.value)
	} else {
		d.fail(o.at, "", "refuse needs a when")
	}
	o.done("refuse")
	m.refuse = append(m.refuse, r)
}

func (d *decoder) call(m *Mapping, n ast.Node) {
	o, ok := d.object(n, "a call")
	if !ok {
		return
	}
	c := &callRule{}
	if p, ok := o.take("when"); ok {
		c.when = d.conditions(m, p.value)
	}
	kind, p, ok := o.text("type")
	c.kind = kind
	if ok && kind != "track" && kind != "identify" {
		d.fail(placeOf(p.value), "track or identify", "unknown type %q", kind)
	} else if !ok && p.value == nil {
		d.fail(o.at, "track or identify", "a call needs a type")
	}
	track, identify := kind == "track", kind == "identify"

	event, hasEvent := o.take("event")
	if hasEvent {
		c.event = d.template(m, event.value, "event")
	}
	user, hasUser := o.take("user")
	if hasUser {
		c.user = d.column(m, user.value, "user")
	}
	anonymous, hasAnonymous := o.take("anonymous")
	if hasAnonymous {
		c.anonymous = d.column(m, anonymous.value, "anonymous")
	}
	at, hasTime := o.take("time")
	if hasTime {
		c.time = d.column(m, at.value, "time")
	}
	if p, ok := o.take("id"); ok {
		c.id = d.template(m, p.value, "id")
	}
	properties, hasProperties := o.take("properties")
	if hasProperties {
		c.properties, c.propertiesFrom = d.fieldsOrColumn(m, c, properties, "properties")
	}
	traits, hasTraits := o.take("traits")
	if hasTraits {
		c.traits, c.traitsFrom = d.fieldsOrColumn(m, c, traits, "traits")
	}
	if p, ok := o.take("context"); ok {
		c.context = d.fields(m, c, p.value, "context")
		for _, f := range c.context {
			if f.name == "library" {
				d.fail(f.at, "", "context.library says that the call was imported; it can't be set")
			}
		}
	}
	items, hasItems := o.take("items")
	if hasItems {
		d.items(m, c, items.value)
	}
	o.done("a call")

	switch {
	case track && !hasEvent:
		d.fail(o.at, "event: Order Completed", "a track needs an event")
	case identify && hasEvent:
		d.fail(event.at, "remove it, or say type: track", "an identify has no event")
	}
	if !hasUser && !hasAnonymous {
		d.fail(o.at, "user: the column that holds the customer's id", "a call needs user or anonymous")
	}
	if track && !hasTime {
		d.fail(o.at, "time: the column that says when it happened; else it would count as happening now", "a track needs a time")
	}
	if track && hasTraits {
		d.fail(traits.at, "they belong to an identify; a track has properties", "a track has no traits")
	}
	if identify && hasProperties {
		d.fail(properties.at, "call them traits", "an identify has no properties")
	}
	if identify && hasItems {
		d.fail(items.at, "", "an identify has no items")
	}
	m.calls = append(m.calls, c)
}

func (d *decoder) items(m *Mapping, c *callRule, n ast.Node) {
	o, ok := d.object(n, "items")
	if !ok {
		return
	}
	name, p, ok := o.text("name")
	if !ok && p.value == nil {
		d.fail(o.at, "name: products", "items need a name")
	}
	c.items = name
	if c.propertiesFrom != nil {
		d.fail(o.at, "list the properties one by one", "items can't be added to an object that is taken over whole")
	}
	for _, f := range c.properties {
		if f.name == name && name != "" {
			d.fail(f.at, "", "%q is both a property and the list of items", name)
		}
	}
	if p, ok := o.take("fields"); ok {
		c.itemFields = d.fields(m, nil, p.value, "items")
	} else {
		d.fail(o.at, "", "items need fields")
	}
	o.done("items")
}
