package profile

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

// reader is what is still to be read. Its bytes are a part of those that all is the text of, up to the end of their
// capacity: so their capacity says where in it they begin.
type reader struct {
	data []byte
	all  string
}

// text is all that is still to be read.
func (r reader) text() string {
	from := len(r.all) - cap(r.data)
	return r.all[from : from+len(r.data)]
}

// skip leaves out the first n bytes.
func (r reader) skip(n int) reader { return reader{r.data[n:], r.all} }

// part reads bytes that begin with their length.
func (r reader) part() (inner, rest reader, err error) {
	v, n := part(r.data)
	if n < 0 {
		return inner, rest, protowire.ParseError(n)
	}
	return reader{v, r.all}, r.skip(n), nil
}

// tag, varint and part are protowire's, short for the one byte that nearly all take.
func tag(data []byte) (protowire.Number, protowire.Type, int) {
	if len(data) > 0 && data[0] >= 8 && data[0] < 0x80 {
		return protowire.Number(data[0] >> 3), protowire.Type(data[0] & 7), 1
	}
	return protowire.ConsumeTag(data)
}

func varint(data []byte) (uint64, int) {
	if len(data) > 0 && data[0] < 0x80 {
		return uint64(data[0]), 1
	}
	return protowire.ConsumeVarint(data)
}

func part(data []byte) ([]byte, int) {
	if len(data) > 0 && data[0] < 0x80 && int(data[0]) < len(data) {
		n := 1 + int(data[0])
		return data[1:n], n
	}
	return protowire.ConsumeBytes(data)
}

// signed reads one signed number.
func (r reader) signed() (v int64, rest reader, err error) {
	u, n := varint(r.data)
	if n < 0 {
		return 0, rest, protowire.ParseError(n)
	}
	return protowire.DecodeZigZag(u), r.skip(n), nil
}

// wire is one field's value: a number, or bytes that are a part of what is read.
type wire struct {
	number uint64
	part   reader
}

func (w wire) instant() event.Instant { return event.Instant(protowire.DecodeZigZag(w.number)) }
func (w wire) money() event.Money     { return event.Money(protowire.DecodeZigZag(w.number)) }
func (w wire) bool() bool             { return protowire.DecodeBool(w.number) }
func (w wire) text() string           { return w.part.text() }
func (w wire) decayed() Decayed       { return Decayed(math.Float64frombits(w.number)) }

func (w wire) object() event.Object {
	if len(w.part.data) == 0 {
		return nil
	}
	return append(event.Object(nil), w.part.data...)
}

// readFields hands every field to take, in the order written. What take doesn't know it ignores.
func readFields(r reader, take func(field protowire.Number, w wire) error) error {
	for len(r.data) > 0 {
		field, kind, n := tag(r.data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		r.data = r.data[n:]
		var w wire
		switch kind {
		case protowire.VarintType:
			w.number, n = varint(r.data)
		case protowire.Fixed64Type:
			w.number, n = protowire.ConsumeFixed64(r.data)
		case protowire.BytesType:
			w.part.all = r.all
			w.part.data, n = part(r.data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, r.data)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", field, protowire.ParseError(n))
		}
		r.data = r.data[n:]
		if err := take(field, w); err != nil {
			return fmt.Errorf("field %d: %w", field, err)
		}
	}
	return nil
}
