package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	gonja "github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// The tags. Each holds its location for errors; gonja's parser asks for String and Position.
type (
	ifTag struct {
		at         *tokens.Token
		conditions []nodes.Expression
		bodies     []*nodes.Wrapper // one more than the conditions when there is an else
	}
	forTag struct {
		at         *tokens.Token
		key, value string // value: only for {% for key, value in … %}
		items      nodes.Expression
		condition  nodes.Expression // nil: all
		body       *nodes.Wrapper
		otherwise  *nodes.Wrapper // nil: nothing
	}
	setTag struct {
		at    *tokens.Token
		name  string
		value nodes.Expression
	}
	rawTag struct {
		at   *tokens.Token
		text string
	}
)

func (t *ifTag) Position() *tokens.Token  { return t.at }
func (t *forTag) Position() *tokens.Token { return t.at }
func (t *setTag) Position() *tokens.Token { return t.at }
func (t *rawTag) Position() *tokens.Token { return t.at }
func (t *ifTag) String() string           { return "if" }
func (t *forTag) String() string          { return "for" }
func (t *setTag) String() string          { return "set" }
func (t *rawTag) String() string          { return "raw" }

// grammar are the tags that there are; gonja's parser asks it by name.
type grammar struct{ depth int }

func (g *grammar) Get(name string) (parser.ControlStructureParser, bool) {
	var parse func(p, args *parser.Parser) (nodes.ControlStructure, error)
	switch name {
	case "if":
		parse = parseIf
	case "for":
		parse = parseFor
	case "set":
		parse = parseSet
	case "raw":
		parse = parseRaw
	default:
		return nil, false
	}
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		if g.depth++; g.depth > MaxDepth {
			return nil, p.Error(fmt.Sprintf("tags are nested more than %d deep", MaxDepth), p.Current())
		}
		defer func() { g.depth-- }()
		after := p.Current()
		tag, err := parse(p, args)
		var syntax *parser.SyntaxError
		if errors.As(err, &syntax) && syntax.Line == 0 && after.Line > 0 { // the tag's arguments ended too early
			syntax.Line, syntax.Column = after.Line, max(after.Col-2, 1)
		}
		return tag, err
	}, true
}

// Parse reads a template; name is what its errors call it. A mistake is an *Error with its place.
func Parse(name, source string) (t *Template, err error) {
	defer func() {
		if r := recover(); r != nil { // a mistake that gonja's parser does not know how to tell
			t, err = nil, &Error{Name: name, Message: "not a template: its tags or expressions are malformed"}
		}
	}()
	if len(source) > MaxSource {
		return nil, &Error{Name: name, Message: fmt.Sprintf("is larger than %d KiB", MaxSource>>10)}
	}
	if !utf8.ValidString(source) {
		return nil, &Error{Name: name, Message: "is not UTF-8"}
	}
	if e := tooDeep(source); e != nil {
		e.Name = name
		return nil, e
	}
	cfg := gonja.New()
	cfg.KeepTrailingNewline = true
	stream := tokens.LexAll(source, cfg)
	p := parser.NewParser(name, stream, cfg, noFiles{}, &grammar{})
	root, err := p.Parse()
	if stream.IsError() { // the parser takes the lexer's error for the template's end
		line, column := place(source, stream.Current().Pos)
		return nil, &Error{Name: name, Line: line, Column: column, Message: "cannot be read from here on: " + lower(stream.Current().Val)}
	}
	if err != nil {
		return nil, syntaxError(name, err)
	}
	c := &checker{name: name}
	c.nodes(root.Nodes)
	if c.err != nil {
		return nil, c.err
	}
	return &Template{name: name, nodes: root.Nodes}, nil
}

