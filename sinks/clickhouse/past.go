package clickhouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"attune/pipeline/event"
)

// PastQuery asks for events that were written.
type PastQuery struct {
	// Names are those of track events; page:NAME and screen:NAME are pages and screens.
	Names []string
	// Since is when they occurred at the earliest; zero: any.
	Since event.Instant
	// After and Before are positions in the log, both excluded.
	After, Before uint64
}

// pastRow is an event as it is read back.
type pastRow struct {
	Sequence   uint64
	Type       event.Type
	Event      string
	Profile    string
	Occurred   int64 // milliseconds
	Accepted   int64
	Properties string
	Whole      string // their text where the column can't say all of it
}

const pastSQL = `
SELECT sequence AS Sequence, toString(type) AS Type, toString(event) AS Event, profile_id AS Profile,
    toUnixTimestamp64Milli(events.occurred) AS Occurred, toUnixTimestamp64Milli(events.accepted) AS Accepted,
    if(properties_raw = '', toJSONString(properties), '') AS Properties, properties_raw AS Whole
FROM events
WHERE events.event IN (%s) AND events.occurred >= fromUnixTimestamp64Milli(%d) AND events.sequence > %d AND events.sequence < %d
ORDER BY events.sequence
SETTINGS output_format_json_quote_64bit_integers = 0`

// Past visits the events that were written, in the order of their positions in the log, with name, times and properties: each
// once, of profiles as they were then. It can't tell a typed property's number from its text: both are text. dsn is that of
// [Query].
func Past(ctx context.Context, dsn string, q PastQuery, visit func(e *event.Event, position uint64) error) error {
	names := make([]string, len(q.Names))
	wanted := map[string]bool{}
	for i, name := range q.Names {
		wanted[name] = true
		for _, kind := range []event.Type{event.Page, event.Screen} {
			name = strings.TrimPrefix(name, string(kind)+":")
		}
		names[i] = quoted(name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, answer := io.Pipe()
	go func() {
		answer.CloseWithError(Query(ctx, dsn, fmt.Sprintf(pastSQL, strings.Join(names, ", "), int64(max(q.Since, earliest)), q.After, q.Before), "JSONEachRow", answer))
	}()
	defer rows.Close() // ends the query
	for decoder := json.NewDecoder(rows); ; {
		var row pastRow
		if err := decoder.Decode(&row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the events that were written: %w", err)
		}
		e, err := row.read()
		if err != nil {
			return fmt.Errorf("read the event at position %d: %w", row.Sequence, err)
		}
		if !wanted[e.CountName()] {
			continue
		}
		if err := visit(e, row.Sequence); err != nil {
			return err
		}
	}
}

func (r *pastRow) read() (*event.Event, error) {
	e := &event.Event{Type: r.Type, Name: r.Event, Profile: r.Profile, Occurred: event.Instant(r.Occurred), Accepted: event.Instant(r.Accepted)}
	var err error
	if r.Whole != "" {
		e.Properties, err = event.ParseObject([]byte(r.Whole))
		return e, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(r.Properties), &fields); err != nil {
		return nil, err
	}
	for _, name := range typedProperties() {
		if string(fields[name]) == `""` { // how the column says that there is none
			delete(fields, name)
		}
	}
	asAny := make(map[string]any, len(fields))
	for name, value := range fields {
		asAny[name] = value
	}
	e.Properties, err = event.ObjectOf(asAny)
	return e, err
}

// quoted is a text as SQL has it.
func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
