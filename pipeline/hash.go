package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"iter"
)

// RecordFacts are the facts of one record as a commit holds them.
type RecordFacts struct {
	Position uint64 // of the record, in the log
	Data     []byte // the encoded Facts, as they are hashed: read them with CommitCodec.DecodeFacts
}

// errCutFacts is returned for facts that don't end where a record's end.
var errCutFacts = errors.New("the facts are cut off in the middle of a record's")

// AppendRecordFacts adds one record's encoded facts to those of a commit.
func AppendRecordFacts(facts []byte, position uint64, data []byte) []byte {
	facts = binary.AppendUvarint(facts, position)
	facts = binary.AppendUvarint(facts, uint64(len(data)))
	return append(facts, data...)
}

// Records reads a commit's facts record by record, in the order of the log, without decoding or copying them.
// An error is the last of it.
func Records(facts []byte) iter.Seq2[RecordFacts, error] {
	return func(yield func(RecordFacts, error) bool) {
		for len(facts) > 0 {
			position, n := binary.Uvarint(facts)
			size, m := binary.Uvarint(facts[max(n, 0):])
			if n <= 0 || m <= 0 || size > uint64(len(facts)-n-m) {
				yield(RecordFacts{}, errCutFacts)
				return
			}
			data := facts[n+m : n+m+int(size)]
			facts = facts[n+m+int(size):]
			if !yield(RecordFacts{Position: position, Data: data}, nil) {
				return
			}
		}
	}
}

// RunningHash is the hash over a partition's facts, record by record: how the records were cut into commits
// leaves no trace in it. It is for one goroutine.
type RunningHash struct {
	digest hash.Hash
	sum    [sha256.Size]byte // zero before the first
	at     [8]byte           // the latest record's position
}

// NewRunningHash goes on after a sum; nil: at the beginning of a partition.
func NewRunningHash(sum []byte) *RunningHash {
	h := &RunningHash{digest: sha256.New()}
	copy(h.sum[:], sum)
	return h
}

// Add continues the hash with one record's encoded facts.
func (h *RunningHash) Add(position uint64, data []byte) {
	binary.BigEndian.PutUint64(h.at[:], position)
	h.digest.Reset()
	h.digest.Write(h.sum[:])
	h.digest.Write(h.at[:])
	h.digest.Write(data)
	h.digest.Sum(h.sum[:0])
}

// Sum is the hash so far, 32 bytes of the caller's own; nil before the first record.
func (h *RunningHash) Sum() []byte {
	if h.sum == [sha256.Size]byte{} {
		return nil
	}
	return append([]byte(nil), h.sum[:]...)
}
