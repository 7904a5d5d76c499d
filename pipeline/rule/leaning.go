package rule

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"

	"attune/pipeline/profile"
)

// styleConfidence is the name after "customer." of how well the style group is founded.
const styleConfidence = "style_confidence"

// dimension reads the first argument of affinity and favourite.
func (t *translator) dimension(e ast.Expr, function string) (profile.Dimension, bool) {
	word, ok := t.literal(e, function, "a dimension")
	if !ok {
		return 0, false
	}
	d, ok := profile.ParseDimension(word)
	if !ok {
		var words []string
		for _, known := range profile.Dimensions() {
			words = append(words, known.String())
		}
		t.fail(e, nearest(word, words, "dimensions: "+strings.Join(words, ", ")), "the dimension %q is unknown", word)
		return 0, false
	}
	t.fields["affinity:"+word] = true
	return d, true
}

func (t *translator) affinity(e ast.Expr, call ast.CallExpr) (*number, bool) {
	args := call.Args()
	if len(args) != 2 {
		t.fail(e, "write "+t.calls["affinity"], "affinity takes a dimension and a name, not %d arguments", len(args))
		return nil, false
	}
	d, ok := t.dimension(args[0], "affinity")
	name, nameOK := t.literal(args[1], "affinity", "a name in the dimension")
	return &number{kind: affinityOf, dimension: d, name: name}, ok && nameOK
}

func (t *translator) favourite(e ast.Expr, call ast.CallExpr) (words, bool) {
	args := call.Args()
	if len(args) != 1 {
		t.fail(e, "write "+t.calls["favourite"], "favourite takes a dimension, not %d arguments", len(args))
		return words{}, false
	}
	d, ok := t.dimension(args[0], "favourite")
	return words{kind: favouriteOf, dimension: d}, ok
}

// founded compares the style group's confidence. It falls all the time, so it is at least so much, or is not.
func (t *translator) founded(e ast.Expr, left *operand, rel relation, c *constant) *node {
	if c.kind != aNumber || c.number <= 0 || c.number > 1 {
		t.fail(e, "write "+left.example, "%s is above 0 and at most 1, and can't be compared with %s", left.what, c)
		return nil
	}
	n := ask(&atom{kind: confident, right: number{fixed: c.number}})
	switch rel {
	case greaterOrEqual:
		return n
	case less:
		return negation(n)
	}
	t.fail(e, "compare with >= or <", "%s falls all the time and is equal to a number for a millisecond at most", left.what)
	return nil
}

// known tells of a word about the customer whether it can be what it is compared with.
func (t *translator) known(e ast.Expr, w *words, want []constant) bool {
	for i := range want {
		c := &want[i]
		if c.kind != aString {
			t.fail(e, "compare with a string in quotes", "%s is a string and can't be compared with %s", w, c)
			return false
		}
		var list []string
		switch w.kind {
		case lifecycle:
			for _, stage := range profile.Lifecycles() {
				list = append(list, stage.String())
			}
		case tier:
			list = t.tiers
		}
		if len(list) > 0 && !slices.Contains(list, c.text) {
			one := "one of: " + strings.Join(list, ", ")
			t.fail(e, nearest(c.text, list, one), "%s is never %s", w, c)
			return false
		}
	}
	return true
}
