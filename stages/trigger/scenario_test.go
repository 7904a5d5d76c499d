package trigger_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/trigger"
)

// Each scenario holds campaigns, a log and the decisions that must come of it. A line of the log is
//
//	AT [historical] [occurred=AT] track|page NAME [{PROPERTIES}]
//	AT [historical] consent email=true
//	AT delivery N OUTCOME          the end of the N-th fired decision's delivery
//	AT end                         what is owed by then is run
//
// and its event's id is e and the line's number. AT is the time since the start. Every scenario is run with
// wake-ups on time, late, and without any, with the same result.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			st := stage(t, parts["campaigns.yaml"])
			var first []pipeline.Decision
			for i, late := range []time.Duration{0, 1, time.Millisecond, 7 * time.Minute, 3 * time.Hour, 60 * time.Hour, -1} {
				r := newRun(t, late, st)
				play(r, parts["log"])
				if diff := cmp.Diff(parts["decisions"], print(r.decisions)); diff != "" {
					t.Fatalf("decisions with wake-ups %s late (-want +got):\n%s", late, diff)
				}
				if i == 0 {
					first = r.decisions
				} else if diff := cmp.Diff(facts(first), facts(r.decisions)); diff != "" {
					t.Fatalf("decisions with wake-ups %s late, not on time:\n%s", late, diff)
				}
				checkDeliveries(t, r)
			}
		})
	}
}

// checkDeliveries: each fired decision orders one mail, no other does.
func checkDeliveries(t *testing.T, r *run) {
	t.Helper()
	var want, got []string
	for _, d := range r.decisions {
		if d.Outcome == pipeline.Fired {
			want = append(want, fmt.Sprint(d.ID, d.At, d.Campaign, d.Template))
		}
	}
	for _, d := range r.deliveries {
		got = append(got, fmt.Sprint(d.Decision, d.Decided, d.Campaign, d.Template))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("deliveries (-want +got):\n%s", diff)
	}
}

func play(r *run, log string) {
	r.t.Helper()
	for i, line := range strings.Split(strings.TrimSpace(log), "\n") {
		words := strings.Fields(line)
		e := event.Event{ID: "e" + strconv.Itoa(i+1), Type: event.Track, Profile: "p1", Accepted: instant(r.t, words[0])}
		e.Occurred = e.Accepted
		words = words[1:]
		if words[0] == "historical" {
			e.Historical, words = true, words[1:]
		}
		if at, ok := strings.CutPrefix(words[0], "occurred="); ok {
			e.Occurred, words = instant(r.t, at), words[1:]
		}
		switch words[0] {
		case "end":
			r.end(e.Accepted)
			continue
		case "consent":
			channel, granted, _ := strings.Cut(words[1], "=")
			e.Type, e.Consent = event.Identify, map[string]bool{channel: granted == "true"}
		case "delivery":
			r.at(e.Accepted) // what the delivery is of may be due
			n, err := strconv.Atoi(words[1])
			if err != nil {
				r.t.Fatalf("line %q: %v", line, err)
			}
			var fired []string
			for _, d := range r.deliveries {
				fired = append(fired, d.Decision)
			}
			id := "none"
			if n <= len(fired) {
				id = fired[n-1]
			}
			e.Type, e.Properties = event.Delivery, event.Object(fmt.Sprintf(`{"decision":%q,"outcome":%q}`, id, words[2]))
		case "track", "page":
			e.Type = event.Type(words[0])
			name, properties, ok := strings.Cut(strings.Join(words[1:], " "), " {")
			if e.Name = name; ok {
				e.Properties = event.Object("{" + properties)
			}
		default:
			r.t.Fatalf("line %q: what is %q?", line, words[0])
		}
		r.event(e)
	}
}

func instant(t tester, text string) event.Instant {
	t.Helper()
	if d, err := time.ParseDuration(text); err == nil {
		return start.Add(d)
	}
	var d trigger.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return start.Add(time.Duration(d))
}
