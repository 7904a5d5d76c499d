package file

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// clock reads the times of a file.
type clock struct {
	name   string // of the layout, as the mapping has it
	layout string
	unit   time.Duration // not 0: the time is a count of units since 1970
	zone   *time.Location
}

// checkLayout says what is wrong with a Go time layout, or nothing.
func checkLayout(layout string) string {
	if strings.Contains(layout, "MST") {
		return "names its zone by letters, which are ambiguous"
	}
	probe := time.Date(2019, time.November, 23, 14, 5, 6, 0, time.UTC)
	read, err := time.Parse(layout, probe.Format(layout))
	if err != nil || read.Year() != probe.Year() || read.YearDay() != probe.YearDay() {
		return "doesn't hold a year, a month and a day"
	}
	return ""
}

func (c clock) parse(s string) (time.Time, error) {
	var t time.Time
	if c.unit != 0 {
		n, ok := parseDecimal(s)
		if !ok {
			return t, fmt.Errorf("%q is no %s time: a count since 1970", clip(s), c.name)
		}
		nanos := n.Mul(decimal.NewFromInt(int64(c.unit)))
		if nanos.Abs().GreaterThan(decimal.New(9, 18)) {
			return t, fmt.Errorf("%q is out of range: is time_layout right?", clip(s))
		}
		t = time.Unix(0, nanos.IntPart())
	} else {
		var err error
		if t, err = time.ParseInLocation(c.layout, s, c.zone); err != nil {
			return t, fmt.Errorf("%q is not written as %s", clip(s), c.name)
		}
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return t, fmt.Errorf("%q is out of range", clip(s))
	}
	return t, nil
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// parseDecimal reads a plain or scientific decimal number of sane size, exactly.
func parseDecimal(s string) (decimal.Decimal, bool) {
	if len(s) == 0 || len(s) > 64 {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(s)
	// A huge exponent is cheap to read and ruinous to add or print.
	if err != nil || d.Exponent() > 30 || d.Exponent() < -30 {
		return decimal.Zero, false
	}
	return d, true
}

const maxMoneyDecimals = 4 // of event.Money

// appendNumber writes a number exactly. Money gets two to four decimals, or as many as decimals says.
func appendNumber(b []byte, n decimal.Decimal, kind valueType, decimals int32) ([]byte, error) {
	switch kind {
	case integerType:
		if !n.IsInteger() || n.Abs().GreaterThanOrEqual(decimal.New(1, 18)) {
			return b, fmt.Errorf("%s is no whole number in range", n)
		}
		return append(b, n.StringFixed(0)...), nil
	case moneyType:
		if n.Abs().GreaterThanOrEqual(decimal.New(9, 14)) {
			return b, fmt.Errorf("%s is out of the range of money", n)
		}
		if decimals >= 0 {
			return append(b, n.Round(decimals).StringFixed(decimals)...), nil
		}
		for places := int32(2); places <= maxMoneyDecimals; places++ {
			if n.Truncate(places).Equal(n) {
				return append(b, n.StringFixed(places)...), nil
			}
		}
		return b, fmt.Errorf("%s has more than %d decimals: say decimals: 2 if it may be rounded", n, maxMoneyDecimals)
	}
	return append(b, n.String()...), nil
}

func parseBoolean(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "y", "t", "1":
		return true, true
	case "false", "no", "n", "f", "0":
		return false, true
	}
	return false, false
}

// appendString writes s as JSON, its <, > and & untouched.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return appendJSON(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendJSON(b []byte, v any) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return append(b, "null"...) // can't be: v came out of a JSON decoder
	}
	return append(b, bytes.TrimRight(buffer.Bytes(), "\n")...)
}

// appendCell writes what a row holds in a column as the field wants it. The error's reason comes beside it.
func (f *field) appendCell(b []byte, c cell, clock clock) ([]byte, string, error) {
	if c.composite && f.kind != asIs {
		return b, "bad_" + string(f.kind), fmt.Errorf("an object or list is no %s", f.kind)
	}
	text := strings.TrimSpace(c.text)
	switch f.kind {
	case asIs:
		if c.json != nil {
			return appendJSON(b, c.json), "", nil
		}
		return appendString(b, c.text), "", nil
	case textType:
		return appendString(b, c.text), "", nil
	case booleanType:
		v, ok := parseBoolean(text)
		if !ok {
			return b, "bad_boolean", fmt.Errorf("%q is neither true nor false", clip(text))
		}
		return fmt.Appendf(b, "%t", v), "", nil
	case timeType:
		t, err := clock.parse(text)
		if err != nil {
			return b, "bad_time", err
		}
		return appendString(b, formatTime(t)), "", nil
	}
	reason := "bad_" + string(f.kind)
	n, ok := parseDecimal(text)
	if !ok {
		return b, reason, fmt.Errorf("%q is no number: digits and a decimal point", clip(text))
	}
	if f.negate {
		n = n.Neg()
	}
	b, err := appendNumber(b, n, f.kind, f.decimals)
	if err != nil {
		return b, reason, err
	}
	return b, "", nil
}

// clip keeps a message readable when a value is not.
func clip(s string) string {
	const most = 60
	for i := range s {
		if i >= most {
			return s[:i] + "…"
		}
	}
	return s
}
