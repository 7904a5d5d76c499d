package rule_test

import (
	"slices"
	"testing"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/rule"
)

// What a set of rules lacks when it follows another one, and what of the past it wants.
func TestSuccession(t *testing.T) {
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	leaves := func(texts ...string) *rule.LeafSet {
		var all []*rule.Rule
		for _, text := range texts {
			r, err := c.Compile(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return rule.NewLeafSet(all...)
	}
	s := leaves(`count("A", "7d") >= 3`, `did("B", {"deep.color": "red"}, "24h")`, `did("C", "30d")`).
		After(leaves(`count("A", "7d") >= 2`, `did("B", "24h")`, `count("C", "30d") > 4`))
	var lacked []string
	for _, l := range s.Lacked() {
		lacked = append(lacked, l.String())
	}
	slices.Sort(lacked)
	if want := []string{`A, 7d`, `B {"deep.color":"red"}, 1d`}; !slices.Equal(lacked, want) {
		t.Errorf("lacks %q, want %q", lacked, want)
	}
	now := event.At(time.Date(2026, 5, 10, 0, 0, 0, 0, time.UTC))
	const day = event.Instant(24 * 3600 * 1000)
	red, blue := event.Object(`{"deep":{"color":"red"}}`), event.Object(`{"deep":{"color":"blue"}}`)
	for _, k := range []struct {
		event event.Event
		want  bool
	}{
		{event.Event{Type: event.Track, Name: "A", Occurred: now - 7*day + 1}, true},
		{event.Event{Type: event.Track, Name: "A", Occurred: now - 7*day}, false}, // at its end
		{event.Event{Type: event.Track, Name: "B", Occurred: now - 1, Properties: red}, true},
		{event.Event{Type: event.Track, Name: "B", Occurred: now - 1, Properties: blue}, false},
		{event.Event{Type: event.Track, Name: "C", Occurred: now - 1}, false}, // known
		{event.Event{Type: event.Page, Name: "A", Occurred: now - 1}, false},
	} {
		if got := s.Wants(&k.event, now); got != k.want {
			t.Errorf("wants %+v: %v", k.event, got)
		}
	}
	if !s.Asks("B", "deep") || s.Asks("B", "dee") || s.Asks("B", "color") || s.Asks("A", "deep") {
		t.Error("asks for the wrong properties")
	}
}

func TestRequires(t *testing.T) {
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Compile(`(in_segment("b") || in_segment("a")) && !in_segment("c") && !(in_segment("d") || !in_segment("a"))`,
		rule.WithSegments(map[string]bool{"a": true, "b": true, "c": true, "d": true}))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Requires(), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("requires %q, want %q", got, want)
	}
}
