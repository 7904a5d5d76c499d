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
	if i < 0 {
		ids := make([]string, len(ws.Segments))
		for i, d := range ws.Segments {
			ids[i] = d.ID
		}
		return nil, fmt.Errorf("there is no segment %q; there are: %v", id, ids)
	}
	r, err := ws.Rule(ws.Segments[i].When)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", id, err)
	}
	return r, nil
}

// Rule compiles a rule about customers that may ask for the workspace's segments and tiers.
func (ws *Workspace) Rule(text string) (*rule.Rule, error) {
	known := map[string]bool{}
	for _, d := range ws.Segments {
		known[d.ID] = true
	}
	compiler, err := ws.compiler()
	if err != nil {
		return nil, err
	}
	return compiler.Compile(text, rule.WithOtherSegments(known))
}
