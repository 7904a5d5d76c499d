package ingest

// payload is the call's JSON for the log. It is what was sent, the same memory, when nothing has to change.
// Otherwise it is written over buffer, which may grow. newID's text needs no escaping.
func (c *call) payload(buffer []byte, kind string, all *shared, newID func() string) (payload []byte, written bool) {
	setType := kind != "" && c.kind() != kind
	newMessageID := c.blank(fieldMessageID)
	fillContext := all.context.missingIn(c.value(fieldContext))
	fillIntegrations := all.integrations.missingIn(c.value(fieldIntegrations))
	if c.at[fieldWriteKey] == 0 && !c.twice && !setType && !newMessageID && !c.hasNumericID() &&
		!fillContext && !fillIntegrations {
		return c.raw, false
	}
	out := append(buffer[:0], '{')
	for i := range c.members {
		m := &c.members[i]
		f := fieldOf(m.name)
		if f == fieldWriteKey || f != fieldNone && c.at[f] != i+1 {
			continue
		}
		out = comma(out, 0)
		out = append(append(out, m.key...), ':')
		switch {
		case f == fieldType && setType:
			out = appendQuoted(out, kind)
		case f == fieldMessageID && newMessageID:
			out = appendQuoted(out, newID())
		case isID(f) && isNumber(m.value):
			out = append(append(append(out, '"'), m.value...), '"')
		case f == fieldContext && fillContext:
			out = all.context.appendFilled(out, m.value)
		case f == fieldIntegrations && fillIntegrations:
			out = all.integrations.appendFilled(out, m.value)
		default:
			out = append(out, m.value...)
		}
	}
	if c.at[fieldType] == 0 && setType {
		out = appendQuoted(append(comma(out, 0), `"type":`...), kind)
	}
	if c.at[fieldMessageID] == 0 {
		out = appendQuoted(append(comma(out, 0), `"messageId":`...), newID())
	}
	if c.at[fieldContext] == 0 && fillContext {
		out = all.context.appendFilled(append(comma(out, 0), `"context":`...), nil)
	}
	if c.at[fieldIntegrations] == 0 && fillIntegrations {
		out = all.integrations.appendFilled(append(comma(out, 0), `"integrations":`...), nil)
	}
	return append(out, '}'), true
}

func isID(f field) bool {
	switch f {
	case fieldUserID, fieldAnonymousID, fieldPreviousID, fieldGroupID, fieldMessageID:
		return true
	}
	return false
}

func (c *call) hasNumericID() bool {
	for _, f := range [...]field{fieldUserID, fieldAnonymousID, fieldPreviousID, fieldGroupID, fieldMessageID} {
		if isNumber(c.value(f)) {
			return true
		}
	}
	return false
}

// comma appends one unless the object that begins at start is still empty.
func comma(out []byte, start int) []byte {
	if len(out) == start+1 {
		return out
	}
	return append(out, ',')
}

// appendQuoted appends text that has nothing to escape as a JSON string.
func appendQuoted(out []byte, id string) []byte {
	return append(append(append(out, '"'), id...), '"')
}
