package event

import "time"

// Raw is one call as a producer made it, on its way to RAW. The payload stays untouched: what ingest knows
// about it travels beside it, as message headers.
type Raw struct {
	// Key keeps a person's calls in order: the anonymous id, else the user id.
	Key string
	// Payload is one JSON object in Segment's shape with its "type" (track, identify, page, screen, group, alias).
	Payload []byte
	// Accepted is the moment at which ingest took the call: the only clock of everything after it.
	Accepted time.Time
	// SentAt is the producer's clock when it sent the request; zero when it said nothing. It corrects skew.
	SentAt time.Time
	// Historical marks imports and backfills: they change state and fire nothing.
	Historical bool
	// Trace is the W3C traceparent of the call; empty: none.
	Trace string
	// KeepUntil ends the time for which the call may lie among the dead letters, where it has lain there before and is
	// tried again; zero: it has not.
	KeepUntil time.Time
}

// Headers that carry a Raw's fields beside its payload. A producer that publishes straight to RAW sets none
// of them: `accepted` is then the broker's timestamp.
const (
	HeaderAccepted   = "Attune-Accepted"   // RFC 3339 with nanoseconds, UTC
	HeaderSentAt     = "Attune-Sent-At"    // RFC 3339 with nanoseconds, UTC
	HeaderHistorical = "Attune-Historical" // "true" or absent
	HeaderKeepUntil  = "Attune-Keep-Until" // RFC 3339, UTC; absent: the dead letters' own age
	HeaderTrace      = "traceparent"       // W3C Trace Context, as tracers expect it; absent: none
)
