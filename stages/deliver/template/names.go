package template

import (
	"maps"
	"slices"

	"github.com/nikolalohinski/gonja/v2/nodes"
)

// collector finds the names that come from the data.
type collector struct{ names []Name }

func (c *collector) nodes(list []nodes.Node, own map[string]bool) {
	for _, n := range list {
		switch n := n.(type) {
		case *nodes.Output:
			c.expressions(own, n.Expression, n.Condition, n.Alternative)
		case *nodes.ControlStructureBlock:
			switch tag := n.ControlStructure.(type) {
			case *ifTag:
				c.expressions(own, tag.conditions...)
				for _, body := range tag.bodies {
					c.nodes(body.Nodes, own)
				}
			case *forTag:
				c.expressions(own, tag.items)
				inner := maps.Clone(own)
				inner[tag.key], inner[tag.value], inner["loop"] = true, true, true
				c.expressions(inner, tag.condition)
				c.nodes(tag.body.Nodes, inner)
				if tag.otherwise != nil {
					c.nodes(tag.otherwise.Nodes, maps.Clone(own))
				}
			case *setTag:
				c.expressions(own, tag.value)
				own[tag.name] = true
			}
		}
	}
}

func (c *collector) expressions(own map[string]bool, list ...nodes.Expression) {
	for _, e := range list {
		if e != nil {
			c.expression(e, own, nil)
		}
	}
}

// expression collects from one expression; after is the path that is taken from it.
func (c *collector) expression(n nodes.Node, own map[string]bool, after []string) {
	switch n := n.(type) {
	case *nodes.Name:
		if !own[n.Name.Val] {
			path := append([]string{n.Name.Val}, after...)
			c.names = append(c.names, Name{Path: path, Line: n.Name.Line, Column: n.Name.Col})
		}
	case *nodes.GetAttribute:
		if n.Attribute == "" {
			c.expression(n.Node, own, nil)
			return
		}
		c.expression(n.Node, own, append([]string{n.Attribute}, after...))
	case *nodes.GetItem:
		if s, ok := n.Arg.(*nodes.String); ok {
			c.expression(n.Node, own, append([]string{s.Val}, after...))
			return
		}
		c.expression(n.Node, own, nil)
		c.expression(n.Arg, own, nil)
	case *nodes.GetSlice:
		c.expression(n.Node, own, nil)
		c.expressions(own, n.Start, n.End)
	case *nodes.List:
		c.expressions(own, n.Val...)
	case *nodes.Tuple:
		c.expressions(own, n.Val...)
	case *nodes.Dict:
		for _, pair := range n.Pairs {
			c.expressions(own, pair.Key, pair.Value)
		}
	case *nodes.Negation:
		c.expression(n.Term, own, nil)
	case *nodes.UnaryExpression:
		c.expression(n.Term, own, nil)
	case *nodes.BinaryExpression:
		c.expressions(own, n.Left, n.Right)
	case *nodes.FilteredExpression:
		c.expression(n.Expression, own, nil)
		for _, f := range n.Filters {
			c.expressions(own, f.Args...)
			c.expressions(own, slices.Collect(maps.Values(f.Kwargs))...)
		}
	case *nodes.TestExpression:
		c.expression(n.Expression, own, nil)
		c.expressions(own, n.Test.Args...)
	}
}
