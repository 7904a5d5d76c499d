package mapping

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Reasons for which a payload, or an item of it, can't be used.
const (
	ReasonInvalidJSON = "invalid_json"
	ReasonInvalidCSV  = "invalid_csv"
	ReasonTooDeep     = "too_deep"
	ReasonTooLarge    = "payload_too_large"
	ReasonTooMany     = "too_many_events"
	ReasonUnexpected  = "unexpected_payload" // it lacks what the mapping expects, or has something else there
	ReasonNotMapped   = "not_mapped"         // no call's condition holds
	ReasonFailed      = "mapping_failed"     // an expression can't be computed, or gives what its field can't take
	ReasonTooSlow     = "mapping_too_slow"
)

// Error is one mistake in a mapping's file.
type Error struct {
	File         string
	Line, Column int // from 1; 0: no place
	Field        string
	Message      string
	Hint         string // what to do about it; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

// Problem is what keeps one payload, or one item of it, from becoming calls. Its text holds no value of the payload:
// those may be personal.
type Problem struct {
	Reason string
	Item   int    // which of the payload's items, from 0; -1: the payload itself
	File   string // of the mapping, and where the expression stands; empty: the payload is wrong
	Line   int
	Field  string // of the mapping, such as calls[0].properties.revenue
	What   string
	Hint   string
	Detail string // with values of the payload: for the one who sent it only
}

func (p *Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	}
	if p.Item >= 0 {
		fmt.Fprintf(&b, "item %d: ", p.Item)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		b.WriteString(": " + p.Hint)
	}
	return b.String()
}

// shownErrors is how many mistakes are told at once; nobody mends more before trying again.
const shownErrors = 20

// join sorts mistakes by their place.
func join(fails []*Error) error {
	slices.SortStableFunc(fails, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for i, f := range fails {
		if i == shownErrors {
			all = append(all, fmt.Errorf("%s: and %d more", f.File, len(fails)-i))
			break
		}
		all = append(all, f)
	}
	return errors.Join(all...)
}
