package rule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxWindow is the longest window: 400 days.
const MaxWindow = 400 * 24 * time.Hour

const windowHint = `a whole number with its unit: "30m", "24h", "7d", "2w" (d is 24 h, w is 7 d), at most "400d"`

// ParseWindow reads a window: a whole number with its unit, s, m, h, d (24 h) or w (7 d), above zero and at most
// [MaxWindow].
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
