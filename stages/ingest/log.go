package ingest

import (
	"context"
	"errors"

	"attune/pipeline/event"
)

// ErrBusy is wrapped by a Log that is too full or too slow right now. The client is told to come back (503).
var ErrBusy = errors.New("the log is busy")

// Log is the durable log that ingest appends to.
//
// Append returns nil only when every record is durably stored. An error means that none may be assumed stored:
// some may be, and the client may send all of them again, since messageId tells repeats. An error that wraps
// ErrBusy asks for a pause. Append is safe for concurrent use and ends when ctx does. Records and their payloads
// are the log's to keep, not to change: several payloads may share memory.
type Log interface {
	Append(ctx context.Context, records []event.Raw) error
}

// DeadLetters keeps what ingest took but can't use, for a person to look at.
//
// Park returns nil only when the payload is durably stored. reason is one of ingest's error codes (snake_case, a
// fixed set), err says it in words. Payload holds what the client sent, personal fields included, and is the
// dead letters' to keep. Park is safe for concurrent use and ends when ctx does.
type DeadLetters interface {
	Park(ctx context.Context, reason string, payload []byte, err error) error
	// ParkRequest does the same for a payload that an entrance could not use, or not all of it: [Config.Again]
	// maps it anew.
	ParkRequest(ctx context.Context, entrance, reason string, request []byte, err error) error
}
