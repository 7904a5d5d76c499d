package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"attune/config"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
	"attune/stages/enrich"
	"attune/stages/segment"
)

// Every example of the reference page is so, and every function has its place there.
func TestRulesReference(t *testing.T) {
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, name := range rule.Functions() {
		if !strings.Contains(text, name+"(") && !strings.Contains(text, "`"+name+"`") {
			t.Errorf("the page lacks %s", name)
		}
	}
	for _, name := range rule.Variables() {
		if !strings.Contains(text, name) {
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
				events = append(events, exampleEvent(t, line))
			}
		}
		if got := stretches(t, when, events); got != want {
			t.Errorf("%s\nis true %s, not %s", example[1], got, want)
		}
	}
}

// exampleStart is when the histories of the page begin.
func exampleStart() event.Instant { return event.At(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)) }

// exampleEvent reads a line of a history: when it was accepted, maybe when it occurred in brackets, what, and its JSON.
func exampleEvent(t *testing.T, line string) event.Event {
	t.Helper()
	at := func(text string) event.Instant {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return exampleStart().Add(d)
	}
	when, what, _ := strings.Cut(line, " ")
	e := event.Event{Accepted: at(when)}
	e.Occurred = e.Accepted
	if strings.HasPrefix(what, "(") {
		occurred, rest, _ := strings.Cut(what[1:], ") ")
		e.Occurred, what = at(occurred), rest
	}
	name, object := what, ""
	if i := strings.Index(what, " {"); i >= 0 {
		name, object = what[:i], what[i+1:]
	}
	e.Type, e.Name, e.Properties = event.Track, name, event.Object(object)
	if page, ok := strings.CutPrefix(name, "page "); ok {
		e.Type, e.Name = event.Page, page
	}
	if name == "identify" {
		e.Type, e.Name, e.Properties, e.Traits = event.Identify, "", nil, event.Object(object)
	}
	if name == event.Subscribed { // normalize says so
		e.Consent = map[string]bool{"email": true}
	}
	return e
}

// stretches are the times in which a rule is true, as the page has them.
func stretches(t *testing.T, when string, events []event.Event) string {
	t.Helper()
	ws := config.Empty()
	ws.Enrich.Loyalty.Tiers = []enrich.Tier{{Name: "silver", Spent: 150}, {Name: "gold", Spent: 400}}
	ws.Segments = []segment.Definition{{ID: "viewers", When: `did("Product Viewed", "24h")`}, {ID: "asked", When: when}}
	c, err := ws.Chain(1, enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	p := profile.New("u1")
	var list []string
	events = append(events, event.Event{Type: event.Wake, Accepted: exampleStart().Add(24 * time.Hour * 400)})
	for i := range events {
		r, err := c.Apply(p, &events[i], uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range r.Facts.Changes {
			at := strings.NewReplacer("h0m0s", "h", "h0m", "h").Replace(change.At.Sub(exampleStart()).String())
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
