package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
)

// Bounds of one rule.
const (
	MaxText  = 8 << 10 // bytes of text
	MaxDepth = 50      // of nesting
	MaxCount = 1000    // below which number count(…) may be compared: a profile keeps that many times
)

// Compiler reads rules. It is safe for concurrent use.
type Compiler struct {
	env   *cel.Env
	zones *zones
	tiers []string
	// propensities are the names that may be asked for; nil: not known here.
	propensities []string
}

// NewCompiler prepares the language. With the names of the loyalty tiers it refuses to compare customer.tier with another.
func NewCompiler(tiers ...string) (*Compiler, error) {
	env, err := cel.NewCustomEnv(declarations()...)
	if err != nil {
		return nil, fmt.Errorf("rule compiler: %w", err)
	}
	return &Compiler{env: env, zones: newZones(), tiers: tiers}, nil
}

// Foretelling is the compiler with the names of the propensities that are foretold: it refuses to ask for another.
func (c *Compiler) Foretelling(propensities ...string) *Compiler {
	known := *c
	known.propensities = append([]string{}, propensities...)
	return &known
}

// Option says what a rule may ask besides the customer.
type Option func(*options)

type options struct {
	segments  map[string]bool
	inSegment bool
	event     bool
	campaign  bool
	// propensities are the compiler's.
	propensities []string
}

// WithSegments allows in_segment of these ids, and makes the rule a campaign's (see [Leaf.ID]).
func WithSegments(known map[string]bool) Option {
	return func(o *options) { o.segments, o.inSegment, o.campaign = known, true, true }
}

// WithOtherSegments allows in_segment of these ids in a segment's own rule. A cycle is for the caller to find.
func WithOtherSegments(known map[string]bool) Option {
	return func(o *options) { o.segments, o.inSegment = known, true }
}

// WithEvent allows to ask about the triggering event (event.name, event.properties.x, property("x")), and makes
// the rule a campaign's (see [Leaf.ID]).
func WithEvent() Option { return func(o *options) { o.event, o.campaign = true, true } }

// Compile reads one rule. Its error joins one *[Error] per mistake, in the order of the text.
func (c *Compiler) Compile(text string, opts ...Option) (*Rule, error) {
	o := options{propensities: c.propensities}
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case strings.TrimSpace(text) == "":
		return nil, &Error{Line: 1, Column: 1, Message: "the rule is empty", Hint: `write a condition, such as ever("Order Completed")`}
	case len(text) > MaxText:
		return nil, &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the rule has %d bytes, at most %d are allowed", len(text), MaxText)}
	case !utf8.ValidString(text):
		return nil, &Error{Line: 1, Column: 1, Message: "the rule is not valid UTF-8"}
	}
	text = strings.TrimRight(text, " \t\r\n") // what is missing at the end is missing where the rule ends
	parsed, issues := c.env.Parse(text)
	if err := issues.Err(); err != nil {
		return nil, syntaxErrors(text, issues.Errors())
	}
	t := newTranslator(text, parsed.NativeRep(), o)
	t.tiers = c.tiers
	root := t.boolean(parsed.NativeRep().Expr(), 1)
	if err := t.errors(); err != nil {
		return nil, err
	}
	// What the translator accepts has only known functions and types. CEL's own checker must agree.
	if _, issues := c.env.Check(parsed); issues.Err() != nil {
		return nil, checkErrors(issues.Errors())
	}
	r := t.rule(root)
	r.zones = c.zones
	return r, nil
}
