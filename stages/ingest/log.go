package ingest

import (
	"context"
	"errors"

	"attune/pipeline"
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
// Park returns nil only when every letter is durably stored; an error means that some may be. A letter's reason is one of
// ingest's error codes (snake_case, a fixed set), and its error says it in words. Its payload holds what the client sent,
// personal fields included: a call, or the whole payload of an entrance, which [Config.Again] maps anew. What is parked
// again with the same ID, since the client tried again, should be one letter. Payloads are the dead letters' to keep, not
// to change. Park is safe for concurrent use and ends when ctx does.
type DeadLetters interface {
	Park(ctx context.Context, letters []pipeline.DeadLetter) error
}
