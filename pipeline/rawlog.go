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

// RawLog appends calls to RAW, and what is none to the dead letters, and says so only when the broker has stored them. It is
// safe for concurrent use; close it when done. The connection stays the caller's.
type RawLog struct {
	js         jetstream.JetStream
	partitions int
	waves      chan *bus.Wave // free ones; each append has one of its own
}

// NewRawLog prepares the log for the given number of appends and parkings at a time; further ones wait. The streams must
// exist.
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
	err := l.publish(ctx, rawMessages(records, l.partitions))
	if err != nil && isFull(err) {
		err = fmt.Errorf("%w: %w", ErrRawFull, err)
	}
	if err != nil {
		return fmt.Errorf("append to RAW: %w", err)
	}
	return nil
}

// A round of letters is confirmed together: the broker bounds what it lets wait, and a letter may be as large as a message.
const (
	roundLetters = 256
	roundBytes   = 8 << 20
)

// Park puts what ingest took but can't use into the dead letters: all of it, or it returns an error after which some may
// be stored.
func (l *RawLog) Park(ctx context.Context, letters []DeadLetter) error {
	for len(letters) > 0 {
		var round []*nats.Msg
		for bytes := 0; len(round) < min(len(letters), roundLetters) && bytes < roundBytes; {
			m, err := letters[len(round)].parked(l.js.Conn().MaxPayload())
			if err != nil {
				return err
			}
			round, bytes = append(round, m), bytes+len(m.Data)
		}
		if err := l.publish(ctx, round); err != nil {
			return fmt.Errorf("park calls: %w", err)
		}
		letters = letters[len(round):]
	}
	return nil
}

// parked is a letter of ingest's on its way. What no message could hold is cut: refused for ever, it would keep what is
// right beside it out.
func (d DeadLetter) parked(maxPayload int64) (*nats.Msg, error) {
	d.Subject = "ingest"
	d.Fit(maxPayload)
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("park call: %w", err)
	}
	m := &nats.Msg{Subject: topology.Subject(topology.DeadLetter, d.Subject), Data: data, Header: nats.Header{}}
	if d.ID != "" {
		m.Header.Set(jetstream.MsgIDHeader, d.ID)
	}
	if left := d.left(); left != "" {
		m.Header.Set(jetstream.MsgTTLHeader, left)
	}
	return m, nil
}

// publish sends messages in one wave and waits until all are stored.
func (l *RawLog) publish(ctx context.Context, messages []*nats.Msg) error {
	var wave *bus.Wave
	select {
	case wave = <-l.waves:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { l.waves <- wave }()
	for _, m := range messages {
		if _, err := wave.Publish(m); err != nil {
			_, _ = wave.Wait(ctx) // end the round; the first error says what matters
			return err
		}
	}
	_, err := wave.Wait(ctx)
	return err
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
