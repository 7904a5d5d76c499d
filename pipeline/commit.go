package pipeline

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"attune/pipeline/event"
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
	Facts []byte `cbor:"5,keyasint,omitempty"`
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
}

// WakeUp asks for a profile to be looked at again at an instant. It is a hint: what is owed by then is run
// whenever the profile's next record comes.
type WakeUp struct {
	Profile string        `cbor:"1,keyasint"`
	At      event.Instant `cbor:"2,keyasint"`
}

// DeadLetter is a record that could not be used, kept as it was, with its reason.
type DeadLetter struct {
	Reason   string `cbor:"1,keyasint" json:"reason"`
	Error    string `cbor:"2,keyasint" json:"error"`
	Payload  []byte `cbor:"3,keyasint" json:"payload"`
	Subject  string `cbor:"4,keyasint" json:"subject"` // where it was read
	Position uint64 `cbor:"5,keyasint" json:"position"`
	// Historical and SentAt are what ingest knew of a call beside its payload, for another attempt.
	Historical bool          `cbor:"6,keyasint,omitempty" json:"historical,omitempty"`
	SentAt     event.Instant `cbor:"7,keyasint,omitempty" json:"sent_at,omitzero"`
}

// ProfileState is an encoded profile.
type ProfileState struct {
	ID    string `cbor:"1,keyasint"`
	State []byte `cbor:"2,keyasint"`
}

// CommitCodec encodes commits: the same commit gives the same bytes. It is safe for concurrent use.
type CommitCodec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// NewCommitCodec prepares the codec.
func NewCommitCodec() (*CommitCodec, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
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
func (c *CommitCodec) Encode(commit *Commit) ([]byte, error) {
	data, err := c.enc.Marshal(commit)
	if err != nil {
		return nil, fmt.Errorf("encode commit at position %d: %w", commit.Position, err)
	}
	return data, nil
}

// Decode reads a commit.
func (c *CommitCodec) Decode(data []byte) (*Commit, error) {
	commit := new(Commit)
	if err := c.dec.Unmarshal(data, commit); err != nil {
		return nil, fmt.Errorf("decode commit: %w", err)
	}
	return commit, nil
}

// AppendFacts encodes what one record stated after what is in buf; nothing stated adds nothing.
func (c *CommitCodec) AppendFacts(buf []byte, f *Facts) ([]byte, error) {
	if len(f.Events) == 0 && len(f.Changes) == 0 && len(f.Decisions) == 0 {
		return buf, nil
	}
	data, err := c.enc.Marshal(f)
	if err != nil {
		return buf, fmt.Errorf("encode facts: %w", err)
	}
	return append(buf, data...), nil
}

// DecodeFacts reads the facts of one record.
func (c *CommitCodec) DecodeFacts(r RecordFacts) (Facts, error) {
	var f Facts
	if err := c.dec.Unmarshal(r.Data, &f); err != nil {
		return f, fmt.Errorf("decode facts of position %d: %w", r.Position, err)
	}
	return f, nil
}

// Facts reads the facts of a commit, all records together.
func (c *CommitCodec) Facts(commit *Commit) (Facts, error) {
	var all Facts
	for r, err := range Records(commit.Facts) {
		if err != nil {
			return all, fmt.Errorf("decode commit at position %d: %w", commit.Position, err)
		}
		f, err := c.DecodeFacts(r)
		if err != nil {
			return all, err
		}
		all.Events = append(all.Events, f.Events...)
		all.Changes = append(all.Changes, f.Changes...)
		all.Decisions = append(all.Decisions, f.Decisions...)
	}
	return all, nil
}
