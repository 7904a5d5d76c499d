// Package profile is what Attune knows of one customer: a value that the stages of the customer chain change
// one after another, each its own part, and that one commit stores. It holds no personal field.
//
// Everything in it is either exact and independent of the order of arrival (counts, sums, days, windows) or
// stamped with the instant at which it was computed (scores, memberships). Maps and slices are bounded by
// what the workspace's definitions ask for and, for names, by MaxNames.
package profile

import (
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"attune/pipeline/event"
)

// MaxNames bounds how many different event names and traits one profile keeps; further ones are not kept.
const MaxNames = 200

// Profile is one customer's state after the record at log sequence Applied.
type Profile struct {
	ID string `cbor:"1,keyasint"`
	// Now is the customer's clock: the latest `accepted` seen, or the due instant that is being run.
	Now event.Instant `cbor:"2,keyasint"`
	// Applied is the last log sequence that changed this profile.
	Applied uint64 `cbor:"3,keyasint"`
	// First and Last are the earliest and latest `occurred`.
	First event.Instant `cbor:"4,keyasint"`
	Last  event.Instant `cbor:"5,keyasint"`

	Traits   map[string]Trait   `cbor:"6,keyasint,omitempty"`
	Consents map[string]Consent `cbor:"7,keyasint,omitempty"`

	// Counts is how often each event happened, by name.
	Counts map[string]uint64 `cbor:"8,keyasint,omitempty"`
	Orders Orders            `cbor:"9,keyasint"`
	Scores Scores            `cbor:"10,keyasint"`

	// Windows holds, per leaf of a rule, the newest times at which it was true, newest first, as many as the
	// rule's threshold needs.
	Windows map[uint64][]event.Instant `cbor:"11,keyasint,omitempty"`
	// Segments holds the membership in each segment that is, was or will by itself become true.
	Segments map[string]Membership `cbor:"12,keyasint,omitempty"`
	// Definitions is the version of the definitions by which Segments was last computed.
	Definitions uint64 `cbor:"13,keyasint,omitempty"`

	// Waits are the campaigns that have been triggered and not yet decided, by due instant.
	Waits []Wait `cbor:"14,keyasint,omitempty"`
	// Sends are the recent sends that count against caps, oldest first.
	Sends []Send `cbor:"15,keyasint,omitempty"`

	// Armed is the wake-up that the broker holds for this profile; zero: none.
	Armed event.Instant `cbor:"16,keyasint,omitempty"`
}

// Trait is one fact about the customer that is not personal, as JSON text, and when it was said.
type Trait struct {
	Value event.Object  `cbor:"1,keyasint"` // any JSON value's text
	At    event.Instant `cbor:"2,keyasint"`
}

// Consent is what the customer last said about one channel. Who never said anything has no entry: unknown.
type Consent struct {
	Granted bool          `cbor:"1,keyasint"`
	At      event.Instant `cbor:"2,keyasint"` // occurred
}

// Orders is what purchases say: recency, frequency and monetary value, and the state from which a lifetime
// value is computed. All of it is exact and the same for any order of arrival.
type Orders struct {
	Count    uint64        `cbor:"1,keyasint,omitempty"`
	Refunds  uint64        `cbor:"2,keyasint,omitempty"`
	Revenue  event.Money   `cbor:"3,keyasint,omitempty"` // of completed orders, before refunds
	Refunded event.Money   `cbor:"4,keyasint,omitempty"`
	First    event.Instant `cbor:"5,keyasint,omitempty"`
	Last     event.Instant `cbor:"6,keyasint,omitempty"`
	// Days are the purchase days (UTC), ascending, with what was spent on each.
	Days []Day `cbor:"7,keyasint,omitempty"`
}

// Day is one day with purchases.
type Day struct {
	Day   int32       `cbor:"1,keyasint"` // days since 1970
	Spent event.Money `cbor:"2,keyasint"`
}

// Scores are steps: computed at Scored, valid until Next.
type Scores struct {
	CLV    event.Money   `cbor:"1,keyasint,omitempty"` // expected net value over the horizon
	Alive  float64       `cbor:"2,keyasint,omitempty"` // probability of being still a customer, 0 to 1, four decimals
	Scored event.Instant `cbor:"3,keyasint,omitempty"`
	Next   event.Instant `cbor:"4,keyasint,omitempty"` // due for the daily recomputation; zero: never
}

// Membership is where a profile stands with one segment.
type Membership struct {
	In    bool          `cbor:"1,keyasint"`
	Since event.Instant `cbor:"2,keyasint,omitempty"`
	// Until is when the answer may change by itself, without an event; zero: never.
	Until event.Instant `cbor:"3,keyasint,omitempty"`
}

// Wait is a triggered campaign whose decision is still to come.
type Wait struct {
	Campaign string        `cbor:"1,keyasint"`
	Key      string        `cbor:"2,keyasint,omitempty"`
	Due      event.Instant `cbor:"3,keyasint"`
	Cause    string        `cbor:"4,keyasint"` // id of the event that triggered it
	Position uint64        `cbor:"5,keyasint"` // and its place in the log
	// Properties of the triggering event, for audience rules and the mail's content.
	Properties event.Object  `cbor:"6,keyasint,omitempty"`
	Name       string        `cbor:"7,keyasint,omitempty"` // the triggering event's name
	Occurred   event.Instant `cbor:"8,keyasint,omitempty"`
}

// Send is one mail that counts against caps, from its decision until it is too old to count or its delivery
// is known to have failed.
type Send struct {
	Decision string        `cbor:"1,keyasint"`
	Campaign string        `cbor:"2,keyasint"`
	At       event.Instant `cbor:"3,keyasint"`
}

// New is a customer of whom nothing is known yet.
func New(id string) *Profile { return &Profile{ID: id} }

// In tells whether the profile is in the segment.
func (p *Profile) In(segment string) bool { return p.Segments[segment].In }

// Memberships are the segments that the profile is in, sorted; never nil.
func (p *Profile) Memberships() []string {
	in := make([]string, 0, len(p.Segments))
	for id, m := range p.Segments {
		if m.In {
			in = append(in, id)
		}
	}
	slices.Sort(in)
	return in
}

// Codec encodes profiles: the same profile gives the same bytes, everywhere and always. It is safe for
// concurrent use.
type Codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// NewCodec prepares the codec.
func NewCodec() (*Codec, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("profile codec: %w", err)
	}
	dec, err := cbor.DecOptions{MaxMapPairs: 1 << 17, MaxArrayElements: 1 << 20}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("profile codec: %w", err)
	}
	return &Codec{enc: enc, dec: dec}, nil
}

// Encode writes the profile.
func (c *Codec) Encode(p *Profile) ([]byte, error) {
	data, err := c.enc.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode profile %q: %w", p.ID, err)
	}
	return data, nil
}

// Decode reads a profile that any earlier version wrote.
func (c *Codec) Decode(data []byte) (*Profile, error) {
	p := new(Profile)
	if err := c.dec.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("decode profile: %w", err)
	}
	return p, nil
}
