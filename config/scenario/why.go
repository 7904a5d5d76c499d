package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/rule"
)

// maxExplained bounds how many customers one failure explains.
const maxExplained = 5

// why explains, for customers who are in a segment against expectation or not in it, what each part of its rule says.
func (w *world) why(id string, want, got []string) []string {
	r, err := w.ws.SegmentRule(id)
	if err != nil {
		return nil
	}
	var lines []string
	explained := 0
	for _, c := range w.customers {
		if slices.Contains(want, c.name) == slices.Contains(got, c.name) || explained == maxExplained {
			continue
		}
		explained++
		lines = append(lines, fmt.Sprintf("why %s is %sin %s:", c.name, map[bool]string{false: "not "}[c.profile.In(id)], id))
		lines = w.explain(lines, r.Explain(rule.Input{Profile: c.profile, Now: max(w.now, c.profile.Now)}), 1)
	}
	return lines
}

// explain adds a line for each part.
func (w *world) explain(lines []string, x rule.Explanation, depth int) []string {
	line := fmt.Sprintf("%s%v", strings.Repeat("  ", depth), x.Holds)
	if x.Until != 0 {
		line += " until " + written(w.since(x.Until))
	}
	line += ": " + x.Text
	if x.Value != "" {
		line += " (is: " + w.relative(x.Value) + ")"
	}
	lines = append(lines, line)
	for _, part := range x.Parts {
		lines = w.explain(lines, part, depth+1)
	}
	return lines
}

var instants = regexp.MustCompile(`(^|[^"])(\d{4}-\d\d-\d\dT[0-9:.]+Z)`)

// relative says an instant, but for one that a customer's own string holds, as scenarios do: since their start.
func (w *world) relative(value string) string {
	return instants.ReplaceAllStringFunc(value, func(found string) string {
		parts := instants.FindStringSubmatch(found)
		t, err := time.Parse(time.RFC3339, parts[2])
		if err != nil {
			return found
		}
		return parts[1] + written(w.since(event.At(t)))
	})
}
