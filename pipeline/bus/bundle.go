package bus

import (
	"context"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Record is one message of a Bundle.
type Record struct {
	Subject string // empty: the one that the bundle itself is published to
	ID      string // its Nats-Msg-Id; empty: it has none
	Data    []byte // not to be changed before the bundle is published
}

// Bundle is many records in one Watermill message: what a handler of a whole batch hands on. A message costs the Router and
// the Publisher more than many a record's own way to the broker. The Publisher sends the records one by one, in order, each
// with the headers that the message's metadata says, so middleware works on it as on any other. The zero Bundle is
// ready to use; one goroutine fills it.
//
// The records travel in the message's context: a copy needs it too (message.CopyWithContext).
type Bundle struct{ records []Record }

// NewBundle makes room for so many records.
func NewBundle(records int) *Bundle { return &Bundle{make([]Record, 0, records)} }

// Add appends a record.
func (b *Bundle) Add(r Record) { b.records = append(b.records, r) }

// Messages is what a handler returns: one message with all the records, confirmed together with the one that led to it;
// none where there are no records.
func (b *Bundle) Messages(cause *message.Message) []*message.Message {
	if len(b.records) == 0 {
		return nil
	}
	m := message.NewMessage("", nil)
	m.SetContext(context.WithValue(cause.Context(), bundleKey, b.records))
	m.Metadata[bundleSize] = strconv.Itoa(len(b.records))
	return []*message.Message{m}
}

// bundleSize is the metadata that tells a bundle, so that one whose records are lost is not taken for an empty message.
const bundleSize = "attune-bundle"
