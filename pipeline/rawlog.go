package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// ErrRawFull is returned by RawLog.Append when RAW refuses because normalizing lags too far behind.
var ErrRawFull = errors.New("RAW is full")

// codeStoreFailed is the broker's refusal to store a message; its description says why.
const codeStoreFailed jetstream.ErrorCode = 10077

// isFull tells whether the broker refused because the stream is at one of its limits, and not because the
// message will never fit.
func isFull(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeStoreFailed && strings.HasPrefix(api.Description, "maximum ")
}

// RawLog appends calls to RAW and says so only when the broker has stored them. It is safe for concurrent use;
// close it when done. The connection stays the caller's.
type RawLog struct {
	js         jetstream.JetStream
	partitions int
	waves      chan *bus.Wave // free ones; each append has one of its own
}

// NewRawLog prepares the log for the given number of appends at a time; further ones wait. The streams must exist.
func NewRawLog(ctx context.Context, js jetstream.JetStream, concurrency int) (*RawLog, error) {
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return nil, err
	}
	l := &RawLog{js: js, partitions: partitions, waves: make(chan *bus.Wave, concurrency)}
	for range concurrency {
		wave, err := bus.NewWave(js.Conn())
		if err != nil {
			l.Close()
			return nil, err
		}
		l.waves <- wave
	}
	return l, nil
}

// Append stores all records and returns nil, or an error after which some may be stored: since every record
// has its message id, appending them again is safe. ErrRawFull asks for patience.
func (l *RawLog) Append(ctx context.Context, records []event.Raw) error {
	var wave *bus.Wave
	select {
	case wave = <-l.waves:
	case <-ctx.Done():
		return fmt.Errorf("append to RAW: %w", ctx.Err())
	}
	defer func() { l.waves <- wave }()
	for _, m := range rawMessages(records, l.partitions) {
		if _, err := wave.Publish(m); err != nil {
			_, _ = wave.Wait(ctx) // end the round; the first error says what matters
			return fmt.Errorf("append to RAW: %w", err)
		}
	}
	if _, err := wave.Wait(ctx); err != nil {
		if isFull(err) {
			return fmt.Errorf("append to RAW: %w: %w", ErrRawFull, err)
		}
		return fmt.Errorf("append to RAW: %w", err)
	}
	return nil
}

// Park puts a call that ingest took but can't use into the dead letters.
func (l *RawLog) Park(ctx context.Context, reason string, payload []byte, cause error) error {
	return l.ParkRequest(ctx, "", reason, payload, cause)
}

// ParkRequest puts a request whose payload an entrance can't use into the dead letters.
func (l *RawLog) ParkRequest(ctx context.Context, entrance, reason string, request []byte, cause error) error {
	return l.ParkLetter(ctx, DeadLetter{Reason: reason, Error: cause.Error(), Payload: request, Subject: "ingest", Entrance: entrance})
}

// ParkLetter puts a letter of ingest's into the dead letters.
func (l *RawLog) ParkLetter(ctx context.Context, letter DeadLetter) error {
	data, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("park call: %w", err)
	}
	m := &nats.Msg{Subject: topology.Subject(topology.DeadLetter, "ingest"), Data: data, Header: nats.Header{}}
	if left := letter.left(); left != "" {
		m.Header.Set(jetstream.MsgTTLHeader, left)
	}
	if _, err := l.js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("park call: %w", err)
	}
	return nil
}

// Close lets go of the broker once all appends are done.
func (l *RawLog) Close() {
	for range cap(l.waves) {
		select {
		case wave := <-l.waves:
			wave.Close()
		default:
			return
		}
	}
}

// RawKey is a person's key as a subject token: what is not [A-Za-z0-9_-] becomes _, and an empty key is _.
func RawKey(key string) string {
	if key == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, key)
}
