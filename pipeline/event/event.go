package event

// Type says what kind of record an event is.
type Type string

// The first six are what producers send, in Segment's words; the rest are Attune's own.
const (
	Track    Type = "track"
	Identify Type = "identify"
	Page     Type = "page"
	Screen   Type = "screen"
	Group    Type = "group"
	Alias    Type = "alias"

	Delivery Type = "delivery" // the end of a delivery: accepted, dropped, bounced or unknown
	Wake     Type = "wake"     // a due wake-up: runs what the profile owes, states nothing of its own
	Control  Type = "control"  // a control record: changes what decides, belongs to no profile
	Merge    Type = "merge"    // the profile goes on in another one: it hands over all that it is
	Transfer Type = "transfer" // what a merged profile was, on its way to the one it goes on in
	Prepare  Type = "prepare"  // has the customer judged by staged definitions; states nothing of its own
)

// Names from Segment's ecommerce and email specs that Attune gives a meaning of its own.
const (
	OrderCompleted = "Order Completed"
	OrderRefunded  = "Order Refunded"
	Subscribed     = "Subscribed"   // grants consent to the channel in properties.channel, by default email
	Unsubscribed   = "Unsubscribed" // withdraws it
)

// Event is one record of a partition's log: what happened to one customer, already normalized. It holds no
// personal field: those are in the vault, and keyed hashes stand in their place.
//
// Its third time, after Occurred and Accepted, is its position in the log, which the log itself gives.
type Event struct {
	// ID is the producer's message id, the key by which repeats are known.
	ID   string `json:"id"`
	Type Type   `json:"type"`
	// Name is the event's name of a track, the page's or screen's name, the group's id.
	Name    string `json:"name,omitempty"`
	Profile string `json:"profile,omitempty"`
	// User is the producer's user id, or its keyed hash where the id is itself personal (an address).
	User string `json:"user,omitempty"`
	// Occurred is what the sender says, skew corrected: it decides only which window an event falls in.
	Occurred Instant `json:"occurred"`
	// Accepted was stamped once, at ingest: the clock of everything after it.
	Accepted Instant `json:"accepted"`
	// Historical marks an import or backfill: it changes state and fires nothing.
	Historical bool   `json:"historical,omitempty"`
	Properties Object `json:"properties,omitempty"`
	Traits     Object `json:"traits,omitempty"`
	Context    Object `json:"context,omitempty"`
	// Consent is what this event says of it, per channel: true grants, false withdraws.
	Consent map[string]bool `json:"consent,omitempty"`

	// Trace is the W3C traceparent of the call that led to the event; empty where the caller sent none.
	Trace string `json:"trace,omitempty"`

	// Joins are other profiles that the call showed to be this customer's.
	Joins []Join `json:"joins,omitempty"`
	// Merge is set on records of the types Merge and Transfer only.
	Merge *MergeRecord `json:"merge,omitempty"`
	// Control is set on control records only.
	Control *ControlRecord `json:"control,omitempty"`
	// Source tells repeats from news without a window.
	Source Source `json:"source"`
}

// Join names a profile that is the same customer as the event's: what it was comes in a Transfer.
type Join struct {
	Loser string `json:"loser"`
	// Refused is why the two stay apart all the same; empty: they don't.
	Refused string `json:"refused,omitempty"`
}

// MergeRecord says which profile goes on in which. A profile is the loser of one merge at most.
type MergeRecord struct {
	Loser  string `json:"loser"`
	Winner string `json:"winner"`
	// State is the loser, encoded as it is stored; on a Transfer only.
	State []byte `json:"state,omitempty"`
}

// ControlRecord names an immutable object that steers decisions from here on. The object is stored before
// its record; versions of a kind only rise.
type ControlRecord struct {
	Kind    string `json:"kind"` // "definitions", "staged", …
	Version uint64 `json:"version"`
	Hash    string `json:"hash"` // of the object, in the objects bucket

	// Of definitions that come into force for all customers at one instant: when that is, the hash of the
	// definitions before them, and the version under which they were staged (0: they were not).
	At     Instant `json:"at,omitempty"`
	Before string  `json:"before,omitempty"`
	Staged uint64  `json:"staged,omitempty"`
	// Fire has campaigns take the flips that the definitions lead to for any other's. Of staged definitions it is
	// what their coming into force shall say.
	Fire bool `json:"fire,omitempty"`
}

// Source says where a record came from, so that whoever reads a partition's log applies it once.
//
// Ordinals rise per source and partition. A source sends in batches: it begins one only when all before it is
// stored. After is the ordinal of the record before this one in the same batch and partition (0 for the
// first), so a reader that has not seen it knows that this record overtook a lost one and will come again.
type Source struct {
	Name    string `json:"name"`
	Ordinal uint64 `json:"ordinal"`
	After   uint64 `json:"after,omitempty"`
}

// CountName is the name under which an event is counted and asked for by rules: a track's own, page:NAME and
// screen:NAME for those; empty for records that aren't counted.
func (e *Event) CountName() string {
	switch e.Type {
	case Track:
		return e.Name
	case Page, Screen:
		return string(e.Type) + ":" + e.Name
	}
	return ""
}

// News tells whether the record is neither a repeat nor ahead of one that was lost on the way, given the highest
// ordinal of its source that was applied.
func (s Source) News(highest uint64) bool { return s.Ordinal > highest && s.After <= highest }
