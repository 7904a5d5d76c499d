package rule

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
)

// MaxWindow is the longest window that has an end: 400 days.
const MaxWindow = 400 * 24 * time.Hour

const windowHint = `a whole number with its unit: "30m", "24h", "7d", "2w" (d is 24 h, w is 7 d), at most "400d"`

const spanHint = `"24h", "7d", "today", "3 calendar days", "this week", "this month", "2026-11-01/2026-12-01" or none, for all time; at most "400d"`

// never is an instant that is never reached.
const never = event.Instant(math.MaxInt64)

// ParseWindow reads a window that moves with the clock: a whole number with its unit, s, m, h, d (24 h) or w (7 d),
// above zero and at most [MaxWindow].
func ParseWindow(s string) (time.Duration, error) {
	var unit time.Duration
	digits := s
	if s != "" {
		digits = s[:len(s)-1]
		switch s[len(s)-1] {
		case 's':
			unit = time.Second
		case 'm':
			unit = time.Minute
		case 'h':
			unit = time.Hour
		case 'd':
			unit = 24 * time.Hour
		case 'w':
			unit = 7 * 24 * time.Hour
		}
	}
	if unit == 0 || digits == "" || len(digits) > 9 || strings.Trim(digits, "0123456789") != "" {
		return 0, fmt.Errorf("%q is no window: want %s", s, windowHint)
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("%q is no window: want %s", s, windowHint)
	}
	if n == 0 {
		return 0, fmt.Errorf("window %q is empty: want %s", s, windowHint)
	}
	if time.Duration(n) > MaxWindow/unit {
		return 0, fmt.Errorf("window %q is too long: want %s", s, windowHint)
	}
	return time.Duration(n) * unit, nil
}

// formatWindow prints a window in the largest unit that divides it, weeks left out.
func formatWindow(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// window says which events count at an instant: those that occurred no later, and have not left it.
type window struct {
	kind   windowKind
	length event.Instant // rolling: so many milliseconds
	days   int           // days: so many calendar days, the current one among them
	from   event.Instant // dates: from, and up to but not including to
	to     event.Instant // zero: without an end
}

type windowKind uint8

const (
	endless windowKind = iota
	rolling
	days
	week
	month
	dates
)

// rollingWindow is the window that moves with the clock.
func rollingWindow(d time.Duration) window {
	return window{kind: rolling, length: event.Instant(d.Milliseconds())}
}

// parseSpan reads any window that a rule may name.
func parseSpan(s string) (window, error) {
	switch s {
	case "today":
		return window{kind: days, days: 1}, nil
	case "this week":
		return window{kind: week}, nil
	case "this month":
		return window{kind: month}, nil
	case "yesterday", "last week", "last month":
		return window{}, fmt.Errorf("window %q ends before now, and all that happened after it would have to be kept: "+
			"want one that reaches up to now, such as \"2 calendar days\"", s)
	}
	if number, ok := strings.CutSuffix(s, " calendar days"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > int(MaxWindow/(24*time.Hour)) || strings.Trim(number, "0123456789") != "" {
			return window{}, fmt.Errorf("%q is no window: want 1 to 400 calendar days, the current one among them", s)
		}
		return window{kind: days, days: n}, nil
	}
	if from, to, ok := strings.Cut(s, "/"); ok {
		return parseDates(s, from, to)
	}
	d, err := ParseWindow(s)
	if err != nil {
		what, _, _ := strings.Cut(err.Error(), ": ")
		return window{}, errors.New(what + ": want " + spanHint)
	}
	return rollingWindow(d), nil
}

func parseDates(s, from, to string) (window, error) {
	w := window{kind: dates}
	var ok bool
	if w.from, ok = parseMoment([]byte(from)); !ok {
		return w, fmt.Errorf("window %q has no beginning: want a date such as 2026-11-01, or a time such as 2026-11-01T08:00:00+01:00", s)
	}
	if to == "" {
		return w, nil
	}
	if w.to, ok = parseMoment([]byte(to)); !ok {
		return w, fmt.Errorf("window %q has no end: want a date such as 2026-12-01, or nothing after the / for no end", s)
	}
	if w.to <= w.from {
		return w, fmt.Errorf("window %q is empty: want an end after its beginning; the end is not included", s)
	}
	return w, nil
}

// parseMoment reads a date (its first instant in UTC) or a time with its zone, both as in RFC 3339, in the years 1 to 9999.
func parseMoment(text []byte) (event.Instant, bool) {
	layout := time.RFC3339Nano
	if len(text) == len(time.DateOnly) {
		layout = time.DateOnly
	}
	t, err := time.Parse(layout, string(text))
	if err != nil || t.Year() < 1 {
		return 0, false
	}
	return event.At(t), true
}

// expiry is when an event that occurred at the instant leaves the window; never, where it stays.
func (w *window) expiry(at event.Instant, zone *time.Location) event.Instant {
	switch w.kind {
	case rolling:
		return at + w.length
	case days, week, month:
		return w.calendar(at, zone)
	default:
		return never
	}
}

func (w *window) calendar(at event.Instant, zone *time.Location) event.Instant {
	year, mon, day := time.UnixMilli(int64(at)).In(zone).Date()
	switch w.kind {
	case days:
		day += w.days
	case week:
		day += 7 - (int(time.Date(year, mon, day, 12, 0, 0, 0, time.UTC).Weekday())+6)%7 // weeks begin on Monday
	default:
		mon, day = mon+1, 1
	}
	return startOfDay(year, mon, day, zone)
}

// zoned tells whether the window depends on the customer's zone.
func (w *window) zoned() bool { return w.kind == days || w.kind == week || w.kind == month }

// horizon is how long after it occurred an event may still count, in any zone.
func (w *window) horizon() event.Instant {
	const day = event.Instant(24 * 60 * 60 * 1000)
	switch w.kind {
	case rolling:
		return w.length
	case days:
		return event.Instant(w.days+3) * day // a zone is at most 26 hours from another, and one island skipped a day
	case week:
		return 10 * day
	case month:
		return 34 * day
	default:
		return never
	}
}

// gone tells whether an event at the instant can no longer count at now or later.
func (w *window) gone(at, now event.Instant) bool {
	h := w.horizon()
	return h != never && at+h <= now
}

// admits tells whether an event at the instant can count at all.
func (w *window) admits(at event.Instant) bool {
	return w.kind != dates || at >= w.from && (w.to == 0 || at < w.to)
}

// String is the window as a rule writes it; empty for all time.
func (w *window) String() string {
	switch w.kind {
	case rolling:
		return formatWindow(time.Duration(w.length) * time.Millisecond)
	case days:
		if w.days == 1 {
			return "today"
		}
		return strconv.Itoa(w.days) + " calendar days"
	case week:
		return "this week"
	case month:
		return "this month"
	case dates:
		return w.from.String() + "/" + w.to.String()
	}
	return ""
}

// key is the window in a leaf's definition. Profiles depend on it: it must not change.
func (w *window) key() string {
	switch w.kind {
	case rolling:
		return strconv.FormatInt(int64(w.length), 10)
	case endless:
		return "all"
	case dates:
		return strconv.FormatInt(int64(w.from), 10) + "/" + strconv.FormatInt(int64(w.to), 10)
	}
	return w.String()
}
