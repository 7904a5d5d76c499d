package scenario

import (
	"fmt"
	"slices"
	"strings"

	"attune/pipeline/rule"
	"attune/stages/segment"
)

// maxExplained bounds how many customers one failure explains.
const maxExplained = 5

// why explains, for customers who are in a segment against expectation or not in it, what each part of its rule says.
func (w *world) why(id string, want, got []string) []string {
	i := slices.IndexFunc(w.ws.Segments, func(d segment.Definition) bool { return d.ID == id })
	compiler, err := rule.NewCompiler()
	if i < 0 || err != nil {
		return nil
	}
	known := map[string]bool{}
	for _, d := range w.ws.Segments {
		known[d.ID] = true
	}
	r, err := compiler.Compile(w.ws.Segments[i].When, rule.WithOtherSegments(known))
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
	lines = append(lines, line+": "+x.Text)
	for _, part := range x.Parts {
		lines = w.explain(lines, part, depth+1)
	}
	return lines
}
