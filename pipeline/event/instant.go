package event

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Instant is a moment in milliseconds since 1970 UTC; zero means "none". It is what windows, wake-ups and
// profiles compute with: exact, comparable with <, and the same on every machine.
type Instant int64

// At is t, cut to the millisecond; the zero time gives zero.
func At(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixMilli())
}

// Time is the moment in UTC; zero gives the zero time.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(i)).UTC()
}

// Add is the moment d later, cut to the millisecond.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d.Milliseconds()) }

// Sub is the time from j to i; beyond 292 years the longest Duration.
func (i Instant) Sub(j Instant) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(int64(i-j), -most), most)) * time.Millisecond
}

const layout = "2006-01-02T15:04:05.000Z07:00"

// String is RFC 3339 with milliseconds, UTC; empty for zero.
func (i Instant) String() string {
	if i == 0 {
		return ""
	}
	return i.Time().Format(layout)
}

// MarshalJSON writes RFC 3339 with milliseconds, UTC; zero is an empty string. RFC 3339 has the years 0 to 9999
// only: any other is an error here, where its producer can be told, and not at the next reader.
func (i Instant) MarshalJSON() ([]byte, error) {
	if year := i.Time().Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("instant %d ms: year %d is out of range [0, 9999]", int64(i), year)
	}
	b := make([]byte, 0, len(layout)+2)
	b = append(b, '"')
	if i != 0 {
		b = i.Time().AppendFormat(b, layout)
	}
	return append(b, '"'), nil
}

// UnmarshalJSON reads RFC 3339 with any fraction, or an empty string; null changes nothing.
func (i *Instant) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	s, err := strconv.Unquote(string(data))
	if err != nil {
		return fmt.Errorf("instant %s: want a string in RFC 3339", data)
	}
	if s == "" {
		*i = 0
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("instant %q: %w", s, err)
	}
	*i = At(t)
	return nil
}
