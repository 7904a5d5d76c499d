// Package event is the envelope: what one thing that happened to one customer looks like on its way through
// Attune, with the three times that decide about it (occurred, accepted, position in the log) and the exact
// types, Instant and Money, that everything computes with. It depends on the standard library alone.
package event
