package rule

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	r := compile(t, `customer.clv > 20 && !(trait("plan") == "pro" || consent("sms")) && (ever("Nothing") || trait("age") < 5 && consent("push"))`)
	got := r.Explain(Input{Profile: customer(), Now: 5000})
	want := Explanation{Text: "all of", Parts: []Explanation{
		{Text: `customer.clv > 20`, Holds: true, Until: 9000},
		{Text: "not", Parts: []Explanation{{Text: "any of", Holds: true, Parts: []Explanation{{Text: `trait("plan") == "pro"`, Holds: true}, {Text: `consent("sms")`}}}}},
		{Text: "any of", Parts: []Explanation{
			{Text: `ever("Nothing")`}, {Text: "all of", Parts: []Explanation{{Text: `trait("age") < 5`}, {Text: `consent("push")`}}},
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var changes []string
	for _, x := range got.WhyNot() {
		changes = append(changes, x.Text)
	}
	if diff := cmp.Diff([]string{`trait("plan") == "pro"`, `ever("Nothing")`}, changes); diff != "" {
		t.Error(diff)
	}
	if changes := compile(t, `customer.clv > 20`).Explain(Input{Profile: customer(), Now: 5000}).WhyNot(); changes != nil {
		t.Errorf("it holds, and still %v", changes)
	}
}
