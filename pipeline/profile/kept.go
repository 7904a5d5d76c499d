package profile

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

// Kept is what a leaf of a rule remembers where times alone are not enough: amounts, values, a running sum.
type Kept struct {
	// Entries are single events, newest first, as many as the rule needs.
	Entries []Entry
	// Count and Sum are of the events that are in no entry any more.
	Count uint64
	Sum   Sum
}

// Entry is what one event left.
type Entry struct {
	At     event.Instant
	Number int64        // an amount in ten-thousandths, or a value's hash
	Value  event.Object // any JSON value's text
}

// Sum is a signed number of 128 bits in two's complement: no sum of amounts overflows it.
type Sum struct {
	High int64
	Low  uint64
}

// keptFormat is the version of the encoded form of Kept; a reader that is older than the writer must not guess.
const keptFormat = 1

func appendKept(b []byte, id uint64, k *Kept) []byte {
	b = protowire.AppendFixed64(b, id)
	b = protowire.AppendVarint(b, keptFormat)
	b = appendUint(b, 1, k.Count)
	b = appendInt(b, 2, k.Sum.High)
	b = appendUint(b, 3, k.Sum.Low)
	var before event.Instant
	for i := range k.Entries {
		e := &k.Entries[i]
		size := protowire.SizeVarint(protowire.EncodeZigZag(int64(e.At-before))) + protowire.SizeVarint(protowire.EncodeZigZag(e.Number)) + len(e.Value)
		b = protowire.AppendTag(b, 4, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(int64(e.At-before)))
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(e.Number))
		b = append(b, e.Value...)
		before = e.At
	}
	return b
}

func readKept(into *map[uint64]*Kept, r reader) error {
	id, n := protowire.ConsumeFixed64(r.data)
	if n < 0 {
		return protowire.ParseError(n)
	}
	r = r.skip(n)
	format, n := protowire.ConsumeVarint(r.data)
	if n < 0 {
		return protowire.ParseError(n)
	}
	if format != keptFormat {
		return fmt.Errorf("kept state of format %d, want %d: a newer version of attune wrote it", format, keptFormat)
	}
	k := new(Kept)
	put(into, id, k)
	return readFields(r.skip(n), k.field)
}

func (k *Kept) field(field protowire.Number, w wire) error {
	switch field {
	case 1:
		k.Count = w.number
	case 2:
		k.Sum.High = protowire.DecodeZigZag(w.number)
	case 3:
		k.Sum.Low = w.number
	case 4:
		at, n := protowire.ConsumeVarint(w.part.data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		number, m := protowire.ConsumeVarint(w.part.data[n:])
		if m < 0 {
			return protowire.ParseError(m)
		}
		e := Entry{At: event.Instant(protowire.DecodeZigZag(at)), Number: protowire.DecodeZigZag(number)}
		if last := len(k.Entries) - 1; last >= 0 {
			e.At += k.Entries[last].At
		}
		e.Value = wire{part: w.part.skip(n + m)}.object()
		k.Entries = append(k.Entries, e)
	}
	return nil
}

// mergeKept has the events of both, newest first, those of one instant in the order of the rules' stage, which drops what no
// rule needs.
func mergeKept(w, l map[uint64]*Kept) map[uint64]*Kept {
	if len(l) == 0 {
		return w
	}
	sum := make(map[uint64]*Kept, len(w)+len(l))
	maps.Copy(sum, w)
	for id, k := range l {
		both := &Kept{Entries: slices.Clone(k.Entries), Count: k.Count, Sum: k.Sum}
		if known := sum[id]; known != nil {
			both.Entries = slices.Concat(known.Entries, both.Entries)
			slices.SortFunc(both.Entries, func(a, b Entry) int {
				return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Number, a.Number), bytes.Compare(b.Value, a.Value))
			})
			both.Count += known.Count
			low, carry := bits.Add64(both.Sum.Low, known.Sum.Low, 0)
			both.Sum = Sum{High: both.Sum.High + known.Sum.High + int64(carry), Low: low}
		}
		sum[id] = both
	}
	return sum
}

// EarliestUntil is the earliest instant at which a membership may change by itself; zero: none will.
func (p *Profile) EarliestUntil() event.Instant {
	var earliest event.Instant
	for _, m := range p.Segments {
		if m.Until != 0 && (earliest == 0 || m.Until < earliest) {
			earliest = m.Until
		}
	}
	return earliest
}
