package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
)

// Trail is what is kept of commits that are purged, as long as the log itself: for each record that stated
// facts its position and their checksum, so that a replay finds a difference, and the running hash at the end.
// The trails of a partition follow one another in TRAIL.<p> without a gap, or After says where one is.
type Trail struct {
	After uint64 `cbor:"1,keyasint"` // it tells of all records after this position
	To    uint64 `cbor:"2,keyasint"` // up to this one
	// Commit is the sequence of the newest commit that it tells of.
	Commit uint64 `cbor:"3,keyasint"`
	// Traces are read with All: for each record the distance from the position before, and the checksum.
	Traces []byte `cbor:"4,keyasint,omitempty"`
	// Hash is the running hash at its end.
	Hash []byte `cbor:"5,keyasint,omitempty"`
}

// Trace is what a trail keeps of one record.
type Trace struct {
	Position uint64 // of the record, in the log
	Sum      uint32 // Checksum of its facts
}

// checksumBytes is the size of a checksum in a trail.
const checksumBytes = 4

var errCutTrail = errors.New("the trail is cut off in the middle of a record's trace")

// Checksum is the CRC-32C of a record's position and encoded facts: each record's stands for itself, so that one
// that differs, or that can't be replayed any more, does not hide the others. That nothing differs is the
// running hash's to say.
func Checksum(r RecordFacts) uint32 {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], r.Position)
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(at[:], table), table, r.Data)
}

// append adds the trace of a record that follows the one at the position before.
func (t Trace) append(traces []byte, before uint64) []byte {
	traces = binary.AppendUvarint(traces, t.Position-before)
	return binary.BigEndian.AppendUint32(traces, t.Sum)
}

// All reads the traces in the order of the log. An error is the last of it.
func (t *Trail) All() iter.Seq2[Trace, error] {
	return func(yield func(Trace, error) bool) {
		position := t.After
		for rest := t.Traces; len(rest) > 0; {
			distance, n := binary.Uvarint(rest)
			if n <= 0 || len(rest) < n+checksumBytes {
				yield(Trace{}, fmt.Errorf("trail of the positions %d to %d: %w", t.After+1, t.To, errCutTrail))
				return
			}
			position += distance
			trace := Trace{Position: position, Sum: binary.BigEndian.Uint32(rest[n:])}
			rest = rest[n+checksumBytes:]
			if !yield(trace, nil) {
				return
			}
		}
	}
}

// EncodeTrail writes a trail.
func (c *CommitCodec) EncodeTrail(t *Trail) ([]byte, error) {
	data, err := c.enc.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode trail up to position %d: %w", t.To, err)
	}
	return data, nil
}

// DecodeTrail reads a trail.
func (c *CommitCodec) DecodeTrail(data []byte) (*Trail, error) {
	t := new(Trail)
	if err := c.dec.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("decode trail: %w", err)
	}
	return t, nil
}
