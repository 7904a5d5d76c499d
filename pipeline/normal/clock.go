package normal

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Time reads a moment: RFC 3339, its kin without zone or without time of day (in zone; nil is UTC), or Unix time
// as a number, whose size tells seconds, milliseconds, microseconds and nanoseconds apart. What has day and month
// in doubt, such as 04/05/2026, is an error.
func Time(text string, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	if t, ok := unix(text); ok {
		return t, nil
	}
	if zone == nil {
		zone = time.UTC
	}
	for _, name := range [...]string{" UTC", " GMT"} { // other abbreviations are in doubt
		if rest, ok := strings.CutSuffix(text, name); ok {
			text = rest + "Z"
		}
	}
	for _, layout := range [...]string{
		time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05 Z0700",
		"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly,
		time.RFC1123Z, "Mon, 02 Jan 2006 15:04:05Z07:00",
	} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: want RFC 3339 such as 2026-05-01T12:00:00Z, the same without zone, or Unix seconds", short(text))
}

// unix reads a number of seconds, or of their thousandth, millionth or billionth, by its size: until the year 5138
// the ranges don't touch for anything after 1973.
func unix(text string) (time.Time, bool) {
	if text == "" || len(text) > 30 || text[0] < '0' || text[0] > '9' {
		return time.Time{}, false
	}
	if compact(text) {
		return time.Time{}, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && len(text) >= 9 {
		switch {
		case n < 1e11:
			return time.Unix(n, 0).UTC(), true
		case n < 1e14:
			return time.UnixMilli(n).UTC(), true
		case n < 1e17:
			return time.UnixMicro(n).UTC(), true
		}
		return time.Unix(n/1e9, n%1e9).UTC(), true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 1e8 || f >= 1e19 {
		return time.Time{}, false
	}
	for f >= 1e11 {
		f /= 1000
	}
	seconds, fraction := math.Modf(f)
	return time.Unix(int64(seconds), int64(math.Round(fraction*1e6))*1e3).UTC(), true
}

// compact tells that digits are a date and a time of day, 20260501120000 or 202605011200: as milliseconds they would be
// moments of 1976 or after 2571.
func compact(text string) bool {
	for _, layout := range [...]string{"20060102150405", "200601021504"} {
		if t, err := time.Parse(layout, text); err == nil && len(text) == len(layout) && t.Year() >= 1900 && t.Year() < 2100 {
			return true
		}
	}
	return false
}