// tooDeep guards the parser, which calls itself for each bracket, against more of them than it can take.
func tooDeep(source string) *Error {
	depth, line, column := 0, 1, 0
	for i := range len(source) {
		column++
		switch source[i] {
		case '\n':
			line, column = line+1, 0
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > 10*MaxDepth {
			return &Error{Line: line, Column: column, Message: "brackets are nested too deep"}
		}
	}
	return nil
}

func syntaxError(name string, err error) *Error {
	var syntax *parser.SyntaxError
	if !errors.As(err, &syntax) {
		return &Error{Name: name, Message: lower(err.Error())}
	}
	e := &Error{Name: name, Line: syntax.Line, Column: syntax.Column, Message: lower(strings.TrimSuffix(syntax.Message, "."))}
	e.Message = strings.Replace(e.Message, "expected either a number, string, keyword or identifier", "a value or a name is missing", 1)
	if strings.HasSuffix(e.Message, "expected here") && syntax.Raw != "" {
		e.Message = fmt.Sprintf("unexpected %q", syntax.Raw)
	}
	if _, tag, ok := strings.Cut(syntax.Message, "ControlStructure '"); ok {
		tag, _, _ = strings.Cut(tag, "'")
		e.Message = fmt.Sprintf("tag %q is not available", tag)
		e.Hint = "there are if, for, set and raw"
		if strings.HasPrefix(tag, "end") || tag == "else" || tag == "elif" {
			e.Message, e.Hint = fmt.Sprintf("tag %q without its beginning", tag), ""
		}
	}
	if _, tags, ok := strings.Cut(e.Message, "unexpected EOF, expected tag "); ok {
		e.Message, e.Hint = "the template ends inside a tag's body", "close it with "+tags
	}
	return e
}

func parseIf(p, args *parser.Parser) (nodes.ControlStructure, error) {
	t := &ifTag{at: args.Current()}
	condition, err := wholeExpression(args, "if")
	if err != nil {
		return nil, err
	}
	t.conditions = append(t.conditions, condition)
	for {
		body, rest, err := p.WrapUntil("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		t.bodies = append(t.bodies, body)
		switch {
		case body.EndTag == "endif":
			return t, nothingMore(rest, "endif")
		case len(t.bodies) > len(t.conditions):
			return nil, p.Error("an if has one else, and it is the last", p.Current())
		case body.EndTag == "else":
			if err := nothingMore(rest, "else"); err != nil {
				return nil, err
			}
		default:
			if condition, err = wholeExpression(rest, "elif"); err != nil {
				return nil, err
			}
			t.conditions = append(t.conditions, condition)
		}
	}
}

func parseFor(p, args *parser.Parser) (nodes.ControlStructure, error) {
	t := &forTag{at: args.Current()}
	key := args.Match(tokens.Name)
	if key == nil {
		return nil, args.Error("for wants a name: {% for item in items %}", t.at)
	}
	t.key = key.Val
	if args.Match(tokens.Comma) != nil {
		value := args.Match(tokens.Name)
		if value == nil {
			return nil, args.Error("for wants a second name after the comma", args.Current())
		}
		t.value = value.Val
	}
	if args.Match(tokens.In) == nil {
		return nil, args.Error(`for wants "in" after its names`, args.Current())
	}
	var err error
	if t.items, err = args.ParseExpression(); err != nil {
		return nil, err
	}
	if args.MatchName("if") != nil {
		if t.condition, err = args.ParseExpression(); err != nil {
			return nil, err
		}
	}
	if err := nothingMore(args, "for"); err != nil {
		return nil, err
	}
	body, rest, err := p.WrapUntil("else", "endfor")
	if err != nil {
		return nil, err
	}
	t.body = body
	if body.EndTag == "else" {
		if t.otherwise, rest, err = p.WrapUntil("endfor"); err != nil {
			return nil, err
		}
	}
	return t, nothingMore(rest, "endfor")
}

func parseSet(_, args *parser.Parser) (nodes.ControlStructure, error) {
	t := &setTag{at: args.Current()}
	name := args.Match(tokens.Name)
	if name == nil || args.Match(tokens.Assign) == nil {
		return nil, args.Error("set wants a name and a value: {% set total = 3 %}", t.at)
	}
	t.name = name.Val
	var err error
	t.value, err = wholeExpression(args, "set")
	return t, err
}

func parseRaw(p, args *parser.Parser) (nodes.ControlStructure, error) {
	t := &rawTag{at: p.Current()}
	body, _, err := p.WrapUntil("endraw")
	if err != nil {
		return nil, err
	}
	for _, n := range body.Nodes {
		data, ok := n.(*nodes.Data)
		if !ok {
			return nil, p.Error("raw holds text only", n.Position())
		}
		t.text += data.Data.Val
	}
	return t, nothingMore(args, "raw")
}

func wholeExpression(p *parser.Parser, tag string) (nodes.Expression, error) {
	e, err := p.ParseExpression()
	if err != nil {
		return nil, err
	}
	return e, nothingMore(p, tag)
}

func nothingMore(p *parser.Parser, tag string) error {
	if p.End() {
		return nil
	}
	return p.Error(fmt.Sprintf("unexpected %q in %s", p.Current().Val, tag), p.Current())
}

// checker finds, when a template is parsed, what would fail when it is rendered.
type checker struct {
	name  string
	depth int
	err   error
}

func (c *checker) fail(at *tokens.Token, hint, format string, args ...any) {
	if c.err != nil {
		return
	}
	e := &Error{Name: c.name, Message: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil {
		e.Line, e.Column = at.Line, at.Col
	}
	c.err = e
}

func (c *checker) nodes(list []nodes.Node) {
	for _, n := range list {
		switch n := n.(type) {
		case *nodes.Output:
			c.expression(n.Expression, n.Start)
			if n.Condition != nil {
				c.expression(n.Condition, n.Start)
			}
			if n.Alternative != nil {
				c.expression(n.Alternative, n.Start)
			}
		case *nodes.ControlStructureBlock:
			switch tag := n.ControlStructure.(type) {
			case *ifTag:
				for _, condition := range tag.conditions {
					c.expression(condition, n.Location)
				}
				for _, body := range tag.bodies {
					c.nodes(body.Nodes)
				}
			case *forTag:
				c.expression(tag.items, n.Location)
				if tag.condition != nil {
					c.expression(tag.condition, n.Location)
				}
				c.nodes(tag.body.Nodes)
				if tag.otherwise != nil {
					c.nodes(tag.otherwise.Nodes)
				}
			case *setTag:
				c.expression(tag.value, n.Location)
			}
		}
	}
}

// expression checks one expression; near is the place to name when it has none of its own.
func (c *checker) expression(n nodes.Node, near *tokens.Token) {
	if c.depth++; c.depth > MaxDepth {
		c.fail(near, "", "an expression is nested more than %d deep", MaxDepth)
	}
	defer func() { c.depth-- }()
	if c.err != nil {
		return
	}
	all := func(list []nodes.Expression) {
		for _, e := range list {
			c.expression(e, near)
		}
	}
	switch n := n.(type) {
	case *nodes.None, *nodes.String, *nodes.Integer, *nodes.Float, *nodes.Bool, *nodes.Name:
	case *nodes.List:
		all(n.Val)
	case *nodes.Tuple:
		all(n.Val)
	case *nodes.Dict:
		for _, pair := range n.Pairs {
			c.expression(pair.Key, near)
			c.expression(pair.Value, near)
		}
	case *nodes.GetAttribute:
		c.expression(n.Node, near)
	case *nodes.GetItem:
		c.expression(n.Node, near)
		c.expression(n.Arg, n.Location)
	case *nodes.GetSlice:
		if n.Step != nil {
			c.fail(n.Location, "leave it out", "a slice's step is not available")
		}
		c.expression(n.Node, near)
		for _, bound := range []nodes.Node{n.Start, n.End} {
			if bound != nil {
				c.expression(bound, n.Location)
			}
		}
	case *nodes.Negation:
		c.expression(n.Term, n.Operator)
	case *nodes.UnaryExpression:
		c.expression(n.Term, n.Operator)
	case *nodes.BinaryExpression:
		c.expression(n.Left, n.Operator.Token)
		c.expression(n.Right, n.Operator.Token)
	case *nodes.FilteredExpression:
		c.expression(n.Expression, near)
		for _, f := range n.Filters {
			c.filter(f)
		}
	case *nodes.TestExpression:
		c.expression(n.Expression, near)
		if !slices.Contains(testNames(), n.Test.Name) {
			c.fail(n.Test.Token, nearest(n.Test.Name, testNames()), "unknown test %q", n.Test.Name)
		}
		all(n.Test.Args)
	case *nodes.Call:
		name := "this"
		if f, ok := n.Func.(*nodes.Name); ok {
			name = f.Name.Val
		} else if a, ok := n.Func.(*nodes.GetAttribute); ok {
			name = a.Attribute
		}
		c.fail(n.Location, "templates have filters only: {{ value | "+name+" }}", "function %q is not available", name)
	default:
		c.fail(near, "", "an expression is missing or malformed")
	}
}

func (c *checker) filter(f *nodes.FilterCall) {
	if f.Name == "safe" {
		c.fail(f.Token, "write markup into the template itself", `filter "safe" is not available: what is printed is always escaped`)
		return
	}
	if !slices.Contains(filterNames(), f.Name) {
		c.fail(f.Token, nearest(f.Name, filterNames()), "unknown filter %q", f.Name)
		return
	}
	for _, arg := range f.Args {
		c.expression(arg, f.Token)
	}
	for name, arg := range f.Kwargs {
		if name != "attribute" {
			c.fail(f.Token, "", "filter %q takes no argument %q", f.Name, name)
		}
		c.expression(arg, f.Token)
	}
}

func place(source string, offset int) (line, column int) {
	before := source[:min(max(offset, 0), len(source))]
	line = 1 + strings.Count(before, "\n")
	return line, 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// nearest is a hint: the one known name that is almost the same, else all of them.
func nearest(name string, known []string) string {
	for _, k := range known {
		if almost(name, k) {
			return fmt.Sprintf("did you mean %q?", k)
		}
	}
	return "there are " + strings.Join(known, ", ")
}

// almost tells whether one letter more, less, other or swapped makes one of the other.
func almost(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	restA, restB := a[i:], b[i:]
	tail := func(s string) string { return s[min(1, len(s)):] }
	return tail(restA) == restB || restA == tail(restB) || tail(restA) == tail(restB) ||
		len(restA) > 1 && len(restB) > 1 && restA[0] == restB[1] && restA[1] == restB[0] && restA[2:] == restB[2:]
}

func lower(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] < 'A' || s[1] > 'Z') {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}
