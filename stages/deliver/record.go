package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
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
	// NotBefore is when the next attempt is due, after one that failed for the moment.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Token tells this attempt from any other one.
	Token string `json:"token,omitempty"`

	revision uint64
}

func (r Record) ended() bool { return r.State != "" && r.State != attempting && r.State != waiting }

// records are the delivery records, with compare-and-set against a second worker.
type records struct {
	conn   *nats.Conn
	bucket jetstream.KeyValue
}

// find reads a record; the zero one when there is none. It is the newest one: the end of a delivery may hang on it.
func (r records) find(ctx context.Context, decision string) (Record, error) {
	var record Record
	value, revision, err := bus.ValueAtLeader(ctx, r.conn, r.bucket.Bucket(), decision)
	if err == nil && revision > 0 {
		err = json.Unmarshal(value, &record)
	}
	if err != nil {
		return Record{}, fmt.Errorf("delivery record %s: %w", decision, err)
	}
	record.revision = revision
	return record, nil
}

// store writes a record over the one that was read.
func (r records) store(ctx context.Context, decision string, record *Record) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	revision := record.revision
	if revision == 0 {
		revision, err = r.bucket.Create(ctx, decision, data)
	} else {
		revision, err = r.bucket.Update(ctx, decision, data, revision)
	}
	if err != nil {
		return fmt.Errorf("delivery record %s: %w", decision, err)
	}
	record.revision = revision
	return nil
}
