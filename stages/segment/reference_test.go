package segment

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// Every example of the reference page is so, and every function has its place there.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, name := range rule.Functions() {
		if !strings.Contains(text, name+"(") && !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the page lacks %s", name)
		}
	}
	examples := regexp.MustCompile("(?s)```rule\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(examples) < 15 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		var when, want string
		var events []event.Event
		for line := range strings.Lines(example[1]) {
			line = strings.TrimSpace(line)
			switch what, rest, _ := strings.Cut(line, " "); what {
			case "rule":
				when = rest
			case "when":
				want = rest
			default:
				e := golden(t, line)
				if e.Name == event.Subscribed { // normalize says so
					e.Consent = map[string]bool{"email": true}
				}
				events = append(events, e)
			}
		}
		if got := stretches(t, when, events); got != want {
			t.Errorf("%s\nis true %s, not %s", example[1], got, want)
		}
	}
}

// stretches are the times in which a rule is true, as the page has them.
func stretches(t *testing.T, when string, events []event.Event) string {
	s := stage(t, Definition{ID: "viewers", When: `did("Product Viewed", "24h")`}, Definition{ID: "asked", When: when})
	c := chain(1, scoring{}, s)
	p := profile.New("u1")
	var list []string
	events = append(events, event.Event{Type: event.Wake, Accepted: start.Add(1 << 50)})
	for i := range events {
		r, err := c.Apply(p, &events[i], uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range r.Facts.Changes {
			at := strings.NewReplacer("h0m0s", "h", "h0m", "h").Replace(change.At.Sub(start).String())
			switch {
			case change.Segment != "asked":
			case change.Entered:
				list = append(list, at)
			default:
				list[len(list)-1] += " to " + at
			}
		}
	}
	for i := range list {
		if !strings.Contains(list[i], " to ") {
			list[i] += " on"
		}
		list[i] = regexp.MustCompile(`^0s`).ReplaceAllString(list[i], "0h")
	}
	return strings.Join(list, ", ")
}
