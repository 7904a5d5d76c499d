package normalize

import (
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"attune/pipeline/event"
)

// fingerprint is the same for calls of the same content. White space and the order of an object's fields don't count, nor
// do the moments at which it was sent and taken, which another attempt changes.
func (w *wire) fingerprint() uint64 {
	var sum uint64
	for i, v := range []event.Value{
		w.kind, w.userID, w.anonymousID, w.previousID, w.groupID, w.profileID, w.event, w.name, w.timestamp, w.originalTimestamp,
		w.properties, w.traits, w.context,
	} {
		if !v.Null() {
			sum += pair(xxhash.Sum64String(strconv.Itoa(i)), digest(v))
		}
	}
	return sum
}

// digest sums up an object's fields, whose order has no meaning, and chains an array's items, whose order has.
func digest(v event.Value) (sum uint64) {
	if o, ok := v.Object(); ok {
		o.Visit(func(name []byte, v event.Value) { sum += pair(xxhash.Sum64(name), digest(v)) })
		return mixed('{', sum)
	}
	if raw := v.Raw(); raw[0] != '[' {
		return xxhash.Sum64(raw)
	}
	v.Items(func(item event.Value) bool {
		sum = mixed('[', sum, digest(item))
		return true
	})
	return mixed(']', sum)
}

func pair(name, value uint64) uint64 { return mixed(':', name, value) }

func mixed(kind byte, words ...uint64) uint64 {
	b := append(make([]byte, 0, 24), kind)
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return xxhash.Sum64(b)
}
