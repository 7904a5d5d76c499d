package profile

import (
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
)

// A profile is stored in protobuf's wire format, field by field and by hand: a worker encodes one for most events, and
// with reflection over CBOR that was a quarter of its own time. Zero is never written; a reader passes over fields that
// it doesn't know, and finds none where an older writer knew none. A field's number is never given to another.

// Encode writes the profile: the same profile gives the same bytes, everywhere and always.
func Encode(p *Profile) []byte { return Append(make([]byte, 0, 1024), p) }

// Append writes the profile after what is in b.
func Append(b []byte, p *Profile) []byte {
	b = appendText(b, 1, p.ID)
	b = appendInt(b, 2, p.Now)
	b = appendUint(b, 3, p.Applied)
	b = appendInt(b, 4, p.First)
	b = appendInt(b, 5, p.Last)
	var inner [256]byte // an entry, before its length is known; a larger one goes to the heap
	var names [32]string
	for _, name := range sortedKeys(names[:0], p.Traits) {
		t := p.Traits[name]
		b = appendEntry(b, 6, appendInt(appendBytes(appendText(inner[:0], 1, name), 2, t.Value), 3, t.At))
	}
	for _, name := range sortedKeys(names[:0], p.Consents) {
		c := p.Consents[name]
		b = appendEntry(b, 7, appendInt(appendBool(appendText(inner[:0], 1, name), 2, c.Granted), 3, c.At))
	}
	for i := range p.Activities {
		b = appendEntry(b, 8, appendActivity(inner[:0], &p.Activities[i]))
	}
	b = appendBytes(b, 9, appendOrders(inner[:0], &p.Orders))
	b = appendBytes(b, 10, appendScores(inner[:0], &p.Scores))
	var ids [32]uint64
	for _, id := range sortedKeys(ids[:0], p.Windows) {
		b = appendEntry(b, 11, appendTimes(protowire.AppendFixed64(inner[:0], id), p.Windows[id]))
	}
	for _, name := range sortedKeys(names[:0], p.Segments) {
		b = appendEntry(b, 12, appendMembership(inner[:0], name, p.Segments[name]))
	}
	b = appendUint(b, 13, p.Definitions)
	for i := range p.Waits {
		b = appendEntry(b, 14, appendWait(inner[:0], &p.Waits[i]))
	}
	for i := range p.Sends {
		s := &p.Sends[i]
		b = appendEntry(b, 15, appendInt(appendText(appendText(inner[:0], 1, s.Decision), 2, s.Campaign), 3, s.At))
	}
	b = appendInt(b, 16, p.Armed)
	for d := range p.Leanings {
		if l := &p.Leanings[d]; len(l.Weights) > 0 || l.Rest != 0 {
			b = appendEntry(b, 17, appendLeaning(inner[:0], Dimension(d), l))
		}
	}
	b = appendBytes(b, 18, appendViewed(inner[:0], p.Viewed))
	for i := range p.Cart {
		b = appendEntry(b, 19, appendChange(inner[:0], &p.Cart[i]))
	}
	b = appendBytes(b, 20, appendInt(appendText(inner[:0], 1, p.Zone.Name), 2, p.Zone.At))
	b = appendBytes(b, 21, appendStanding(inner[:0], &p.Standing))
	for _, id := range sortedKeys(ids[:0], p.Kept) {
		b = appendEntry(b, 40, appendKept(inner[:0], id, p.Kept[id]))
	}
	b = appendInt(b, 41, p.SegmentsDue)
	if p.Next != nil {
		b = appendEntry(b, 42, appendNext(inner[:0], p.Next))
	}
	b = appendText(b, 50, p.Into)
	for i := range p.Awaits {
		b = appendEntry(b, 51, appendAwait(inner[:0], &p.Awaits[i]))
	}
	for i := range p.Merged {
		b = appendEntry(b, 52, appendMerged(inner[:0], &p.Merged[i]))
	}
	b = appendUint(b, 53, p.Left)
	b = appendBytes(b, 60, appendPropensities(inner[:0], &p.Propensities))
	return appendBytes(b, 61, appendViewed(inner[:0], p.Bought))
}

func appendMembership(b []byte, segment string, m Membership) []byte {
	return appendInt(appendInt(appendBool(appendText(b, 1, segment), 2, m.In), 3, m.Since), 4, m.Until)
}

// appendActivity writes the last time by its distance from the first, which is short.
func appendActivity(b []byte, a *Activity) []byte {
	b = appendUint(appendText(b, 1, a.Name), 2, a.Count)
	b = appendInt(b, 3, a.Sum)
	b = appendInt(b, 4, a.First)
	return appendInt(b, 5, a.Last-a.First)
}

