package rule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
)

func languageHint() string {
	return "not in Attune's rule language; it has: did, count, sum, avg, min, max, distinct, first, last, since, until, ever, total, " +
		"sequence, followed, not_followed, trait, has_trait, consent, customer.…, propensity, confidence, affinity, favourite, in_cart, in_segment, in_percent, date, property, has_property, event.…, " +
		"&& || !, comparisons with constants, in, and contains, startsWith, endsWith, matches"
}

// signatures are the functions, as they are written.
func signatures() map[string]string {
	return map[string]string{
		"did":          `did("Event", "24h") or did("Event", {"property": "value"}, "24h")`,
		"count":        `count("Event", "24h") >= 2 or count("Event", {"property": "value"}, "24h") >= 2`,
		"sum":          `sum("Event", "property", "30d") > 100`,
		"avg":          `avg("Event", "property", "30d") > 100`,
		"min":          `min("Event", "property", "30d") < 10`,
		"max":          `max("Event", "property", "30d") > 100`,
		"distinct":     `distinct("Event", "property", "7d") >= 3`,
		"first":        `first("Event", "property") == "value", or since(first("Event")) > "30d"`,
		"last":         `last("Event", "property") == "value", or since(last("Event")) > "30d"`,
		"since":        `since("Event") > "30d", or since(trait("signed_up")) > "30d"`,
		"until":        `until(trait("renews_at")) < "7d"`,
		"date":         `trait("renews_at") < date("2026-11-27")`,
		"ever":         `ever("Event")`,
		"total":        `total("Event") >= 2`,
		"sequence":     `sequence(["Event", "Next Event"], "2h", "30d"): each within 2h after the one before, the last one in the last 30d`,
		"followed":     `followed("Event", "Next Event", "2h", "30d"): within 2h after it, in the last 30d`,
		"not_followed": `not_followed("Event", "Missing Event", "3h", "30d"): the last one of 30d, by nothing within 3h`,
		"consent":      `consent("email")`,
		"trait":        `trait("plan") == "pro"`,
		"has_trait":    `has_trait("plan")`,
		"propensity":   `propensity("purchase") >= 0.2`,
		"confidence":   `confidence("purchase") >= 0.8`,
		"affinity":     `affinity("category", "sneakers") >= 0.3`,
		"favourite":    `favourite("brand") == "Acme"`,
		"in_cart":      `in_cart("product-id")`,
		"in_segment":   `in_segment("some-segment")`,
		"in_percent":   `in_percent("some name", 10)`,
		"property":     `property("category") == "sneakers"`,
		"has_property": `has_property("category")`,
	}
}

// Functions are the names of all functions, sorted.
func Functions() []string { return slices.Sorted(maps.Keys(signatures())) }

// Variables are the names of all that is known without a function, sorted: "customer.clv" and its like.
func Variables() []string {
	names := slices.Concat(slices.Collect(maps.Keys(customerNumbers())), slices.Collect(maps.Keys(customerWords())),
		slices.Collect(maps.Keys(customerMoments())), []string{styleConfidence})
	for i := range names {
		names[i] = "customer." + names[i]
	}
	slices.Sort(names)
	return names
}

