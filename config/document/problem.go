package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"attune/pipeline/spelling"
)

// Problem is one mistake in a file, with its place and how to mend it.
type Problem struct {
	File         string
	Line, Column int    // from 1; 0: the whole file, or no file at all
	Field        string // the path of the key: "send.template", "steps[2].expect"
	Value        string // what was written; empty where it says nothing, or is a secret
	Message      string
	Hint         string // "did you mean …"; may be empty
}

// Error prints the problem as compilers do.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(": " + p.Hint)
	}
	return b.String()
}

// Problems are all mistakes that were found, not only the first.
type Problems []Problem

// Error prints one line a problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err sorts the problems by place and drops repeats; nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(sorted)
}

// DidYouMean is a hint with the nearest of the words; when none is near, all of them if they are few.
func DidYouMean(word string, known []string) string {
	best := spelling.Nearest(word, known)
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return ""
	case len(known) > 20:
		return ""
	}
	sorted := slices.Sorted(slices.Values(known))
	if len(sorted) == 1 {
		return "there is only " + sorted[0]
	}
	return "there are " + strings.Join(sorted[:len(sorted)-1], ", ") + " and " + sorted[len(sorted)-1]
}
