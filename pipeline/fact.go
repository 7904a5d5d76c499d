package pipeline

import (
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// Facts are what the customer chain states about one record, or about several. They lie in the commits; each
// carries the log position of the record that led to it, and the order within a kind is the order of the log.
type Facts struct {
	Events    []Enriched      `json:"events,omitempty"`
	Changes   []SegmentChange `json:"changes,omitempty"`
	Decisions []Decision      `json:"decisions,omitempty"`
	Merges    []Merge         `json:"merges,omitempty"`
}

// Enriched is an event with what was known of the customer right after it.
type Enriched struct {
	Event    event.Event `json:"event"`
	Position uint64      `json:"position"`
	CLV      event.Money `json:"clv,omitempty"`
	// CLVConfidence is how far CLV is known, 0 to 1, four decimals.
	CLVConfidence float64  `json:"clv_confidence,omitempty"`
	Alive         float64  `json:"alive,omitempty"`
	Segments      []string `json:"segments,omitempty"` // sorted
	// Propensities are what the models in force foretold, by name.
	Propensities []profile.Propensity `json:"propensities,omitempty"`
}

// SegmentChange is one flip of a membership.
type SegmentChange struct {
	Segment  string        `cbor:"1,keyasint" json:"segment"`
	Profile  string        `cbor:"2,keyasint" json:"profile"`
	At       event.Instant `cbor:"3,keyasint" json:"at"`
	Entered  bool          `cbor:"4,keyasint" json:"entered"`
	Reason   string        `cbor:"5,keyasint" json:"reason"` // one of the Because constants
	Position uint64        `cbor:"6,keyasint" json:"position"`
	Version  uint64        `cbor:"7,keyasint" json:"version"` // of the definitions
}

// Why a membership flipped.
const (
	BecauseEvent      = "event"      // something happened
	BecauseTime       = "time"       // a window closed, or a score was recomputed
	BecauseHistorical = "historical" // an import or backfill said so
	// BecauseDefinitions: the segment was defined, changed or removed since the customer's last record. Nothing
	// fires on it: a new segment must not mail everyone who is in it already.
	BecauseDefinitions = "definitions"
)

// Outcome is how a campaign's decision ended.
type Outcome string

// A decision is fired, held (it will be judged again), or suppressed with its reason.
const (
	Fired      Outcome = "fired"
	Held       Outcome = "held"
	Suppressed Outcome = "suppressed"
)

// Decision is what a campaign decided about one customer, once. Its ID is derived from profile, campaign, key
// and the log position of its cause, so the same log gives the same ids.
type Decision struct {
	ID          string        `cbor:"1,keyasint" json:"id"`
	At          event.Instant `cbor:"2,keyasint" json:"at"`
	Profile     string        `cbor:"3,keyasint" json:"profile"`
	Campaign    string        `cbor:"4,keyasint" json:"campaign"`
	Key         string        `cbor:"5,keyasint,omitempty" json:"key,omitempty"`
	Outcome     Outcome       `cbor:"6,keyasint" json:"outcome"`
	Reason      string        `cbor:"7,keyasint,omitempty" json:"reason,omitempty"` // why not: snake_case, one of the stage's own
	Detail      string        `cbor:"8,keyasint,omitempty" json:"detail,omitempty"` // for people; holds no personal field
	Cause       string        `cbor:"9,keyasint,omitempty" json:"cause,omitempty"`  // id of the event that triggered it
	Position    uint64        `cbor:"10,keyasint" json:"position"`                  // of the record at which it was decided
	Version     uint64        `cbor:"11,keyasint" json:"version"`                   // of the definitions
	CLV         event.Money   `cbor:"12,keyasint,omitempty" json:"clv,omitempty"`
	Destination string        `cbor:"13,keyasint,omitempty" json:"destination,omitempty"`
	Template    string        `cbor:"14,keyasint,omitempty" json:"template,omitempty"`
}

// Delivery is the order to send one mail. It carries everything that rendering needs by value; personal
// fields are filled from the vault at the last moment.
type Delivery struct {
	Decision    string        `cbor:"1,keyasint" json:"decision"`
	Profile     string        `cbor:"2,keyasint" json:"profile"`
	Campaign    string        `cbor:"3,keyasint" json:"campaign"`
	Destination string        `cbor:"4,keyasint" json:"destination"`
	Definitions string        `cbor:"5,keyasint" json:"definitions"` // hash of the object that holds the template
	Template    string        `cbor:"6,keyasint" json:"template"`
	From        string        `cbor:"7,keyasint" json:"from"`
	Subject     string        `cbor:"8,keyasint" json:"subject"` // a template as well
	Data        event.Object  `cbor:"9,keyasint" json:"data"`    // {"event": {...}, "customer": {...}, "campaign": "..."}
	Decided     event.Instant `cbor:"10,keyasint" json:"decided"`
	NotAfter    event.Instant `cbor:"11,keyasint" json:"not_after"`
	Trace       string        `cbor:"12,keyasint,omitempty" json:"trace,omitempty"` // of the call that led to it
}

// Size is about how many bytes the delivery takes in a commit.
func (d *Delivery) Size() int { return len(d.Data) + len(d.From) + len(d.Subject) + 512 }
