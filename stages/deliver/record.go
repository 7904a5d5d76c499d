package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Outcome is how a delivery ended.
type Outcome string

// The ends of a delivery, and the two states on the way there.
const (
	Accepted Outcome = "accepted" // the destination took it
	Dropped  Outcome = "dropped"  // it was not sent, for the reason given
	Bounced  Outcome = "bounced"  // the destination refused it for good
	Unknown  Outcome = "unknown"  // it may or may not have been sent

	attempting Outcome = "attempting" // an attempt is under way, or was when the process died
	waiting    Outcome = "waiting"    // the last attempt failed for the moment; nothing was sent
)

// Record is what is known of one delivery, by its decision id.
type Record struct {
	State    Outcome   `json:"state"`
	Reason   string    `json:"reason,omitempty"`
	Response string    `json:"response,omitempty"` // the provider's words, without personal fields
	Attempt  int       `json:"attempt"`
	At       time.Time `json:"at"`

	revision uint64
}

func (r Record) ended() bool { return r.State != "" && r.State != attempting && r.State != waiting }

// records are the delivery records, with compare-and-set against a second worker.
type records struct{ bucket jetstream.KeyValue }

// find reads a record; the zero one when there is none.
func (r records) find(ctx context.Context, decision string) (Record, error) {
	entry, err := r.bucket.Get(ctx, decision)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, fmt.Errorf("delivery record %s: %w", decision, err)
	}
	var record Record
	if err := json.Unmarshal(entry.Value(), &record); err != nil {
		return Record{}, fmt.Errorf("delivery record %s: %w", decision, err)
	}
	record.revision = entry.Revision()
	return record, nil
}

// store writes a record over the one that was read.
func (r records) store(ctx context.Context, decision string, record *Record) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if record.revision == 0 {
		record.revision, err = r.bucket.Create(ctx, decision, data)
	} else {
		record.revision, err = r.bucket.Update(ctx, decision, data, record.revision)
	}
	if err != nil {
		return fmt.Errorf("delivery record %s: %w", decision, err)
	}
	return nil
}
