package profile

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

// Decode reads a profile that any earlier version wrote.
func Decode(data []byte) (*Profile, error) {
	p := new(Profile)
	if err := readFields(data, p.field); err != nil {
		return nil, fmt.Errorf("decode profile: %w", err)
	}
	if p.ID == "" {
		return nil, errNoID
	}
	return p, nil
}

// errNoID is returned for bytes that are no profile's: each has an id.
var errNoID = errors.New("decode profile: it has no id")

// wire is one field's value: a number, or bytes that are a part of what is read.
type wire struct {
	number uint64
	bytes  []byte
}

func (w wire) instant() event.Instant { return event.Instant(protowire.DecodeZigZag(w.number)) }
func (w wire) money() event.Money     { return event.Money(protowire.DecodeZigZag(w.number)) }
func (w wire) bool() bool             { return protowire.DecodeBool(w.number) }
func (w wire) text() string           { return string(w.bytes) }

func (w wire) object() event.Object {
	if len(w.bytes) == 0 {
		return nil
	}
	return append(event.Object(nil), w.bytes...)
}

// readFields hands every field to take, in the order written. What take doesn't know it ignores.
func readFields(data []byte, take func(field protowire.Number, w wire) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var w wire
		switch kind {
		case protowire.VarintType:
			w.number, n = protowire.ConsumeVarint(data)
		case protowire.Fixed64Type:
			w.number, n = protowire.ConsumeFixed64(data)
		case protowire.BytesType:
			w.bytes, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", field, protowire.ParseError(n))
		}
		data = data[n:]
		if err := take(field, w); err != nil {
			return fmt.Errorf("field %d: %w", field, err)
		}
	}
	return nil
}

func (p *Profile) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		p.ID = w.text()
	case 2:
		p.Now = w.instant()
	case 3:
		p.Applied = w.number
	case 4:
		p.First = w.instant()
	case 5:
		p.Last = w.instant()
	case 6:
		return readEntry(&p.Traits, w.bytes, (*Trait).field)
	case 7:
		return readEntry(&p.Consents, w.bytes, (*Consent).field)
	case 8:
		return readEntry(&p.Counts, w.bytes, countField)
	case 9:
		return readFields(w.bytes, p.Orders.field)
	case 10:
		return readFields(w.bytes, p.Scores.field)
	case 11:
		return readWindow(&p.Windows, w.bytes)
	case 12:
		return readEntry(&p.Segments, w.bytes, (*Membership).field)
	case 13:
		p.Definitions = w.number
	case 14:
		var wait Wait
		err := readFields(w.bytes, wait.field)
		p.Waits = append(p.Waits, wait)
		return err
	case 15:
		var send Send
		err := readFields(w.bytes, send.field)
		p.Sends = append(p.Sends, send)
		return err
	case 16:
		p.Armed = w.instant()
	}
	return nil
}

// put keeps an entry of a map that may not be made yet.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

// readEntry takes one entry of a map by name: the name is its field 1, the value's own follow.
func readEntry[V any](into *map[string]V, data []byte, take func(*V, protowire.Number, wire) error) error {
	var name string
	var value V
	err := readFields(data, func(field protowire.Number, w wire) error {
		if field == 1 {
			name = w.text()
			return nil
		}
		return take(&value, field, w)
	})
	put(into, name, value)
	return err
}

func (t *Trait) field(field protowire.Number, w wire) error {
	switch field {
	case 2:
		t.Value = w.object()
	case 3:
		t.At = w.instant()
	}
	return nil
}

func (c *Consent) field(field protowire.Number, w wire) error {
	switch field {
	case 2:
		c.Granted = w.bool()
	case 3:
		c.At = w.instant()
	}
	return nil
}

func countField(n *uint64, field protowire.Number, w wire) error {
	if field == 2 {
		*n = w.number
	}
	return nil
}

func readWindow(into *map[uint64][]event.Instant, data []byte) error {
	id, n := protowire.ConsumeFixed64(data)
	if n < 0 {
		return protowire.ParseError(n)
	}
	var times []event.Instant
	var at int64
	err := readDistances(data[n:], func(distance int64) {
		at += distance
		times = append(times, event.Instant(at))
	})
	put(into, id, times)
	return err
}

func (m *Membership) field(field protowire.Number, w wire) error {
	switch field {
	case 2:
		m.In = w.bool()
	case 3:
		m.Since = w.instant()
	case 4:
		m.Until = w.instant()
	}
	return nil
}

func (o *Orders) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		o.Count = w.number
	case 2:
		o.Refunds = w.number
	case 3:
		o.Revenue = w.money()
	case 4:
		o.Refunded = w.money()
	case 5:
		o.First = w.instant()
	case 6:
		o.Last = w.instant()
	case 7:
		return o.readDays(w.bytes)
	}
	return nil
}

// errHalfDay is returned for a day without its amount.
var errHalfDay = errors.New("a purchase day has no amount")

func (o *Orders) readDays(data []byte) error {
	var day int64
	isDay := true
	err := readDistances(data, func(v int64) {
		if isDay {
			day += v
		} else {
			o.Days = append(o.Days, Day{Day: int32(day), Spent: event.Money(v)})
		}
		isDay = !isDay
	})
	if err == nil && !isDay {
		return errHalfDay
	}
	return err
}

// readDistances hands each of a list of signed numbers on.
func readDistances(data []byte, take func(int64)) error {
	for len(data) > 0 {
		v, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		take(protowire.DecodeZigZag(v))
	}
	return nil
}

func (s *Scores) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.CLV = w.money()
	case 2:
		s.Alive = math.Float64frombits(w.number)
	case 3:
		s.Scored = w.instant()
	case 4:
		s.Next = w.instant()
	}
	return nil
}

func (t *Wait) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		t.Campaign = w.text()
	case 2:
		t.Key = w.text()
	case 3:
		t.Due = w.instant()
	case 4:
		t.Cause = w.text()
	case 5:
		t.Position = w.number
	case 6:
		t.Properties = w.object()
	case 7:
		t.Name = w.text()
	case 8:
		t.Occurred = w.instant()
	case 9:
		t.Trace = w.text()
	}
	return nil
}

func (s *Send) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		s.Decision = w.text()
	case 2:
		s.Campaign = w.text()
	case 3:
		s.At = w.instant()
	}
	return nil
}
