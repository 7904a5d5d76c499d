package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Commit is everything that one batch of a partition's records led to, in one message of COMMITS.<p>: it is
// stored or it is not, so outputs, state and position cannot part. The compare-and-set on its subject is the
// fence against a former owner.
type Commit struct {
	Epoch    uint64 `cbor:"1,keyasint"` // rises with each claim of the partition
	Position uint64 `cbor:"2,keyasint"` // the log sequence up to which records are applied
	// Sources is the highest ordinal applied of each source: what is lower is a repeat.
	Sources map[string]uint64 `cbor:"3,keyasint,omitempty"`
	// Controls are the versions in force after this batch, by kind.
	Controls map[string]event.ControlRecord `cbor:"4,keyasint,omitempty"`

	// Facts are the facts record by record: read them with Records, or all at once with CommitCodec.Facts.
	Facts Span `cbor:"5,keyasint,omitempty"`
	// What leaves the partition.
	Deliveries  []Delivery     `cbor:"6,keyasint,omitempty"`
	Wakes       []WakeUp       `cbor:"7,keyasint,omitempty"`
	DeadLetters []DeadLetter   `cbor:"8,keyasint,omitempty"`
	Profiles    []ProfileState `cbor:"9,keyasint,omitempty"`

	// Mark is the sequence of the newest commit up to which, it included, every profile is folded into the bucket.
	Mark uint64 `cbor:"10,keyasint,omitempty"`
	// Folded is the bucket's revision at that moment: an older replica's answer is refused.
	Folded uint64 `cbor:"11,keyasint,omitempty"`
	// Hash is the running hash over the facts of this partition, from its first record on.
	Hash []byte `cbor:"12,keyasint,omitempty"`
	// After is the position of the commit before this one.
	After uint64 `cbor:"13,keyasint,omitempty"`
	// Leaving are records for other logs, in order: encoded events without a source.
	Leaving [][]byte `cbor:"14,keyasint,omitempty"`
}

// WakeUp asks for a profile to be looked at again at an instant. It is a hint: what is owed by then is run
// whenever the profile's next record comes.
type WakeUp struct {
	Profile string        `cbor:"1,keyasint"`
	At      event.Instant `cbor:"2,keyasint"`
}

// ProfileState is an encoded profile.
type ProfileState struct {
	ID    string `cbor:"1,keyasint"`
	State Span   `cbor:"2,keyasint"`
}

// Span is a part of the commit that it was decoded from, which must not change any more and stays in memory as long as the
// part does: each commit is read several times, and most of it is states and facts. Only CommitCodec.Decode may read one:
// a decoder of a stream uses its buffer again.
type Span []byte

// UnmarshalCBOR takes a byte string without copying it.
func (s *Span) UnmarshalCBOR(data []byte) error {
	const null = 0xf6
	if len(data) == 1 && data[0] == null {
		*s = nil
		return nil
	}
	if head := spanHead(data); head > 0 {
		*s = data[head:len(data):len(data)]
		return nil
	}
	return errNoSpan
}

var errNoSpan = errors.New("want a byte string of known length")

// spanHead is the length of what is before a byte string's content, which is the rest of the data; 0: it is something else.
func spanHead(data []byte) int {
	const byteString, oneByte, indefinite = 2, 24, 31
	kind, size := data[0]>>5, data[0]&0x1f
	switch {
	case kind != byteString || size == indefinite:
		return 0
	case size < oneByte:
		return 1
	}
	return 1 + 1<<(size-oneByte)
}

// CommitCodec encodes commits: the same commit gives the same bytes. It is safe for concurrent use.
type CommitCodec struct {
	enc cbor.UserBufferEncMode
	dec cbor.DecMode
}

// NewCommitCodec prepares the codec.
func NewCommitCodec() (*CommitCodec, error) {
	enc, err := cbor.CoreDetEncOptions().UserBufferEncMode()
	if err != nil {
		return nil, fmt.Errorf("commit codec: %w", err)
	}
	dec, err := cbor.DecOptions{MaxMapPairs: 1 << 17, MaxArrayElements: 1 << 20}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("commit codec: %w", err)
	}
	return &CommitCodec{enc: enc, dec: dec}, nil
}

// Encode writes the commit.
func (c *CommitCodec) Encode(commit *Commit) ([]byte, error) { return c.Append(nil, commit) }

// Append writes the commit after what is in data.
func (c *CommitCodec) Append(data []byte, commit *Commit) ([]byte, error) {
	b := bytes.NewBuffer(data)
	if err := c.enc.MarshalToBuffer(commit, b); err != nil {
		return nil, fmt.Errorf("encode commit at position %d: %w", commit.Position, err)
	}
	return b.Bytes(), nil
}

// Decode reads a commit, whose spans are parts of the data.
func (c *CommitCodec) Decode(data []byte) (*Commit, error) {
	commit := new(Commit)
	if err := c.dec.Unmarshal(data, commit); err != nil {
		return nil, fmt.Errorf("decode commit: %w", err)
	}
	return commit, nil
}

// The fields of one record's facts, in protobuf's wire format. The event is the log's own record, byte for byte:
// most facts are one event, and to encode it anew cost more than to store it. Changes and decisions are rare.
const (
	factRecord    protowire.Number = 1
	factCLV       protowire.Number = 2
	factAlive     protowire.Number = 3
	factSegment   protowire.Number = 4 // one each
	factChanges   protowire.Number = 5 // CBOR
	factDecisions protowire.Number = 6 // CBOR
	factMerges    protowire.Number = 7 // CBOR
	// factPropensity is one each: the name, after the eight bytes of the value and those of the confidence.
	factPropensity protowire.Number = 8
	factConfidence protowire.Number = 9 // of the CLV, in ten-thousandths
)

