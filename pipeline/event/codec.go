package event

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"encoding/json"
)

// Records are JSON, so that any tool can read the log. They are read and written by hand: with reflection this was the
// largest part of a worker's own time, and took four times as long.

// Decode reads one record of the log. The event's objects are parts of data, which must not change any more.
func Decode(data []byte) (Event, error) {
	var e Event
	err := e.Decode(data)
	return e, err
}

// Decode is the same for an event that is a part of something; after an error it is empty.
func (e *Event) Decode(data []byte) error {
	*e = Event{}
	if err := e.read(data); err != nil {
		*e = Event{}
		return fmt.Errorf("decode event: %w", err)
	}
	return nil
}

func (e *Event) read(data []byte) error {
	s := scanner{text: data}
	if start := s.space(0); start < len(data) && data[start] != '{' {
		if end := s.value(start); end > 0 && s.space(end) == len(data) {
			return fmt.Errorf("want a JSON object, got %s", kindOf(data[start]))
		}
		return syntaxError(data)
	}
	var wrong error // the first field that isn't what it should be
	end := s.fields(s.space(0), func(key, value []byte) {
		if wrong != nil || value[0] == 'n' { // null: as if it weren't there
			return
		}
		if err := e.field(key, value, &s); err != nil {
			wrong = fmt.Errorf("%q: %w", key, err)
		}
	})
	if end < 0 || s.space(end) != len(data) {
		return syntaxError(data)
	}
	return wrong
}

func (e *Event) field(name, v []byte, s *scanner) (err error) {
	switch string(name) {
	case "id":
		e.ID, err = decodeText(v)
	case "type":
		e.Type, err = decodeType(v)
	case "name":
		e.Name, err = decodeText(v)
	case "profile":
		e.Profile, err = decodeText(v)
	case "user":
		e.User, err = decodeText(v)
	case "occurred":
		err = e.Occurred.UnmarshalJSON(v)
	case "accepted":
		err = e.Accepted.UnmarshalJSON(v)
	case "historical":
		e.Historical, err = decodeBool(v)
	case "properties":
		e.Properties, err = decodeObject(v, s)
	case "traits":
		e.Traits, err = decodeObject(v, s)
	case "context":
		e.Context, err = decodeObject(v, s)
	case "consent":
		err = json.Unmarshal(v, &e.Consent) // these four are rare
	case "trace":
		e.Trace, err = decodeText(v)
	case "joins":
		err = json.Unmarshal(v, &e.Joins)
	case "merge":
		err = json.Unmarshal(v, &e.Merge)
	case "control":
		err = json.Unmarshal(v, &e.Control)
	case "source":
		err = e.Source.decode(v)
	}
	return err
}

func (s *Source) decode(data []byte) (err error) {
	if data[0] != '{' {
		return fmt.Errorf("want a JSON object, got %s", kindOf(data[0]))
	}
	walk(data, func(key, v []byte) bool {
		if v[0] == 'n' {
			return true
		}
		switch string(key[1 : len(key)-1]) {
		case "name":
			s.Name, err = decodeText(v)
		case "ordinal":
			s.Ordinal, err = strconv.ParseUint(string(v), 10, 64)
		case "after":
			s.After, err = strconv.ParseUint(string(v), 10, 64)
		}
		return err == nil
	})
	return err
}

// decodeObject takes over an object that the scanner has just passed.
func decodeObject(v []byte, s *scanner) (Object, error) {
	if v[0] != '{' || s.spaced || s.wide {
		return ParseObject(v)
	}
	return Object(v[:len(v):len(v)]), nil
}

func decodeText(v []byte) (string, error) {
	if v[0] != '"' {
		return "", fmt.Errorf("want a string, got %s", kindOf(v[0]))
	}
	return text(v), nil
}

// decodeType finds the constant, so that the common ones cost no copy.
func decodeType(v []byte) (Type, error) {
	for _, t := range [...]Type{Track, Identify, Page, Screen, Group, Alias, Delivery, Wake, Control, Merge, Transfer, Prepare} {
		if len(v) == len(t)+2 && string(v[1:len(v)-1]) == string(t) {
			return t, nil
		}
	}
	s, err := decodeText(v)
	return Type(s), err
}

func decodeBool(v []byte) (bool, error) {
	switch v[0] {
	case 't':
		return true, nil
	case 'f':
		return false, nil
	}
	return false, errors.New("want true or false")
}

