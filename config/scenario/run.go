package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/stages/enrich"
)

// Failure is one expectation that did not hold.
type Failure struct {
	File         string
	Line, Column int
	Message      string
	// Diff has a line for each entry: "  " as expected, "- " expected and missing, "+ " not expected.
	Diff []string
}

// Error prints the place, the message and the diff.
func (f Failure) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
	for _, line := range f.Diff {
		s += "\n    " + line
	}
	return s
}

// Run runs the scenario through the workspace's chain and tells everything that was not as expected. The error is
// for what can't be run at all.
func (s *Scenario) Run(ws *config.Workspace) ([]Failure, error) {
	chain, err := ws.Chain(firstVersion, enrich.DefaultModels())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path, err)
	}
	return s.run(newWorld(ws, chain, s.in))
}

func (s *Scenario) run(w *world) ([]Failure, error) {
	var failures []Failure
	for i, step := range s.file.Steps {
		path := fmt.Sprintf("steps[%d]", i)
		at := w.start.Add(step.At)
		err := w.advance(at)
		if err != nil {
			return failures, s.failed(path, err)
		}
		switch {
		case step.Track != nil:
			err = w.call(event.Track, step.Track.Who, map[string]any{"event": step.Track.Event, "properties": step.Track.Properties})
		case step.Identify != nil:
			err = w.call(event.Identify, step.Identify.Who, map[string]any{"traits": step.Identify.Traits})
		case step.Page != nil:
			err = w.call(event.Page, step.Page.Who, map[string]any{"name": step.Page.Name, "properties": step.Page.Properties})
		case step.Alias != nil:
			err = w.call(event.Alias, step.Alias.Who, map[string]any{"previousId": step.Alias.Previous})
		case step.Group != nil:
			err = w.call(event.Group, step.Group.Who, map[string]any{"groupId": step.Group.Group, "traits": step.Group.Traits})
		case step.Apply != nil:
			next, problems := s.after(path+".apply", w.ws, step.Apply)
			if err = problems.Err(); err == nil {
				err = w.change(next, step.Apply.Fire)
			}
		case step.Expect != nil:
			failures = append(failures, s.compare(w, path+".expect", step.At, step.Expect)...)
			w.deliveries, w.decisions = nil, nil
		}
		if err != nil {
			return failures, s.failed(path, err)
		}
	}
	return failures, nil
}

func (s *Scenario) failed(path string, err error) error {
	line, column := s.doc.Place(path)
	return fmt.Errorf("%s:%d:%d: %w", s.Path, line, column, err)
}

func (s *Scenario) failure(path, message string, diff []string) Failure {
	line, column := s.doc.Place(path)
	return Failure{File: s.Path, Line: line, Column: column, Message: message, Diff: diff}
}

func (s *Scenario) compare(w *world, path string, at time.Duration, e *Expect) []Failure {
	var failures []Failure
	for _, id := range slices.Sorted(maps.Keys(e.Segments)) {
		want := w.named(e.Segments[id])
		if got := w.members(id); !slices.Equal(got, want) {
			failures = append(failures, s.failure(path+".segments."+id,
				fmt.Sprintf("members of %s at %s are not as expected", id, written(at)), append(diffSets(want, got), w.why(id, want, got)...)))
		}
	}
	failures = append(failures, s.compareProfiles(w, path+".profile", at, e.Profile)...)
	if e.Deliveries != nil {
		failures = append(failures, s.compareDeliveries(w, path+".deliveries", *e.Deliveries)...)
	}
	if e.Decisions != nil {
		failures = append(failures, s.compareDecisions(w, path+".decisions", *e.Decisions)...)
	}
	return failures
}

