package ingest

import (
	"bytes"
	"strings"
	"time"
)

// maxIDBytes bounds each id: ids become part of a subject and of keys in the broker.
const maxIDBytes = 1024

// field is one of the members that ingest looks at.
type field int

const (
	fieldType field = iota
	fieldMessageID
	fieldUserID
	fieldAnonymousID
	fieldPreviousID
	fieldGroupID
	fieldEvent
	fieldProperties
	fieldTraits
	fieldContext
	fieldIntegrations
	fieldSentAt
	fieldWriteKey
	fieldBatch
	fields // how many there are
	fieldNone
)

func fieldOf(name []byte) field {
	switch string(name) {
	case "type":
		return fieldType
	case "messageId":
		return fieldMessageID
	case "userId":
		return fieldUserID
	case "anonymousId":
		return fieldAnonymousID
	case "previousId":
		return fieldPreviousID
	case "groupId":
		return fieldGroupID
	case "event":
		return fieldEvent
	case "properties":
		return fieldProperties
	case "traits":
		return fieldTraits
	case "context":
		return fieldContext
	case "integrations":
		return fieldIntegrations
	case "sentAt":
		return fieldSentAt
	case "writeKey":
		return fieldWriteKey
	case "batch":
		return fieldBatch
	}
	return fieldNone
}

// call is one JSON object that a client sent, taken apart. A name that comes twice counts with its last value, as
// in JavaScript and Go.
type call struct {
	raw     []byte // as sent
	members []member
	at      [fields]int // index in members plus one; 0: absent
	twice   bool        // one of the fields came twice
}

// parse takes apart obj, which the scanner has checked, and reuses c's memory.
func (c *call) parse(obj []byte) {
	*c = call{raw: obj, members: members(obj, c.members[:0])}
	for i := range c.members {
		if f := fieldOf(c.members[i].name); f != fieldNone {
			c.twice = c.twice || c.at[f] != 0
			c.at[f] = i + 1
		}
	}
}

// value is the field's JSON, nil when it is absent or null.
func (c *call) value(f field) []byte {
	if c.at[f] == 0 {
		return nil
	}
	if v := c.members[c.at[f]-1].value; v[0] != 'n' {
		return v
	}
	return nil
}

// text is the field's text: a string's, or a number's as it was written; empty for any other kind.
func (c *call) text(f field) string {
	v := c.value(f)
	switch {
	case v == nil:
		return ""
	case v[0] == '"':
		return unquote(v)
	case isNumber(v):
		return string(v)
	}
	return ""
}

func isNumber(v []byte) bool { return len(v) > 0 && (v[0] == '-' || isDigit(v[0])) }

// blank reports whether the field is absent, null, or text of nothing but white space.
func (c *call) blank(f field) bool {
	v := c.value(f)
	switch {
	case v == nil:
		return true
	case v[0] != '"':
		return false
	case bytes.IndexByte(v, '\\') < 0:
		return len(bytes.TrimSpace(v[1:len(v)-1])) == 0
	}
	return strings.TrimSpace(unquote(v)) == ""
}

// sentAt is the sender's clock, zero when it is absent or not RFC 3339.
func (c *call) sentAt() time.Time {
	v := c.value(fieldSentAt)
	if v == nil || v[0] != '"' {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, unquote(v))
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.UTC()
}

// kinds are Segment's six kinds of call.
func kinds() [6]string { return [...]string{"track", "identify", "page", "screen", "group", "alias"} }

func isKind(s string) bool {
	for _, k := range kinds() {
		if s == k {
			return true
		}
	}
	return false
}

// kind is the call's own "type" when it is one of Segment's, else empty.
func (c *call) kind() string {
	v := c.value(fieldType)
	if v == nil || v[0] != '"' {
		return ""
	}
	for _, k := range kinds() {
		if string(v[1:len(v)-1]) == k {
			return k
		}
	}
	if s := unquote(v); isKind(s) { // written with escapes
		return s
	}
	return ""
}

// check reports what keeps the call from being an event of the given kind, or nil.
func (c *call) check(kind string) *problem {
	if !isKind(kind) {
		return wrong(codeTypeNotKnown, "type", "type is missing or unknown; it is one of track, identify, page, screen, group, alias")
	}
	for _, id := range [...]struct {
		field field
		name  string
	}{
		{fieldUserID, "userId"}, {fieldAnonymousID, "anonymousId"}, {fieldMessageID, "messageId"},
		{fieldPreviousID, "previousId"}, {fieldGroupID, "groupId"},
	} {
		v := c.value(id.field)
		if v == nil {
			continue
		}
		if v[0] != '"' && !isNumber(v) {
			return wrong(codeIDNotString, id.name, "%s is neither a string nor a number", id.name)
		}
		if len(v) > maxIDBytes {
			return wrong(codeIDTooLong, id.name, "%s is longer than %d bytes; send an id, not data", id.name, maxIDBytes)
		}
	}
	if c.blank(fieldUserID) && c.blank(fieldAnonymousID) {
		return wrong(codeNoID, "userId", "neither userId nor anonymousId is given; send one of them, or both")
	}
	switch kind {
	case "track":
		v := c.value(fieldEvent)
		if v != nil && v[0] != '"' {
			return wrong(codeEventNotString, "event", "event is not a string; it is the event's name, such as \"Order Completed\"")
		}
		if c.blank(fieldEvent) {
			return wrong(codeEventNotDefined, "event", "a track call needs event, the event's name, such as \"Order Completed\"")
		}
	case "group":
		if c.blank(fieldGroupID) {
			return wrong(codeGroupIDNotDefined, "groupId", "a group call needs groupId, the group that the person belongs to")
		}
	case "alias":
		if c.blank(fieldPreviousID) {
			return wrong(codePreviousIDNotDefined, "previousId", "an alias call needs previousId, the id that the person had before")
		}
		if c.blank(fieldUserID) {
			return wrong(codeUserIDNotDefined, "userId", "an alias call needs userId, the id that the person has from now on")
		}
	}
	for _, o := range [...]struct {
		field      field
		name, code string
	}{
		{fieldProperties, "properties", codePropertiesNoObject}, {fieldTraits, "traits", codeTraitsNoObject},
		{fieldContext, "context", codeContextNoObject},
	} {
		if v := c.value(o.field); v != nil && v[0] != '{' {
			return wrong(o.code, o.name, "%s is not a JSON object", o.name)
		}
	}
	return nil
}

// key keeps a person's calls in order: the anonymous id, else the user id.
func (c *call) key() string {
	if !c.blank(fieldAnonymousID) {
		return c.text(fieldAnonymousID)
	}
	return c.text(fieldUserID)
}
