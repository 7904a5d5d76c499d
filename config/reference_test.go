package config_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/config"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
	"attune/stages/enrich"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// Every example of the reference page is so, and every function, variable and comparison is in one.
func TestRulesReference(t *testing.T) {
	page, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	var rules strings.Builder
	for _, example := range regexp.MustCompile("(?s)```rule\n(.*?)```").FindAllStringSubmatch(text, -1) {
		var when, where, want string
		var events []event.Event
		for line := range strings.Lines(example[1]) {
			line = strings.TrimSpace(line)
			switch what, rest, _ := strings.Cut(line, " "); what {
			case "rule":
				when = rest
			case "where":
				where = rest
			case "when":
				want = rest
			default:
				events = append(events, exampleEvent(t, line))
			}
		}
		rules.WriteString(when + where + "\n")
		got := triggered(t, where, events)
		if when != "" {
			got = stretches(t, when, events)
		}
		if got != want {
			t.Errorf("%s\nis true %s, not %s", example[1], got, want)
		}
	}
	comparisons := regexp.MustCompile("The comparisons are `(.*)`").FindStringSubmatch(text)
	if comparisons == nil {
		t.Fatal("the page does not list the comparisons of filters")
	}
	need := slices.Concat(rule.Variables(), []string{".startsWith(", ".endsWith(", ".contains(", ".matches("})
	for _, name := range rule.Functions() {
		need = append(need, name+"(")
	}
	for name := range strings.FieldsSeq(comparisons[1]) {
		need = append(need, `"`+name+`":`)
	}
	for _, name := range need {
		if !strings.Contains(rules.String(), name) {
			t.Errorf("no example has %s", name)
		}
	}
}

// triggered are the events that a campaign's where lets through.
func triggered(t *testing.T, where string, events []event.Event) string {
	t.Helper()
	if where == "" {
		return ""
	}
	ws := config.Empty()
	ws.Campaigns = []trigger.Campaign{{
		ID: "asked", On: trigger.On{Event: events[0].Name, Where: where}, Send: trigger.Send{Destination: "mail", From: "a@shop.example", Subject: "s", Template: "t"},
	}}
	c, err := ws.Chain(1, enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	p := profile.New("u1")
	var list []string
	for i := range events {
		r, err := c.Apply(p, &events[i], uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range r.Facts.Decisions {
			list = append(list, fmt.Sprintf("%.0fh", d.At.Sub(exampleStart()).Hours()))
		}
	}
	return strings.Join(list, ", ")
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
