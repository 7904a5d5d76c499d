package rule

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
)

// Mention is one place of a rule's text that names a trait, or a property of an event.
type Mention struct {
	// Trait tells a trait from a property.
	Trait bool
	// Path is its name, nested ones with dots, as it is written.
	Path         string
	Line, Column int // 1-based, in characters, in the rule's text
	// Value tells that the answer depends on what it is. Else a hash in its place serves as well: the rule asks whether it
	// is there, how many different ones there are, or compares with a hash, or with true or false.
	Value bool
}

// hashPrefix begins what normalizing puts in the place of a personal value.
const hashPrefix = "hash:"

// Mentions are the traits and properties that the rule's text names, in the order in which they are read.
func (r *Rule) Mentions() []Mention {
	all := make([]Mention, len(r.mentions))
	for i, m := range r.mentions {
		all[i] = *m
	}
	return all
}

// mention notes a trait or a property where it is named.
func (t *translator) mention(e ast.Expr, trait bool, path string) *Mention {
	at := t.info.GetLocationByOffset(t.start(e))
	m := &Mention{Trait: trait, Path: path, Line: at.Line(), Column: at.Column() + 1, Value: true}
	t.mentions = append(t.mentions, m)
	return m
}

// comparedWith notes what a mention is compared with; of nil nothing.
func (m *Mention) comparedWith(want ...constant) {
	if m != nil {
		m.Value = slices.ContainsFunc(want, constant.unlikeAHash)
	}
}

// needsValue tells whether a hash in the place of the value would fail the test.
func (t *test) needsValue() bool {
	return t.op != present && (len(t.want) == 0 || slices.ContainsFunc(t.want, constant.unlikeAHash))
}

// unlikeAHash tells whether a value that equals the constant is none that personal fields can have: a hash, or a flag,
// which is never personal.
func (c constant) unlikeAHash() bool {
	return !(c.kind == aBool || c.kind == aString && strings.HasPrefix(c.text, hashPrefix))
}