// Encode writes one record of the log: the same event gives the same bytes. It fails where a time has a year
// that RFC 3339 doesn't have, or an object is no JSON.
func (e *Event) Encode() ([]byte, error) {
	b := make([]byte, 0, 384+len(e.Properties)+len(e.Traits)+len(e.Context))
	b, err := e.append(b)
	if err != nil {
		return nil, fmt.Errorf("encode event %q: %w", e.ID, err)
	}
	return b, nil
}

func (e *Event) append(b []byte) (_ []byte, err error) {
	b = AppendText(append(b, `{"id":`...), e.ID)
	b = AppendText(append(b, `,"type":`...), string(e.Type))
	b = appendOptional(b, `,"name":`, e.Name)
	b = appendOptional(b, `,"profile":`, e.Profile)
	b = appendOptional(b, `,"user":`, e.User)
	if b, err = e.Occurred.append(append(b, `,"occurred":`...)); err != nil {
		return nil, err
	}
	if b, err = e.Accepted.append(append(b, `,"accepted":`...)); err != nil {
		return nil, err
	}
	if e.Historical {
		b = append(b, `,"historical":true`...)
	}
	for _, o := range [...]struct {
		key    string
		object Object
	}{{`,"properties":`, e.Properties}, {`,"traits":`, e.Traits}, {`,"context":`, e.Context}} {
		if len(o.object) == 0 {
			continue
		}
		if b, err = o.object.append(append(b, o.key...)); err != nil {
			return nil, fmt.Errorf("%s %w", o.key[1:], err)
		}
	}
	if len(e.Consent) > 0 {
		b = append(b, `,"consent":{`...)
		for i, channel := range slices.Sorted(maps.Keys(e.Consent)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendBool(append(AppendText(b, channel), ':'), e.Consent[channel])
		}
		b = append(b, '}')
	}
	b = appendOptional(b, `,"trace":`, e.Trace)
	if len(e.Joins) > 0 {
		if b, err = appendJSON(append(b, `,"joins":`...), e.Joins); err != nil {
			return nil, err
		}
	}
	if e.Merge != nil {
		if b, err = appendJSON(append(b, `,"merge":`...), e.Merge); err != nil {
			return nil, err
		}
	}
	if c := e.Control; c != nil {
		b = AppendText(append(b, `,"control":{"kind":`...), c.Kind)
		b = strconv.AppendUint(append(b, `,"version":`...), c.Version, 10)
		b = AppendText(append(b, `,"hash":`...), c.Hash)
		if b, err = c.appendSwitch(b); err != nil {
			return nil, err
		}
		b = append(b, '}')
	}
	b = AppendText(append(b, `,"source":{"name":`...), e.Source.Name)
	b = strconv.AppendUint(append(b, `,"ordinal":`...), e.Source.Ordinal, 10)
	if e.Source.After != 0 {
		b = strconv.AppendUint(append(b, `,"after":`...), e.Source.After, 10)
	}
	return append(b, '}', '}'), nil
}

// appendSwitch writes how definitions come into force.
func (c *ControlRecord) appendSwitch(b []byte) (_ []byte, err error) {
	if c.At != 0 {
		if b, err = c.At.append(append(b, `,"at":`...)); err != nil {
			return nil, err
		}
	}
	b = appendOptional(b, `,"before":`, c.Before)
	if c.Staged != 0 {
		b = strconv.AppendUint(append(b, `,"staged":`...), c.Staged, 10)
	}
	if c.Fire {
		b = append(b, `,"fire":true`...)
	}
	return b, nil
}

// append writes an object, compacted: what ParseObject has read goes on byte for byte.
func (o Object) append(b []byte) ([]byte, error) {
	s := scanner{text: o}
	if end := s.value(0); end == len(o) && !s.spaced && o[0] == '{' {
		return append(b, o...), nil
	}
	parsed, err := ParseObject(o)
	if err != nil {
		return nil, err
	}
	return append(b, parsed...), nil
}

// appendJSON writes what is too rare to be written by hand.
func appendJSON(b []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(b, data...), err
}

func appendOptional(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return AppendText(append(b, key...), value)
}

// AppendText writes a string as JSON, escaped only where it must be; bytes that are no UTF-8 become U+FFFD.
func AppendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return appendQuoted(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendQuoted writes a string that needs care.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
