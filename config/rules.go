package config

import (
	"fmt"
	"slices"

	"attune/pipeline/rule"
	"attune/stages/segment"
)

// SegmentRule compiles one segment's rule. The error says which segments there are where it is none of them.
func (ws *Workspace) SegmentRule(id string) (*rule.Rule, error) {
	i := slices.IndexFunc(ws.Segments, func(d segment.Definition) bool { return d.ID == id })
	known := map[string]bool{}
	for _, d := range ws.Segments {
		known[d.ID] = true
	}
	if i < 0 {
		ids := make([]string, len(ws.Segments))
		for i, d := range ws.Segments {
			ids[i] = d.ID
		}
		return nil, fmt.Errorf("there is no segment %q; there are: %v", id, ids)
	}
	compiler, err := ws.compiler()
	if err != nil {
		return nil, err
	}
	r, err := compiler.Compile(ws.Segments[i].When, rule.WithOtherSegments(known))
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", id, err)
	}
	return r, nil
}
