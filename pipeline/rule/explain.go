package rule

import "attune/pipeline/event"

// Explanation is what one part of a rule says, as the rule has it written.
type Explanation struct {
	// Text is the part; "all of", "any of" or "not" where it consists of Parts.
	Text  string
	Holds bool
	Until event.Instant // when the answer may change by itself; zero: never
	Parts []Explanation
}

// Explain answers at in.Now as [Rule.Eval] does, part by part.
func (r *Rule) Explain(in Input) Explanation {
	v := view{p: in.Profile, now: in.Now, event: in.Event, zones: r.zones}
	return r.root.explain(&v)
}

func (n *node) explain(v *view) Explanation {
	var x Explanation
	x.Holds, x.Until = n.eval(v)
	if x.Text = n.text; x.Text != "" {
		return x
	}
	x.Text = [...]string{all: "all of", either: "any of", not: "not", asks: "", yes: "true", no: "false"}[n.op]
	for _, part := range n.parts {
		x.Parts = append(x.Parts, part.explain(v))
	}
	return x
}

// WhyNot are the fewest written parts that would have to answer otherwise for the rule to hold; the first of them where
// there are several ways; none where it holds.
func (x Explanation) WhyNot() []Explanation { return x.change(true) }

// change is the fewest parts to change for the answer to be want.
func (x Explanation) change(want bool) []Explanation {
	switch {
	case x.Holds == want:
		return nil
	case len(x.Parts) == 0:
		return []Explanation{x}
	case x.Text == "not":
		return x.Parts[0].change(!want)
	}
	var changes []Explanation
	for _, part := range x.Parts {
		one := part.change(want)
		if (x.Text == "all of") == want { // each of them
			changes = append(changes, one...)
		} else if changes == nil || len(one) < len(changes) {
			changes = one
		}
	}
	return changes
}
