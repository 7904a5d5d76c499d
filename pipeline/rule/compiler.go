package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

// Bounds of one rule.
const (
	MaxText  = 8 << 10 // bytes of text
	MaxDepth = 50      // of nesting
	MaxCount = 1000    // that count(…) may be compared with: a profile keeps that many times
)

// Compiler reads rules. It is safe for concurrent use.
type Compiler struct{ env *cel.Env }

// NewCompiler prepares the language.
func NewCompiler() (*Compiler, error) {
	env, err := cel.NewCustomEnv(declarations()...)
	if err != nil {
		return nil, fmt.Errorf("rule compiler: %w", err)
	}
	return &Compiler{env: env}, nil
}

// Option says what a rule may ask besides the customer.
type Option func(*options)

type options struct {
	segments  map[string]bool
	inSegment bool
	event     bool
}

// WithSegments allows in_segment of these ids, and makes the rule a campaign's (see [Leaf.ID]).
func WithSegments(known map[string]bool) Option {
	return func(o *options) { o.segments, o.inSegment = known, true }
}

// WithEvent allows to ask about the triggering event (event.name, event.properties.x, property("x")), and makes
// the rule a campaign's (see [Leaf.ID]).
func WithEvent() Option { return func(o *options) { o.event = true } }

// Compile reads one rule. Its error joins one *[Error] per mistake, in the order of the text.
func (c *Compiler) Compile(text string, opts ...Option) (*Rule, error) {
	var o options
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
	root := t.boolean(parsed.NativeRep().Expr(), 1)
	if err := t.errors(); err != nil {
		return nil, err
	}
	// What the translator accepts has only known functions and types. CEL's own checker must agree.
	if _, issues := c.env.Check(parsed); issues.Err() != nil {
		return nil, checkErrors(issues.Errors())
	}
	return t.rule(root), nil
}

// declarations are the closed set of functions and variables, and nothing of CEL's standard library.
func declarations() []cel.EnvOption {
	filter := cel.MapType(cel.StringType, cel.DynType)
	function := func(name string, result *cel.Type, args ...[]*cel.Type) cel.EnvOption {
		var overloads []cel.FunctionOpt
		for i, a := range args {
			overloads = append(overloads, cel.Overload(fmt.Sprintf("rule_%s_%d", strings.Trim(name, "@_"), i), a, result))
		}
		return cel.Function(name, overloads...)
	}
	types := func(t ...*cel.Type) []*cel.Type { return t }
	pair := func(t *cel.Type) []*cel.Type { return types(t, t) }
	numbers := [][]*cel.Type{
		pair(cel.IntType), pair(cel.DoubleType),
		types(cel.IntType, cel.DoubleType), types(cel.DoubleType, cel.IntType),
	}
	anything := append([][]*cel.Type{pair(cel.StringType), pair(cel.BoolType)}, numbers...)
	windowed := [][]*cel.Type{pair(cel.StringType), types(cel.StringType, filter, cel.StringType)}
	text := types(cel.StringType)

	opts := []cel.EnvOption{
		cel.ClearMacros(),
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ParserRecursionLimit(MaxDepth),
		cel.ParserErrorRecoveryLimit(10),
		function(operators.LogicalAnd, cel.BoolType, pair(cel.BoolType)),
		function(operators.LogicalOr, cel.BoolType, pair(cel.BoolType)),
		function(operators.LogicalNot, cel.BoolType, types(cel.BoolType)),
		function(operators.Equals, cel.BoolType, anything...),
		function(operators.NotEquals, cel.BoolType, anything...),
		function(operators.Less, cel.BoolType, numbers...),
		function(operators.LessEquals, cel.BoolType, numbers...),
		function(operators.Greater, cel.BoolType, numbers...),
		function(operators.GreaterEquals, cel.BoolType, numbers...),
		function(operators.In, cel.BoolType, types(cel.StringType, cel.ListType(cel.StringType))),
		function("did", cel.BoolType, windowed...),
		function("count", cel.IntType, windowed...),
		function("ever", cel.BoolType, text),
		function("total", cel.IntType, text),
		function("consent", cel.BoolType, text),
		function("trait", cel.DynType, text),
		function("has_trait", cel.BoolType, text),
		function("in_segment", cel.BoolType, text),
		function("property", cel.DynType, text),
		function("has_property", cel.BoolType, text),
		cel.Variable("event.name", cel.StringType),
		cel.Variable("event.properties", filter),
	}
	for name := range customerNumbers() {
		opts = append(opts, cel.Variable("customer."+name, cel.DoubleType))
	}
	return opts
}

// customerNumbers are the numbers of the customer, by their names after "customer.".
func customerNumbers() map[string]numberKind {
	return map[string]numberKind{
		"clv": scoreCLV, "alive": scoreAlive, "orders": orderCount, "refunds": refundCount,
		"revenue": revenue, "net_revenue": netRevenue,
	}
}