func (s *Scenario) compareDeliveries(w *world, path string, want []Delivery) []Failure {
	var failures []Failure
	got := make([]entry, len(w.deliveries))
	for i, d := range w.deliveries {
		m, err := w.render(d)
		if err != nil {
			failures = append(failures, s.failure(path, fmt.Sprintf("the mail of %s for %s can't be rendered: %v", d.what.Campaign, d.who.name, err), nil))
		}
		got[i] = entry{
			{"user", d.who.name}, {"campaign", d.what.Campaign}, {"at", written(w.since(d.what.Decided))},
			{"destination", d.what.Destination}, {"template", d.what.Template}, {"subject", m.subject}, {"html", m.html},
		}
	}
	expected := make([]entry, len(want))
	for i, d := range want {
		e := entry{{"user", w.name(d.User)}, {"campaign", d.Campaign}}
		e = e.given("at", at(d.At)).given("destination", d.Destination).given("template", d.Template).given("subject", d.Subject)
		for _, text := range d.Contains {
			e = e.given("contains", text)
		}
		expected[i] = e
	}
	if diff, same := diffLists(expected, got); !same {
		failures = append(failures, s.failure(path, "deliveries since the last expect are not as expected", diff))
	}
	return failures
}

func (s *Scenario) compareDecisions(w *world, path string, want []Decision) []Failure {
	got := make([]entry, len(w.decisions))
	for i, d := range w.decisions {
		got[i] = decided(d, w)
	}
	expected := make([]entry, len(want))
	for i, d := range want {
		e := entry{{"user", w.name(d.User)}, {"campaign", d.Campaign}, {"outcome", d.Outcome}, {"reason", d.Reason}}
		expected[i] = e.given("key", d.Key).given("at", at(d.At))
	}
	if diff, same := diffLists(expected, got); !same {
		return []Failure{s.failure(path, "decisions since the last expect are not as expected", diff)}
	}
	return nil
}

func decided(d happened[pipeline.Decision], w *world) entry {
	return entry{
		{"user", d.who.name}, {"campaign", d.what.Campaign}, {"outcome", string(d.what.Outcome)}, {"reason", d.what.Reason},
		{"key", d.what.Key}, {"at", written(w.since(d.what.At))},
	}
}

func at(d *time.Duration) string {
	if d == nil {
		return ""
	}
	return written(*d)
}

// entry is one expected or actual thing, as fields in a fixed order.
type entry [][2]string

func (e entry) given(name, value string) entry {
	if value == "" {
		return e
	}
	return append(e, [2]string{name, value})
}

func (e entry) get(name string) string {
	for _, f := range e {
		if f[0] == name {
			return f[1]
		}
	}
	return ""
}

// matches tells whether what happened has every field that is expected.
func (e entry) matches(got entry) bool {
	for _, f := range e {
		if f[0] == "contains" {
			if !strings.Contains(got.get("html"), f[1]) {
				return false
			}
		} else if got.get(f[0]) != f[1] {
			return false
		}
	}
	return true
}

func (e entry) String() string {
	var parts []string
	for _, f := range e {
		if f[0] == "html" || f[1] == "" {
			continue
		}
		v := f[1]
		if strings.ContainsAny(v, ",:{}[]\"'#") {
			v = fmt.Sprintf("%q", v)
		}
		parts = append(parts, f[0]+": "+v)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// diffLists compares two lists in order and shows the shortest way from one to the other.
func diffLists(want, got []entry) (diff []string, same bool) {
	const most = 500
	want, got = want[:min(len(want), most)], got[:min(len(got), most)]
	common := make([][]int, len(want)+1) // longest common part of want[i:] and got[j:]
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i].matches(got[j]) {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	same = true
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i].matches(got[j]):
			diff = append(diff, "  "+want[i].String())
			i, j = i+1, j+1
		case i < len(want) && (j == len(got) || common[i+1][j] >= common[i][j+1]):
			diff = append(diff, "- "+want[i].String())
			i, same = i+1, false
		default:
			diff = append(diff, "+ "+got[j].String())
			j, same = j+1, false
		}
	}
	return diff, same
}

func diffSets(want, got []string) []string {
	var diff []string
	all := slices.Concat(want, got)
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		switch expected, is := slices.Contains(want, name), slices.Contains(got, name); {
		case expected && is:
			diff = append(diff, "  "+name)
		case expected:
			diff = append(diff, "- "+name)
		default:
			diff = append(diff, "+ "+name)
		}
	}
	return diff
}
