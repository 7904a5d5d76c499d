package file

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Refusal is one row that no call was made of.
type Refusal struct {
	File   string
	Line   int    // from 1, where the row begins
	Reason string // one word, by which they are counted: malformed, mapping_failed, a reason of the mapping's own, …
	Detail string // with values of the row, which may be personal: show it, don't log it. May be empty
	Err    error  // in words; never nil
}

func (r *Refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s", r.File, r.Line, r.Reason)
	if r.Err != nil {
		fmt.Fprintf(&b, ": %v", r.Err)
	}
	return b.String()
}

func (r *Refusal) Unwrap() error { return r.Err }

// Report counts what became of a file. Rows = CallRows + Ignored + Refused, once the sequence has ended.
type Report struct {
	File     string
	Rows     int64 // blank lines and the header don't count
	CallRows int64 // rows that are in calls
	Ignored  int64 // rows that the mapping ignores by declaration
	Calls    int64 // calls made, skipped ones included
	Skipped  int64 // calls that a resumed import had already behind it
	Events   []EventCount
	Refused  int64
	Reasons  []ReasonCount // most first
}

// EventCount counts calls by event name ("identify" for identifies), in the order of their first call.
type EventCount struct {
	Event string
	Calls int64
}

// ReasonCount counts refused rows by reason, with the lines of the first few.
type ReasonCount struct {
	Reason string
	Rows   int64
	Lines  []int
	Why    string // of the first, in words; empty where the mapping declares the reason
}

// exampleLines is how many lines a reason names; countedEvents bounds a list that data could blow up.
const (
	exampleLines  = 3
	countedEvents = 50
)

func (r *Report) refuse(no Refusal) {
	r.Refused++
	i := slices.IndexFunc(r.Reasons, func(c ReasonCount) bool { return c.Reason == no.Reason })
	if i < 0 {
		i = len(r.Reasons)
		r.Reasons = append(r.Reasons, ReasonCount{Reason: no.Reason})
		if !no.declared() {
			r.Reasons[i].Why = no.Err.Error()
		}
	}
	c := &r.Reasons[i]
	c.Rows++
	if len(c.Lines) < exampleLines {
		c.Lines = append(c.Lines, no.Line)
	}
}

func (r *Report) call(event string) {
	r.Calls++
	i := slices.IndexFunc(r.Events, func(c EventCount) bool { return c.Event == event })
	if i < 0 {
		if len(r.Events) == countedEvents {
			event = "(other)"
		}
		if i = slices.IndexFunc(r.Events, func(c EventCount) bool { return c.Event == event }); i < 0 {
			i = len(r.Events)
			r.Events = append(r.Events, EventCount{Event: event})
		}
	}
	r.Events[i].Calls++
}

// snapshot is a copy that later counting doesn't touch.
func (r *Report) snapshot() Report {
	out := *r
	out.Events = slices.Clone(r.Events)
	out.Reasons = slices.Clone(r.Reasons)
	for i := range out.Reasons {
		out.Reasons[i].Lines = slices.Clone(out.Reasons[i].Lines)
	}
	slices.SortStableFunc(out.Reasons, func(a, b ReasonCount) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// String is the report as people read it, several lines with an end.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s rows: %s in %s calls, %s refused\n", r.File, thousands(r.Rows), thousands(r.CallRows), thousands(r.Calls), thousands(r.Refused))
	if r.Skipped > 0 {
		fmt.Fprintf(&b, "  %11s  calls were imported before and skipped\n", thousands(r.Skipped))
	}
	if r.Ignored > 0 {
		fmt.Fprintf(&b, "  %11s  rows were ignored, as the mapping says\n", thousands(r.Ignored))
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, "  %11s  %s\n", thousands(e.Calls), e.Event)
	}
	for _, c := range r.Reasons {
		lines := make([]string, len(c.Lines))
		for i, n := range c.Lines {
			lines[i] = strconv.Itoa(n)
		}
		word, more := "line", ""
		if c.Rows > 1 {
			word = "lines"
		}
		if c.Rows > int64(len(c.Lines)) {
			more = ", …"
		}
		fmt.Fprintf(&b, "  %11s  refused: %s (%s %s%s)\n", thousands(c.Rows), c.Reason, word, strings.Join(lines, ", "), more)
		if c.Why != "" {
			fmt.Fprintf(&b, "               %s\n", c.Why)
		}
	}
	return b.String()
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