// declarations are the closed set of functions and variables, and nothing of CEL's standard library.
func declarations() []cel.EnvOption {
	filter := cel.MapType(cel.StringType, cel.DynType)
	text, anything := cel.StringType, cel.DynType
	function := func(name string, result *cel.Type, args ...[]*cel.Type) cel.EnvOption {
		var overloads []cel.FunctionOpt
		for i, a := range args {
			overloads = append(overloads, cel.Overload(fmt.Sprintf("rule_%s_%d", strings.Trim(name, "@_"), i), a, result))
		}
		return cel.Function(name, overloads...)
	}
	method := func(name string) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("rule_"+name, []*cel.Type{anything, text}, cel.BoolType))
	}
	types := func(t ...*cel.Type) []*cel.Type { return t }
	pair := func(t *cel.Type) []*cel.Type { return types(t, t) }
	orderable := [][]*cel.Type{
		pair(cel.IntType), pair(cel.DoubleType), types(cel.IntType, cel.DoubleType), types(cel.DoubleType, cel.IntType),
		pair(cel.DurationType), types(cel.DurationType, text), types(text, cel.DurationType), pair(cel.TimestampType),
	}
	equatable := append([][]*cel.Type{pair(text), pair(cel.BoolType)}, orderable...)
	// The event, maybe the property, maybe a filter, maybe a window.
	over := func(before ...*cel.Type) [][]*cel.Type {
		return [][]*cel.Type{before, append(before[:len(before):len(before)], text), append(before[:len(before):len(before)], filter), append(before[:len(before):len(before)], filter, text)}
	}
	opts := []cel.EnvOption{
		cel.ClearMacros(),
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ParserRecursionLimit(MaxDepth),
		cel.ParserErrorRecoveryLimit(10),
		function(operators.LogicalAnd, cel.BoolType, pair(cel.BoolType)),
		function(operators.LogicalOr, cel.BoolType, pair(cel.BoolType)),
		function(operators.LogicalNot, cel.BoolType, types(cel.BoolType)),
		function(operators.Equals, cel.BoolType, equatable...),
		function(operators.NotEquals, cel.BoolType, equatable...),
		function(operators.Less, cel.BoolType, orderable...),
		function(operators.LessEquals, cel.BoolType, orderable...),
		function(operators.Greater, cel.BoolType, orderable...),
		function(operators.GreaterEquals, cel.BoolType, orderable...),
		function(operators.In, cel.BoolType, types(anything, cel.ListType(anything))),
		method("startsWith"), method("endsWith"), method("contains"), method("matches"),
		function("did", cel.BoolType, over(text)...),
		function("count", cel.IntType, over(text)...),
		function("sum", cel.DoubleType, over(text, text)...),
		function("avg", cel.DoubleType, over(text, text)...),
		function("min", cel.DoubleType, over(text, text)...),
		function("max", cel.DoubleType, over(text, text)...),
		function("distinct", cel.IntType, over(text, text)...),
		function("first", anything, append(over(text, text), types(text), types(text, filter))...),
		function("last", anything, append(over(text, text), types(text), types(text, filter))...),
		function("since", cel.DurationType, types(anything)),
		function("until", cel.DurationType, types(anything)),
		function("date", cel.TimestampType, types(text)),
		function("ever", cel.BoolType, types(text)),
		function("total", cel.IntType, types(text)),
		function("sequence", cel.BoolType, types(cel.ListType(anything), text, text)),
		function("followed", cel.BoolType, types(anything, anything, text, text)),
		function("not_followed", cel.BoolType, types(anything, anything, text, text)),
		function("consent", cel.BoolType, types(text)),
		function("trait", anything, types(text)),
		function("has_trait", cel.BoolType, types(text)),
		function("propensity", cel.DoubleType, types(text)),
		function("confidence", cel.DoubleType, types(text)),
		function("affinity", cel.DoubleType, pair(text)),
		function("favourite", text, types(text)),
		function("in_cart", cel.BoolType, types(text)),
		function("in_segment", cel.BoolType, types(text)),
		function("in_percent", cel.BoolType, types(text, cel.IntType), types(text, cel.DoubleType)),
		function("property", anything, types(text)),
		function("has_property", cel.BoolType, types(text)),
		cel.Variable("event.name", text),
		cel.Variable("event.properties", filter),
	}
	for name := range customerNumbers() {
		opts = append(opts, cel.Variable("customer."+name, cel.DoubleType))
	}
	opts = append(opts, cel.Variable("customer."+styleConfidence, cel.DoubleType))
	for name := range customerWords() {
		opts = append(opts, cel.Variable("customer."+name, text))
	}
	for name := range customerMoments() {
		opts = append(opts, cel.Variable("customer."+name, cel.TimestampType))
	}
	return opts
}
