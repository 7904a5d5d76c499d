package propensity

import (
	"math"
	"strconv"
	"strings"
)

// Value is one field of a row: a number, a text, or missing.
type Value struct {
	text   string
	number float64 // NaN: it is no number
}

// Number is a numeric value; NaN is missing.
func Number(v float64) Value { return Value{number: v} }

// Text is a word or a code; the empty one is missing.
func Text(s string) Value { return Value{text: s, number: math.NaN()} }

// Missing is a value that is not known.
func Missing() Value { return Text("") }

// Parse reads a field of a file: what is a finite number as one, anything else as text.
func Parse(s string) Value {
	s = strings.TrimSpace(s)
	if v, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(v, 0) {
		return Value{text: s, number: v}
	}
	return Text(s)
}

// Number is the value as a number; false: it is none.
func (v Value) Number() (float64, bool) { return v.number, v.isNumber() }

func (v Value) isNumber() bool { return v.number == v.number }

func (v Value) missing() bool { return !v.isNumber() && v.text == "" }

// Row is one moment of a customer: a value for each column.
type Row []Value

// Example is a row whose label has matured.
type Example struct {
	Row   Row
	Label bool
}
