package config

import (
	"maps"
	"slices"
	"strings"

	"attune/stages/segment"
)

// WithSegments is the workspace with some segments' rules changed, new segments, and without some.
func (ws *Workspace) WithSegments(rules map[string]string, without []string) *Workspace {
	changed := *ws
	changed.object = ""
	changed.Segments = slices.DeleteFunc(slices.Clone(ws.Segments), func(d segment.Definition) bool { return slices.Contains(without, d.ID) })
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		i := slices.IndexFunc(changed.Segments, func(d segment.Definition) bool { return d.ID == id })
		if i < 0 {
			i = len(changed.Segments)
			changed.Segments = append(changed.Segments, segment.Definition{ID: id})
		}
		changed.Segments[i].When = rules[id]
	}
	slices.SortFunc(changed.Segments, func(a, b segment.Definition) int { return strings.Compare(a.ID, b.ID) })
	return &changed
}
