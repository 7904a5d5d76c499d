package template

import (
	"fmt"
	"html"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// rendering is one run of a template.
type rendering struct {
	name   string
	escape bool
	steps  int
	out    strings.Builder
	scope  *scope
}

// scope are the names in force: those of a loop's round hide those outside.
type scope struct {
	names map[string]any
	outer *scope
}

func (s *scope) get(name string) any {
	for ; s != nil; s = s.outer {
		if v, ok := s.names[name]; ok {
			return v
		}
	}
	return nil
}

func (t *Template) render(data map[string]any, escape bool) (string, error) {
	r := &rendering{name: t.name, escape: escape, scope: &scope{names: data}}
	r.scope = &scope{names: map[string]any{}, outer: r.scope}
	if err := r.nodes(t.nodes); err != nil {
		return "", err
	}
	return r.out.String(), nil
}

func (r *rendering) fail(at *tokens.Token, format string, args ...any) error {
	e := &Error{Name: r.name, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		e.Line, e.Column = at.Line, at.Col
	}
	return e
}

func (r *rendering) step(at *tokens.Token) error {
	if r.steps++; r.steps > MaxSteps {
		return r.fail(at, "the template takes more than %d steps", MaxSteps)
	}
	return nil
}

func (r *rendering) write(at *tokens.Token, s string) error {
	if r.out.Len()+len(s) > MaxOutput {
		return r.fail(at, "the template prints more than %d KiB", MaxOutput>>10)
	}
	r.out.WriteString(s)
	return nil
}

func (r *rendering) nodes(list []nodes.Node) error {
	for _, n := range list {
		if err := r.node(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *rendering) node(n nodes.Node) error {
	switch n := n.(type) {
	case *nodes.Data:
		text := n.Data.Val
		if n.RemoveFirstLineReturn {
			text = strings.TrimPrefix(text, "\n")
		}
		if n.Trim.Left {
			text = strings.TrimLeft(text, " \r\n\t")
		}
		if n.Trim.Right {
			text = strings.TrimRight(text, " \r\n\t")
		}
		return r.write(n.Data, text)
	case *nodes.Output:
		return r.output(n)
	case *nodes.ControlStructureBlock:
		switch tag := n.ControlStructure.(type) {
		case *ifTag:
			return r.branch(tag)
		case *forTag:
			return r.loop(tag)
		case *setTag:
			v, err := r.eval(tag.value)
			if err == nil {
				r.scope.names[tag.name] = v
			}
			return err
		case *rawTag:
			return r.write(tag.at, tag.text)
		}
	}
	return nil // a comment, or the template's end
}

func (r *rendering) output(n *nodes.Output) error {
	expression := n.Expression
	if n.Condition != nil {
		v, err := r.eval(n.Condition)
		if err != nil {
			return err
		}
		if !truth(v) {
			expression = n.Alternative
		}
	}
	if expression == nil {
		return nil
	}
	v, err := r.eval(expression)
	if err != nil {
		return err
	}
	s := text(v)
	if r.escape {
		s = html.EscapeString(s)
	}
	return r.write(n.Start, s)
}

func (r *rendering) branch(tag *ifTag) error {
	for i, condition := range tag.conditions {
		v, err := r.eval(condition)
		if err != nil {
			return err
		}
		if truth(v) {
			return r.nodes(tag.bodies[i].Nodes)
		}
	}
	if len(tag.bodies) > len(tag.conditions) {
		return r.nodes(tag.bodies[len(tag.conditions)].Nodes)
	}
	return nil
}

func (r *rendering) loop(tag *forTag) error {
	over, err := r.eval(tag.items)
	if err != nil {
		return err
	}
	outer := r.scope
	defer func() { r.scope = outer }()
	var rounds []map[string]any
	visit := func(names map[string]any) error {
		if err := r.step(tag.at); err != nil {
			return err
		}
		if tag.condition != nil {
			r.scope = &scope{names: names, outer: outer}
			if v, err := r.eval(tag.condition); err != nil || !truth(v) {
				return err
			}
		}
		rounds = append(rounds, names)
		return nil
	}
	switch over := over.(type) {
	case map[string]any:
		for _, k := range sortedKeys(over) {
			names := map[string]any{tag.key: k}
			if tag.value != "" {
				names[tag.value] = normal(over[k])
			}
			if err := visit(names); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range over {
			names := map[string]any{tag.key: normal(item)}
			if pair, ok := normal(item).([]any); ok && tag.value != "" && len(pair) == 2 {
				names = map[string]any{tag.key: normal(pair[0]), tag.value: normal(pair[1])}
			}
			if err := visit(names); err != nil {
				return err
			}
		}
	}
	if len(rounds) == 0 && tag.otherwise != nil {
		r.scope = &scope{names: map[string]any{}, outer: outer}
		return r.nodes(tag.otherwise.Nodes)
	}
	for i, names := range rounds {
		names["loop"] = map[string]any{
			"index": float64(i + 1), "index0": float64(i), "first": i == 0, "last": i == len(rounds)-1,
			"length": float64(len(rounds)), "revindex": float64(len(rounds) - i), "revindex0": float64(len(rounds) - i - 1),
		}
		r.scope = &scope{names: names, outer: outer}
		if err := r.nodes(tag.body.Nodes); err != nil {
			return err
		}
	}
	return nil
}

// eval computes an expression: nil, a bool, a float64, a string, a []any or a map[string]any.
func (r *rendering) eval(n nodes.Node) (any, error) {
	if err := r.step(nil); err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case *nodes.String:
		return n.Val, nil
	case *nodes.Integer:
		return float64(n.Val), nil
	case *nodes.Float:
		return n.Val, nil
	case *nodes.Bool:
		return n.Val, nil
	case *nodes.Name:
		return normal(r.scope.get(n.Name.Val)), nil
	case *nodes.List:
		return r.list(n.Val)
	case *nodes.Tuple:
		return r.list(n.Val)
	case *nodes.Dict:
		m := map[string]any{}
		for _, pair := range n.Pairs {
			k, err := r.eval(pair.Key)
			if err != nil {
				return nil, err
			}
			if m[text(k)], err = r.eval(pair.Value); err != nil {
				return nil, err
			}
		}
		return m, nil
	case *nodes.GetAttribute:
		v, err := r.eval(n.Node)
		if err != nil {
			return nil, err
		}
		if n.Attribute == "" {
			return item(v, float64(n.Index)), nil
		}
		return item(v, n.Attribute), nil
	case *nodes.GetItem:
		v, err := r.eval(n.Node)
		if err != nil {
			return nil, err
		}
		k, err := r.eval(n.Arg)
		if err != nil {
			return nil, err
		}
		return item(v, k), nil
	case *nodes.GetSlice:
		return r.slice(n)
	case *nodes.Negation:
		v, err := r.eval(n.Term)
		return !truth(v), err
	case *nodes.UnaryExpression:
		v, err := r.eval(n.Term)
		f, ok := number(v)
		if err != nil || !ok {
			return nil, err
		}
		if n.Negative {
			f = -f
		}
		return f, nil
	case *nodes.BinaryExpression:
		return r.binary(n)
	case *nodes.FilteredExpression:
		v, err := r.eval(n.Expression)
		for _, f := range n.Filters {
			if err != nil {
				return nil, err
			}
			v, err = r.filter(f, v)
		}
		return v, err
	case *nodes.TestExpression:
		v, err := r.eval(n.Expression)
		if err != nil {
			return nil, err
		}
		args, err := r.list(n.Test.Args)
		if err != nil {
			return nil, err
		}
		return test(n.Test.Name, v, args), nil
	}
	return nil, nil // None; anything else was refused by Parse
}

func (r *rendering) list(expressions []nodes.Expression) ([]any, error) {
	list := make([]any, 0, len(expressions))
	for _, e := range expressions {
		v, err := r.eval(e)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *rendering) slice(n *nodes.GetSlice) (any, error) {
	v, err := r.eval(n.Node)
	if err != nil {
		return nil, err
	}
	length := 0
	var runes []rune
	list, isList := v.([]any)
	s, isText := v.(string)
	switch {
	case isList:
		length = len(list)
	case isText:
		runes = []rune(s)
		length = len(runes)
	default:
		return nil, nil
	}
	bound := func(n nodes.Node, missing int) (int, error) {
		if n == nil {
			return missing, nil
		}
		v, err := r.eval(n)
		f, ok := number(v)
		if err != nil || !ok {
			return missing, err
		}
		if f < 0 {
			f += float64(length)
		}
		return int(math.Max(0, math.Min(f, float64(length)))), nil
	}
	from, err := bound(n.Start, 0)
	if err != nil {
		return nil, err
	}
	to, err := bound(n.End, length)
	if err != nil {
		return nil, err
	}
	to = max(from, to)
	if isList {
		return list[from:to], nil
	}
	return string(runes[from:to]), nil
}

func (r *rendering) binary(n *nodes.BinaryExpression) (any, error) {
	left, err := r.eval(n.Left)
	if err != nil {
		return nil, err
	}
	operator := n.Operator.Token
	switch { // only these leave their right side alone
	case operator.Type == tokens.And && !truth(left), operator.Type == tokens.Or && truth(left):
		return left, nil
	}
	right, err := r.eval(n.Right)
	if err != nil {
		return nil, err
	}
	switch operator.Type {
	case tokens.And, tokens.Or:
		return right, nil
	case tokens.Equals:
		return equal(left, right), nil
	case tokens.Ne:
		return !equal(left, right), nil
	case tokens.LowerThan, tokens.LowerThanOrEqual, tokens.GreaterThan, tokens.GreaterThanOrEqual:
		c, ok := compare(left, right)
		if !ok {
			return false, nil
		}
		switch operator.Type {
		case tokens.LowerThan:
			return c < 0, nil
		case tokens.LowerThanOrEqual:
			return c <= 0, nil
		case tokens.GreaterThan:
			return c > 0, nil
		}
		return c >= 0, nil
	case tokens.Tilde:
		return r.join(operator, text(left), text(right))
	case tokens.Addition:
		_, leftText := left.(string)
		_, rightText := right.(string)
		if leftText && rightText {
			return r.join(operator, text(left), text(right))
		}
	case tokens.In:
		return contains(right, left), nil
	}
	a, ok := number(left)
	b, ok2 := number(right)
	if !ok || !ok2 {
		return nil, nil
	}
	return arithmetic(operator.Type, a, b), nil
}

// arithmetic is nil where there is no finite answer.
func arithmetic(operator tokens.Type, a, b float64) any {
	var f float64
	switch operator {
	case tokens.Addition:
		f = a + b
	case tokens.Subtraction:
		f = a - b
	case tokens.Multiply:
		f = a * b
	case tokens.Division:
		f = a / b
	case tokens.FloorDivision:
		f = math.Floor(a / b)
	case tokens.Modulo:
		f = a - b*math.Floor(a/b)
	case tokens.Power:
		f = math.Pow(a, b)
	default:
		return nil
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

func (r *rendering) join(at *tokens.Token, parts ...string) (any, error) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > MaxOutput {
		return nil, r.fail(at, "a value grows beyond %d KiB", MaxOutput>>10)
	}
	r.steps += size / 64 // copying is work too
	return strings.Join(parts, ""), nil
}

func runes(s string) int { return utf8.RuneCountInString(s) }
