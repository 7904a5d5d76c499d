package trigger

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time that is written in whole weeks, days (24 hours), hours, minutes and seconds, the
// larger unit first: "30s", "1h30m", "2d", "1w". Zero is "0".
type Duration time.Duration

// DurationPattern is the form of a Duration, as a regular expression for editors and schemas.
const DurationPattern = `^(0|([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$`

type unit struct {
	name string
	size time.Duration
}

func units() []unit {
	return []unit{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
}

// UnmarshalText reads a Duration.
func (d *Duration) UnmarshalText(text []byte) error {
	rest := strings.TrimSpace(string(text))
	if rest == "0" {
		*d = 0
		return nil
	}
	refuse := fmt.Errorf(`%q is no duration: want whole numbers with their units, such as "30s", "1h30m", "2d" or "1w" (0: none)`, text)
	if rest == "" {
		return refuse
	}
	var sum time.Duration
	for _, u := range units() {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || !strings.HasPrefix(rest[digits:], u.name) {
			continue
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil || n > int64((math.MaxInt64-sum)/u.size) {
			return fmt.Errorf("%q is too long a duration", text)
		}
		sum += time.Duration(n) * u.size
		rest = rest[digits+len(u.name):]
	}
	if rest != "" {
		return refuse
	}
	*d = Duration(sum)
	return nil
}

// MarshalText writes a Duration so that UnmarshalText reads the same; below a second it is cut.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the written form, in the largest units that fit; days, not weeks, above a day.
func (d Duration) String() string {
	rest := time.Duration(d)
	var b strings.Builder
	for _, u := range units()[1:] {
		if n := rest / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			rest %= u.size
		}
	}
	if b.Len() == 0 {
		return "0"
	}
	return b.String()
}
