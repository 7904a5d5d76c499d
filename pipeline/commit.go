package pipeline

import (
	"crypto/sha256"
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

	// Facts are the encoded Facts, as they are hashed: read them with CommitCodec.Facts.
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
	// Hash is the running hash over the facts of this partition, from its first commit on.
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

// EncodeFacts writes the facts for a commit; none give nil.
func (c *CommitCodec) EncodeFacts(f *Facts) ([]byte, error) {
	if len(f.Events) == 0 && len(f.Changes) == 0 && len(f.Decisions) == 0 {
		return nil, nil
	}
	data, err := c.enc.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode facts: %w", err)
	}
	return data, nil
}

// Facts reads the facts of a commit.
func (c *CommitCodec) Facts(commit *Commit) (Facts, error) {
	var f Facts
	if commit.Facts == nil {
		return f, nil
	}
	if err := c.dec.Unmarshal(commit.Facts, &f); err != nil {
		return f, fmt.Errorf("decode facts of the commit at position %d: %w", commit.Position, err)
	}
	return f, nil
}

// RunningHash continues the hash over a partition's facts with those of one commit.
func RunningHash(before, facts []byte) []byte {
	if facts == nil {
		return before
	}
	h := sha256.New()
	h.Write(before)
	h.Write(facts)
	return h.Sum(nil)
}