// appendLeaning writes the weights one after another: the name's length, the name and the eight bytes of the sum.
func appendLeaning(b []byte, d Dimension, l *Leaning) []byte {
	b = appendUint(b, 1, uint64(d))
	b = appendFloat(b, 2, float64(l.Rest))
	size := 0
	for i := range l.Weights {
		size += protowire.SizeBytes(len(l.Weights[i].Name)) + 8
	}
	if size == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.BytesType), uint64(size))
	for i := range l.Weights {
		b = protowire.AppendString(b, l.Weights[i].Name)
		b = protowire.AppendFixed64(b, math.Float64bits(float64(l.Weights[i].Sum)))
	}
	return b
}

// appendViewed writes the products one after another, each with the distance of its time from the one before.
func appendViewed(b []byte, viewed []View) []byte {
	var before event.Instant
	for _, v := range viewed {
		b = protowire.AppendString(b, v.Product)
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(int64(v.At)-int64(before)))
		before = v.At
	}
	return b
}

func appendChange(b []byte, c *CartChange) []byte {
	b = appendInt(b, 1, c.At)
	b = appendText(b, 2, c.Product)
	b = appendInt(b, 3, c.Quantity)
	return appendInt(b, 4, c.Price)
}

func appendStanding(b []byte, s *Standing) []byte {
	b = appendUint(b, 1, uint64(s.Lifecycle))
	b = appendText(b, 2, s.Tier)
	return appendInt(b, 3, s.Until)
}

func appendOrders(b []byte, o *Orders) []byte {
	b = appendUint(b, 1, o.Count)
	b = appendUint(b, 2, o.Refunds)
	b = appendInt(b, 3, o.Revenue)
	b = appendInt(b, 4, o.Refunded)
	b = appendInt(b, 5, o.First)
	b = appendInt(b, 6, o.Last)
	var inner [256]byte
	b = appendBytes(b, 7, appendDays(inner[:0], o.Days))
	for i := range o.Currencies {
		b = appendEntry(b, 8, appendCurrency(inner[:0], &o.Currencies[i]))
	}
	return appendBytes(b, 9, appendDays(inner[:0], o.RefundDays))
}

// appendDays writes each day's distance from the one before, which is short since they ascend, and its amount.
func appendDays(b []byte, days []Day) []byte {
	before := int32(0)
	for _, d := range days {
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(int64(d.Day)-int64(before)))
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(int64(d.Spent)))
		before = d.Day
	}
	return b
}

func appendCurrency(b []byte, c *Currency) []byte {
	b = appendText(b, 1, c.Code)
	b = appendUint(b, 2, c.Orders)
	b = appendUint(b, 3, c.Refunds)
	b = appendInt(b, 4, c.Revenue)
	return appendInt(b, 5, c.Refunded)
}

func appendScores(b []byte, s *Scores) []byte {
	b = appendInt(b, 1, s.CLV)
	b = appendFloat(b, 2, s.Alive)
	b = appendInt(b, 3, s.Scored)
	b = appendInt(b, 4, s.Next)
	return appendFloat(b, 5, s.Confidence)
}

func appendPropensities(b []byte, s *Propensities) []byte {
	b = appendInt(b, 1, s.At)
	b = appendInt(b, 2, s.Next)
	var inner [128]byte
	for i := range s.Scores {
		b = appendEntry(b, 3, appendPropensity(inner[:0], &s.Scores[i]))
	}
	return b
}

func appendPropensity(b []byte, s *Propensity) []byte {
	return appendFloat(appendFloat(appendText(b, 1, s.Name), 2, s.Value), 3, s.Confidence)
}

func appendWait(b []byte, w *Wait) []byte {
	b = appendText(b, 1, w.Campaign)
	b = appendText(b, 2, w.Key)
	b = appendInt(b, 3, w.Due)
	b = appendText(b, 4, w.Cause)
	b = appendUint(b, 5, w.Position)
	b = appendBytes(b, 6, w.Properties)
	b = appendText(b, 7, w.Name)
	b = appendInt(b, 8, w.Occurred)
	return appendInt(appendBool(appendText(b, 9, w.Trace), 50, w.Held), 51, w.Since)
}

// appendTimes writes a window's times: the first whole, the others by their distance.
func appendTimes(b []byte, times []event.Instant) []byte {
	var before event.Instant
	for _, at := range times {
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(int64(at)-int64(before)))
		before = at
	}
	return b
}

// sortedKeys appends a map's keys in order, so that its entries are always written alike.
func sortedKeys[K cmp.Ordered, V any](keys []K, m map[K]V) []K {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func appendInt[I ~int64](b []byte, field protowire.Number, v I) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), protowire.EncodeZigZag(int64(v)))
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendBool(b []byte, field protowire.Number, v bool) []byte {
	return appendUint(b, field, protowire.EncodeBool(v))
}

func appendFloat(b []byte, field protowire.Number, v float64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), math.Float64bits(v))
}

func appendText(b []byte, field protowire.Number, v string) []byte {
	if v == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return appendEntry(b, field, v)
}

// appendEntry writes one of many, also where all of it is zero.
func appendEntry(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}
