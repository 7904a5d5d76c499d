package event

import (
	"fmt"
	"math"
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
func (i Instant) MarshalJSON() ([]byte, error) { return i.append(make([]byte, 0, len(layout)+2)) }

func (i Instant) append(b []byte) ([]byte, error) {
	if i < earliest || i > latest {
		return nil, fmt.Errorf("instant %d ms: year %d is out of range [0, 9999]", int64(i), i.Time().Year())
	}
	b = append(b, '"')
	if i != 0 { // layout, by hand: AppendFormat interprets it each time
		t := i.Time()
		year, month, day := t.Date()
		hour, minute, second := t.Clock()
		b = appendDigits(b, year/100)
		b = appendDigits(b, year%100)
		b = appendDigits(append(b, '-'), int(month))
		b = appendDigits(append(b, '-'), day)
		b = appendDigits(append(b, 'T'), hour)
		b = appendDigits(append(b, ':'), minute)
		b = appendDigits(append(b, ':'), second)
		ms := t.Nanosecond() / int(time.Millisecond)
		b = appendDigits(append(b, '.', byte('0'+ms/100)), ms%100)
		b = append(b, 'Z')
	}
	return append(b, '"'), nil
}

func appendDigits(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// The first and the last millisecond of the years 0 to 9999.
const (
	earliest Instant = -62_167_219_200_000
	latest   Instant = 253_402_300_799_999
)

// UnmarshalJSON reads RFC 3339 with any fraction, or an empty string; null changes nothing.
func (i *Instant) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	if len(data) < 2 || data[0] != '"' {
		return fmt.Errorf("instant %s: want a string in RFC 3339", data)
	}
	s := text(data)
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
