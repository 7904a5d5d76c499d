package rule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

func TestExplain(t *testing.T) {
	r := compile(t, `customer.clv > 20 && !(trait("plan") == "pro" || consent("sms")) && (ever("Nothing") || trait("age") < 5 && consent("push"))`)
	got := r.Explain(Input{Profile: customer(), Now: 5000})
	want := Explanation{Text: "all of", Parts: []Explanation{
		{Text: `customer.clv > 20`, Value: "20.5", Holds: true, Until: 9000},
		{Text: "not", Parts: []Explanation{{Text: "any of", Holds: true, Parts: []Explanation{{Text: `trait("plan") == "pro"`, Value: `"pro"`, Holds: true}, {Text: `consent("sms")`, Value: "withdrawn"}}}}},
		{Text: "any of", Parts: []Explanation{
			{Text: `ever("Nothing")`, Value: "0"}, {Text: "all of", Parts: []Explanation{{Text: `trait("age") < 5`, Value: "18"}, {Text: `consent("push")`, Value: "unknown"}}},
		}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var changes []string
	for _, x := range got.WhyNot() {
		changes = append(changes, fmt.Sprint(x.Part.Text, " ", x.Want))
	}
	if diff := cmp.Diff([]string{`trait("plan") == "pro" false`, `ever("Nothing") true`}, changes); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{
		`!did("A", "1h")`: `!did("A", "1h")`, `!(trait("plan") == "pro")`: `!(trait("plan") == "pro")`, `!trait("plan").contains("p")`: `!trait("plan").contains("p")`,
	} {
		if x := compile(t, text).Explain(Input{Profile: customer(), Now: 5000}); x.Text != want || x.Parts != nil || x.Value == "" {
			t.Errorf("%s is explained as %+v", text, x)
		}
	}
	if changes := compile(t, `customer.clv > 20`).Explain(Input{Profile: customer(), Now: 5000}).WhyNot(); changes != nil {
		t.Errorf("it holds, and still %v", changes)
	}
}

// What is said of each kind of question, of one history.
func TestExplainSaysValues(t *testing.T) {
	start := event.At(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	for _, k := range []struct{ rule, want string }{
		{`count("A", "2h") >= 2`, "1"},
		{`count("A", "1d") == 2`, "3 or more"},
		{`did("A", "2h")`, "last 2026-03-01T12:00:00.000Z"},
		{`did("A", {"x": 1}, "1h")`, "none"},
		{`did("B", "90m")`, "last 2026-03-01T11:00:00.000Z"},
		{`sum("A", "x", "1d") > 5`, "6.5"},
		{`avg("A", "x", "1d") > 5`, "3.25"},
		{`avg("C", "x") > 5`, "absent"},
		{`sum("A", "x") > 5`, "6.5"},
		{`max("A", "x", "1d") > 5`, ""},
		{`distinct("A", "x", "1d") >= 3`, "2"},
		{`last("A", "x") == 1`, "4"},
		{`first("C", "x") == 1`, "absent"},
		{`not_followed("A", "C", "1h", "1d")`, "last 2026-03-01T12:00:00.000Z"},
		{`since("B") > "1h"`, "2026-03-01T11:00:00.000Z"},
		{`since(trait("gone")) > "1h"`, "absent"},
		{`consent("email")`, "granted"},
		{`in_segment("loyal")`, "since 2026-03-01T09:00:00.000Z"},
		{`in_segment("other")`, "not in it"},
		{`customer.clv > customer.revenue`, "20.5 and 100.1"},
		{`customer.recency_days > 5`, "absent"},
		{`trait("address.country") == "GB"`, `"GB"`},
		{`trait("long") == "x"`, `"` + strings.Repeat("x", 79) + "…"},
		{`in_percent("spring", 50)`, "at 75.59 of 100"},
		{`customer.lifecycle == "new"`, `"visitor"`},
		{`customer.style_group == "x"`, "absent"},
		{`customer.style_confidence >= 0.5`, "0"},
		{`in_cart("p1")`, "0"},
		{`true`, ""},
	} {
		r := compile(t, k.rule, WithSegments(map[string]bool{"loyal": true, "other": true}))
		p := customer()
		p.Now, p.Orders = start.Add(3*time.Hour), profile.Orders{Revenue: p.Orders.Revenue}
		p.Traits["long"] = profile.Trait{Value: event.Object(`"` + strings.Repeat("x", 90) + `"`)}
		p.Segments = map[string]profile.Membership{"loyal": {In: true, Since: start}}
		leaves := NewLeafSet(r)
		for _, e := range []event.Event{
			{Name: "A", Properties: event.Object(`{"x":2.5}`)}, {Name: "A", Occurred: 3_600_000}, {Name: "B", Occurred: 2 * 3_600_000},
			{Name: "A", Occurred: 3 * 3_600_000, Properties: event.Object(`{"x":4}`)},
		} {
			e.Type, e.Occurred = event.Track, e.Occurred+start
			leaves.Record(p, &e)
		}
		if got := r.Explain(Input{Profile: p, Now: p.Now}).Value; got != k.want {
			t.Errorf("%s says %q, want %q", k.rule, got, k.want)
		}
		if got := r.Explain(Input{Profile: p, Now: p.Now.Add(time.Hour)}).Value; strings.HasPrefix(k.rule, `did("B"`) && got != "none; "+k.want {
			t.Errorf("%s says %q when the window has closed", k.rule, got)
		}
	}
}
