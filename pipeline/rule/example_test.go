package rule_test

import (
	"fmt"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// A rule answers until when its answer holds: that is what makes windows exact without polling.
func ExampleRule_Eval() {
	compiler, err := rule.NewCompiler()
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := compiler.Compile(`did("Product Viewed", {"category": "sneakers"}, "24h")`)
	if err != nil {
		fmt.Println(err)
		return
	}
	nine := event.At(time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC))
	ada := profile.New("ada")
	ada.Now = nine
	rule.NewLeafSet(r).Record(ada, &event.Event{
		Type: event.Track, Name: "Product Viewed", Occurred: nine, Accepted: nine, Properties: event.Object(`{"category":"sneakers"}`),
	})
	holds, until := r.Eval(rule.Input{Profile: ada, Now: nine})
	fmt.Println(holds, "until", until)

	_, err = compiler.Compile(`did("Product Viewed", "soon")`)
	fmt.Println(err)
	// Output:
	// true until 2026-05-02T09:00:00.000Z
	// 1:23: "soon" is no window (want "24h", "7d", "today", "3 calendar days", "this week", "this month", "2026-11-01/2026-12-01" or none, for all time; at most "400d")
}
