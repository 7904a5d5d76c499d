package rule

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"attune/pipeline/spelling"
)

// Error is one mistake in a rule's text.
type Error struct {
	Line, Column int // 1-based, in characters, in the rule's text
	Message      string
	Hint         string // what to write instead; may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Errors are the mistakes that err wraps and joins, in order; nil when it holds none.
func Errors(err error) []*Error {
	switch e := err.(type) { //nolint:errorlint // this is the walk that errors.As does, for all instead of the first
	case *Error:
		return []*Error{e}
	case interface{ Unwrap() error }:
		return Errors(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*Error
		for _, one := range e.Unwrap() {
			all = append(all, Errors(one)...)
		}
		return all
	}
	return nil
}

// maxErrors bounds how many mistakes of one rule are told.
const maxErrors = 10

func join(errs []*Error) error {
	if len(errs) == 0 {
		return nil
	}
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs = slices.CompactFunc(errs, func(a, b *Error) bool { return *a == *b })
	if len(errs) == 1 {
		return errs[0]
	}
	joined := make([]error, 0, maxErrors)
	for _, e := range errs[:min(len(errs), maxErrors)] {
		joined = append(joined, e)
	}
	return errors.Join(joined...)
}

func syntaxErrors(text string, found []*cel.Error) error {
	var errs []*Error
	lines := strings.Split(text, "\n")
	for _, f := range found {
		e := &Error{Line: max(f.Location.Line(), 1), Column: f.Location.Column() + 1, Message: plainSyntax(f.Message)}
		if e.Column < 1 {
			e.Column = 1
		}
		if e.Line <= len(lines) {
			e.Hint = syntaxHint(lines[e.Line-1], e.Message)
		}
		errs = append(errs, e)
	}
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return join(errs[:min(1, len(errs))]) // what follows a syntax error is mostly its echo
}

// plainSyntax says what the parser found in fewer words.
func plainSyntax(message string) string {
	m := strings.TrimPrefix(message, "Syntax error: ")
	if strings.Contains(m, "recursion limit") || strings.Contains(m, "recursion depth") {
		return fmt.Sprintf("the rule is nested deeper than %d levels", MaxDepth)
	}
	if i := strings.Index(m, " expecting "); i > 0 {
		m = m[:i]
	}
	if quote, found := strings.CutPrefix(m, "token recognition error at: '"); found && strings.ContainsAny(quote[:min(1, len(quote))], "\"'") {
		return "this string has no closing quote"
	}
	for _, words := range [][2]string{
		{"mismatched input", "unexpected"}, {"extraneous input", "unexpected"}, {"no viable alternative at input", "unexpected"},
		{"token recognition error at: ", "unexpected character "}, {"'<EOF>'", "end of the rule"}, {"<EOF>", "end of the rule"},
	} {
		m = strings.Replace(m, words[0], words[1], 1)
	}
	if strings.HasSuffix(m, " '") { // the lexer quotes the blank after it as well
		m = strings.TrimRight(m, " '") + "'"
	}
	return m
}

func syntaxHint(line, message string) string {
	switch {
	case strings.Contains(message, "nested deeper"):
		return "split the rule into several segments"
	case regexp.MustCompile(`(?i)[\s)](and|or)[\s(]`).MatchString(line):
		return "write && for and, || for or"
	case regexp.MustCompile(`(?i)^\s*not\s|[\s(]not\s`).MatchString(line):
		return "write ! for not"
	case strings.Contains(line, "=>") || strings.Contains(line, "=<"):
		return "write >= or <="
	case regexp.MustCompile(`[^=!<>]=([^=]|$)`).MatchString(line):
		return "write == to compare"
	case regexp.MustCompile(`[^&]&([^&]|$)|[^|]\|([^|]|$)`).MatchString(line):
		return "write && for and, || for or"
	}
	return ""
}

func checkErrors(found []*cel.Error) error {
	var errs []*Error
	for _, f := range found {
		errs = append(errs, &Error{Line: max(f.Location.Line(), 1), Column: max(f.Location.Column()+1, 1), Message: f.Message})
	}
	return join(errs)
}

// nearest is a hint that names the known word closest to what was written, or lists them when none is close.
func nearest(written string, known []string, list string) string {
	known = slices.Sorted(slices.Values(known))
	if best := spelling.Nearest(written, known); best != "" {
		return "did you mean " + best + "?"
	}
	return list
}
