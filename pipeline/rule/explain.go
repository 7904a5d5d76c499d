package rule

import "attune/pipeline/event"

// Explanation is what one part of a rule says, as the rule has it written.
type Explanation struct {
	// Text is the part; "all of", "any of" or "not" where it consists of Parts.
	Text string `json:"text"`
	// Value is what the part asks about, as it is: a count, an amount, a trait's JSON text, a time. Empty where yes or no
	// says it all.
	Value string        `json:"value,omitempty"`
	Holds bool          `json:"holds"`
	Until event.Instant `json:"until,omitzero"` // when the answer may change by itself; zero: never
	Parts []Explanation `json:"parts,omitempty"`
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
		n.atoms(false, func(n *node, _ bool) { // several ask the same of one thing
			if x.Value == "" {
				x.Value = n.atom.said(v)
			}
		})
		return x
	}
	x.Text = [...]string{all: "all of", either: "any of", not: "not", asks: "", yes: "true", no: "false"}[n.op]
	for _, part := range n.parts {
		x.Parts = append(x.Parts, part.explain(v))
	}
	return x
}

// Change is a part of a rule that would have to answer otherwise.
type Change struct {
	Part Explanation `json:"part"`
	Want bool        `json:"want"` // the answer that is wanted
}

// WhyNot are the fewest written parts that would have to answer otherwise for the rule to hold; the first of them where
// there are several ways; none where it holds.
func (x Explanation) WhyNot() []Change { return x.change(true) }

// change is the fewest parts to change for the answer to be want.
func (x Explanation) change(want bool) []Change {
	switch {
	case x.Holds == want:
		return nil
	case len(x.Parts) == 0:
		return []Change{{x, want}}
	case x.Text == "not":
		return x.Parts[0].change(!want)
	}
	var changes []Change
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
