package clickhouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Reading is one figure of an audit: a row of audit_readings.
type Reading struct {
	Check     string  `json:"check"`
	Subject   string  `json:"subject"`
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
	Values    uint64  `json:"values"`
	Alarm     bool    `json:"alarm"`
	Detail    string  `json:"detail"`
}

// WriteReadings stores what an audit found at a time, to the millisecond: the same once, however often it is written.
func (s *Sink) WriteReadings(ctx context.Context, at time.Time, readings []Reading) error {
	if len(readings) == 0 {
		return nil
	}
	n := len(readings)
	times, checks, subjects, details := make([]time.Time, n), make([]string, n), make([]string, n), make([]string, n)
	values, thresholds, counts, alarms := make([]float64, n), make([]float64, n), make([]uint64, n), make([]bool, n)
	for i, r := range readings {
		times[i], checks[i], subjects[i], details[i] = at, r.Check, r.Subject, r.Detail
		values[i], thresholds[i], counts[i], alarms[i] = r.Value, r.Threshold, r.Values, r.Alarm
	}
	r := &rows{table: "audit_readings", n: n}
	r.add("at", times)
	r.add("check", checks)
	r.add("subject", subjects)
	r.add("value", values)
	r.add("threshold", thresholds)
	r.add("values", counts)
	r.add("alarm", alarms)
	r.add("detail", details)
	if err := s.Prepare(ctx); err != nil {
		return err
	}
	if err := s.insert(s.once(ctx, fmt.Sprintf("audit/%d", at.UnixMilli())), r); err != nil {
		return fmt.Errorf("write what the audit found to clickhouse: %w", plain(err))
	}
	return nil
}

// LastAudit is when readings were stored last; the zero time: never.
func LastAudit(ctx context.Context, dsn string) (time.Time, error) {
	rows, err := answers[struct{ At int64 }](ctx, dsn, "SELECT toUnixTimestamp64Milli(max(at)) AS At FROM audit_readings HAVING count() > 0")
	if err != nil || len(rows) == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(rows[0].At), nil
}

// Extent is which time the events that came in by themselves, not by an import, span.
type Extent struct {
	Events      float64
	First, Last int64 // accepted, in milliseconds since 1970
}

// EventExtent is that of all events accepted by now.
func EventExtent(ctx context.Context, dsn string, now time.Time) (Extent, error) {
	rows, err := answers[Extent](ctx, dsn, fmt.Sprintf(`SELECT toFloat64(count()) AS Events, toUnixTimestamp64Milli(min(accepted)) AS First,
		toUnixTimestamp64Milli(max(accepted)) AS Last
		FROM events WHERE NOT historical AND type != 'delivery' AND accepted <= %s`, instant(now)))
	if err != nil || len(rows) == 0 {
		return Extent{}, err
	}
	return rows[0], nil
}

// Volume is how many events there were, by day of 24 hours: the first ends now, the next is the one before it.
type Volume struct {
	Event string // a track event's name, else the type
	Days  []float64
}

// Volumes counts the events of so many days, of the names with the most of them.
func Volumes(ctx context.Context, dsn string, now time.Time, days, names int) ([]Volume, error) {
	return answers[Volume](ctx, dsn, fmt.Sprintf(`WITH CAST((groupArray(day), groupArray(n)), 'Map(Int64, UInt64)') AS by_day
		SELECT Event, arrayMap(d -> toFloat64(by_day[d]), range(%d)) AS Days
		FROM (
			SELECT %s AS Event, intDiv(toUnixTimestamp64Milli(%s) - toUnixTimestamp64Milli(accepted), 86400000) AS day, count() AS n
			FROM events WHERE NOT historical AND type != 'delivery' AND accepted <= %[3]s AND accepted > %[3]s - INTERVAL %[1]d DAY
			GROUP BY Event, day
		) GROUP BY Event ORDER BY sum(n) DESC, Event LIMIT %[4]d`, days, eventName, instant(now), names))
}

// Missing is in how many events a field is missing: in the last day, and in the four weeks before it.
type Missing struct {
	Event, Field          string
	Missing, Events       float64
	MissingBefore, Before float64
}

// fields are the properties that have columns of their own or that revenue is made of, and the user.
const fields = `['user_id', 'product_id', 'category', 'cart_id', 'order_id', 'currency', 'revenue']`

// MissingFields counts in the events with the most of them, by name. A field that was missing in more than nine of ten
// events before is none of that event's, and is left out.
func MissingFields(ctx context.Context, dsn string, now time.Time, names int) ([]Missing, error) {
	return answers[Missing](ctx, dsn, fmt.Sprintf(`SELECT Event, name AS Field,
			toFloat64(countIf(recent AND absent)) AS Missing, toFloat64(countIf(recent)) AS Events,
			toFloat64(countIf(NOT recent AND absent)) AS MissingBefore, toFloat64(countIf(NOT recent)) AS Before
		FROM (
			SELECT %s AS Event, accepted > %s - INTERVAL 1 DAY AS recent,
				[empty(user_id), empty(properties.product_id), empty(properties.category), empty(properties.cart_id), empty(properties.order_id), empty(toString(currency)), revenue = 0] AS absents
			FROM events WHERE NOT historical AND type = 'track' AND accepted <= %[2]s AND accepted > %[2]s - INTERVAL 29 DAY
				AND Event IN (SELECT toString(event) FROM events WHERE NOT historical AND type = 'track' AND accepted <= %[2]s AND accepted > %[2]s - INTERVAL 29 DAY
					GROUP BY event ORDER BY count() DESC LIMIT %[4]d)
		) ARRAY JOIN %[3]s AS name, absents AS absent
		GROUP BY Event, Field HAVING MissingBefore <= 0.9 * Before AND Before > 0
		ORDER BY Event, Field`, eventName, instant(now), fields, names))
}

// Firing is what became of a campaign's decisions since a moment.
type Firing struct {
	Campaign      string
	First         int64 // of all its decisions ever, in milliseconds since 1970
	Fired, Others float64
	Reason        string // of those that did not fire, the most frequent
}

// Firings counts the decisions since a moment.
func Firings(ctx context.Context, dsn string, since time.Time) ([]Firing, error) {
	return answers[Firing](ctx, dsn, fmt.Sprintf(`SELECT toString(campaign) AS Campaign, toUnixTimestamp64Milli(min(at)) AS First,
		toFloat64(countIf(outcome = 'fired' AND at > %s)) AS Fired, toFloat64(countIf(outcome != 'fired' AND at > %[1]s)) AS Others,
		arrayElementOrNull(topKIf(1)(toString(reason), outcome != 'fired' AND at > %[1]s), 1) AS Reason
		FROM decisions GROUP BY campaign ORDER BY campaign`, instant(since)))
}

const eventName = "if(type = 'track', toString(event), toString(type))"

func instant(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Milli(%d, 'UTC')", t.UnixMilli())
}

// answers runs a query and reads a row for each line; columns are called as T's fields are.
func answers[T any](ctx context.Context, dsn, sql string) (all []T, err error) {
	var out bytes.Buffer
	if err := Query(ctx, dsn, sql+" SETTINGS output_format_json_quote_64bit_integers = 0", "JSONEachRow", &out); err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(&out); ; {
		var row T
		err := decoder.Decode(&row)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the database's answer: %w", err)
		}
		all = append(all, row)
	}
}
