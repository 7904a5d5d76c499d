package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/event"
	"attune/pipeline/topology"
)

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
	// Index tells the calls of one message of RAW apart, from 0.
	Index int `cbor:"8,keyasint,omitempty" json:"index,omitempty"`
	// Entrance is where the payload came in that no mapping could use; empty: the payload is a call, or what its
	// stage reads.
	Entrance string `cbor:"9,keyasint,omitempty" json:"entrance,omitempty"`
	// Accepted is when a call was, by which another attempt corrects the sender's clock as the first did. Zero: before it
	// was kept, and the attempt's own moment is taken.
	Accepted event.Instant `cbor:"10,keyasint,omitempty" json:"accepted,omitzero"`
	// KeepUntil is when it is deleted, where it was one before and was tried again: that must not lengthen how long a
	// person's call is kept. Zero: at the stream's age.
	KeepUntil time.Time `cbor:"-" json:"keep_until,omitzero"`
	// ID is the message id of a letter of ingest's: within the broker's window for duplicates, what is parked again is the
	// same letter. Empty: each is a letter of its own.
	ID string `cbor:"-" json:"-"`
}

// letterFrame is what a letter needs beside its payload, at most: its other fields and the message's headers.
const letterFrame = 4096

// Fit cuts a payload that a broker of the given max_payload would refuse in a letter, where it is base64, and says so: nobody
// would get past such a letter.
func (d *DeadLetter) Fit(maxPayload int64) {
	if most := int(maxPayload-letterFrame) / 4 * 3; len(d.Payload) > most {
		d.Error = fmt.Sprintf("%s (of its %d bytes the first %d are kept)", d.Error, len(d.Payload), most)
		d.Payload = d.Payload[:most]
	}
}

// Message is the dead letter on its way to DEADLETTER.<stage>, known by where it was read.
func (d *DeadLetter) Message(cause *message.Message, stage string) (*message.Message, error) {
	payload, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("dead letter of %s %d: %w", d.Subject, d.Position, err)
	}
	id := "dead-" + d.Subject + "-" + strconv.FormatUint(d.Position, 10) + "-" + strconv.Itoa(d.Index)
	m := produce(cause, topology.Subject(topology.DeadLetter, stage), id, payload)
	if left := d.left(); left != "" {
		m.Metadata[jetstream.MsgTTLHeader] = left
	}
	return m, nil
}

// left is how long the broker keeps the letter, in its own words; empty: as long as any other.
func (d *DeadLetter) left() string {
	if d.KeepUntil.IsZero() {
		return ""
	}
	return max(time.Until(d.KeepUntil).Truncate(time.Second), time.Second).String()
}
