package ingest

// shared is what a batch says for all its events.
type shared struct {
	context, integrations defaults
}

// defaults are members that fill what an event's own object lacks: shallow, the event's own value wins.
type defaults struct {
	members []member       // names are unique
	index   map[string]int // of each name in members
	seen    []int          // the turn in which a name was last met; it spares a map for each event
	turn    int
}

// newDefaults takes the members of obj; nil gives none. Of a name that comes twice the last value counts.
func newDefaults(obj []byte) defaults {
	if obj == nil {
		return defaults{}
	}
	all := members(obj, nil)
	d := defaults{index: make(map[string]int, len(all))}
	for _, m := range all {
		if i, met := d.index[string(m.name)]; met {
			d.members[i] = m
			continue
		}
		d.index[string(m.name)] = len(d.members)
		d.members = append(d.members, m)
	}
	d.seen = make([]int, len(d.members))
	return d
}

// meet notes which names own has and counts them.
func (d *defaults) meet(own []member) (met int) {
	d.turn++
	for i := range own {
		if j, ok := d.index[string(own[i].name)]; ok && d.seen[j] != d.turn {
			d.seen[j] = d.turn
			met++
		}
	}
	return met
}

// missingIn reports whether own, an event's JSON object or nil, lacks one of d's members. A value that is no object
// lacks nothing: it stays as it is.
func (d *defaults) missingIn(own []byte) bool {
	switch {
	case len(d.members) == 0:
		return false
	case own == nil:
		return true
	case own[0] != '{':
		return false
	}
	return d.meet(members(own, nil)) < len(d.members)
}

// appendFilled appends the object own (or null, or nothing) together with what it lacks.
func (d *defaults) appendFilled(out, own []byte) []byte {
	start := len(out)
	out = append(out, '{')
	var has []member
	if len(own) > 0 && own[0] == '{' {
		has = members(own, nil)
	}
	for i := range has {
		out = appendMember(comma(out, start), &has[i])
	}
	d.meet(has)
	for i := range d.members {
		if d.seen[i] != d.turn {
			out = appendMember(comma(out, start), &d.members[i])
		}
	}
	return append(out, '}')
}

func appendMember(out []byte, m *member) []byte {
	return append(append(append(out, m.key...), ':'), m.value...)
}