// AppendFacts encodes what one record of the log stated after what is in buf; nothing stated adds nothing.
func (c *CommitCodec) AppendFacts(buf, record []byte, f *Facts) ([]byte, error) {
	for i := range f.Events { // one at most
		e := &f.Events[i]
		buf = protowire.AppendBytes(protowire.AppendTag(buf, factRecord, protowire.BytesType), record)
		buf = protowire.AppendVarint(protowire.AppendTag(buf, factCLV, protowire.VarintType), protowire.EncodeZigZag(int64(e.CLV)))
		buf = protowire.AppendFixed64(protowire.AppendTag(buf, factAlive, protowire.Fixed64Type), math.Float64bits(e.Alive))
		if e.CLVConfidence > 0 {
			buf = protowire.AppendVarint(protowire.AppendTag(buf, factConfidence, protowire.VarintType), uint64(math.Round(e.CLVConfidence*1e4)))
		}
		for _, segment := range e.Segments {
			buf = protowire.AppendString(protowire.AppendTag(buf, factSegment, protowire.BytesType), segment)
		}
		for _, s := range e.Propensities {
			buf = protowire.AppendVarint(protowire.AppendTag(buf, factPropensity, protowire.BytesType), uint64(16+len(s.Name)))
			buf = protowire.AppendFixed64(protowire.AppendFixed64(buf, math.Float64bits(s.Value)), math.Float64bits(s.Confidence))
			buf = append(buf, s.Name...)
		}
	}
	for _, part := range []struct {
		field protowire.Number
		some  bool
		all   any
	}{{factChanges, len(f.Changes) > 0, f.Changes}, {factDecisions, len(f.Decisions) > 0, f.Decisions}, {factMerges, len(f.Merges) > 0, f.Merges}} {
		if !part.some {
			continue
		}
		data, err := c.enc.Marshal(part.all)
		if err != nil {
			return buf, fmt.Errorf("encode facts: %w", err)
		}
		buf = protowire.AppendBytes(protowire.AppendTag(buf, part.field, protowire.BytesType), data)
	}
	return buf, nil
}

// DecodeFacts reads the facts of one record. An event's objects are parts of its data, which must not change any more.
func (c *CommitCodec) DecodeFacts(r RecordFacts) (Facts, error) {
	var f Facts
	err := c.addFacts(&f, r)
	return f, err
}

// addFacts adds the facts of one record to those of the ones before it.
func (c *CommitCodec) addFacts(all *Facts, r RecordFacts) error {
	all.Events = append(all.Events, Enriched{Position: r.Position, Segments: []string{}})
	e := &all.Events[len(all.Events)-1]
	happened := false
	for data := r.Data; len(data) > 0; {
		field, kind, n := protowire.ConsumeTag(data)
		size := -1
		if n > 0 {
			size = protowire.ConsumeFieldValue(field, kind, data[n:])
		}
		if size < 0 {
			return fmt.Errorf("decode facts of position %d: %w", r.Position, errCutFacts)
		}
		value := data[n : n+size]
		data = data[n+size:]
		var err error
		switch field {
		case factRecord:
			record, _ := protowire.ConsumeBytes(value)
			happened = true
			err = e.Event.Decode(record)
		case factCLV:
			clv, _ := protowire.ConsumeVarint(value)
			e.CLV = event.Money(protowire.DecodeZigZag(clv))
		case factAlive:
			alive, _ := protowire.ConsumeFixed64(value)
			e.Alive = math.Float64frombits(alive)
		case factConfidence:
			confidence, _ := protowire.ConsumeVarint(value)
			e.CLVConfidence = float64(confidence) / 1e4
		case factSegment:
			segment, _ := protowire.ConsumeString(value)
			e.Segments = append(e.Segments, segment)
		case factPropensity:
			score, _ := protowire.ConsumeBytes(value)
			if len(score) < 16 {
				return fmt.Errorf("decode facts of position %d: %w", r.Position, errCutFacts)
			}
			probability, _ := protowire.ConsumeFixed64(score)
			confidence, _ := protowire.ConsumeFixed64(score[8:])
			e.Propensities = append(e.Propensities, profile.Propensity{
				Name: string(score[16:]), Value: math.Float64frombits(probability), Confidence: math.Float64frombits(confidence),
			})
		case factChanges:
			err = add(c, &all.Changes, value)
		case factDecisions:
			err = add(c, &all.Decisions, value)
		case factMerges:
			err = add(c, &all.Merges, value)
		}
		if err != nil {
			return fmt.Errorf("decode facts of position %d: %w", r.Position, err)
		}
	}
	if !happened {
		all.Events = all.Events[:len(all.Events)-1]
	}
	return nil
}

// add decodes a list that CBOR encoded after what is there.
func add[V any](c *CommitCodec, all *[]V, value []byte) error {
	encoded, _ := protowire.ConsumeBytes(value)
	var some []V
	err := c.dec.Unmarshal(encoded, &some)
	*all = append(*all, some...)
	return err
}

// Facts reads the facts of a commit, all records together.
func (c *CommitCodec) Facts(commit *Commit) (Facts, error) {
	records := 0
	for _, err := range Records(commit.Facts) {
		if err == nil {
			records++
		}
	}
	all := Facts{Events: make([]Enriched, 0, records)} // most records are events
	for r, err := range Records(commit.Facts) {
		if err != nil {
			return all, fmt.Errorf("decode commit at position %d: %w", commit.Position, err)
		}
		if err := c.addFacts(&all, r); err != nil {
			return all, err
		}
	}
	return all, nil
}
