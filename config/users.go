package config

import (
	"fmt"
	"slices"

	"attune/pipeline/rule"
)

// SegmentUsers are who asks for a segment, by id, each sorted.
type SegmentUsers struct {
	Campaigns []string
	Segments  []string
}

// SegmentUsers finds who asks for each segment. The workspace must have no problems.
func (ws *Workspace) SegmentUsers() (map[string]SegmentUsers, error) {
	compiler, err := ws.compiler()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, s := range ws.Segments {
		known[s.ID] = true
	}
	users := map[string]SegmentUsers{}
	for _, s := range ws.Segments {
		r, err := compiler.Compile(s.When, rule.WithOtherSegments(known))
		if err != nil {
			return nil, fmt.Errorf("segment %s: %w", s.ID, err)
		}
		for _, id := range r.Reads().Segments {
			u := users[id]
			u.Segments = append(u.Segments, s.ID)
			users[id] = u
		}
	}
	for _, c := range ws.Campaigns {
		asked := []string{c.On.SegmentEntered, c.On.SegmentExited}
		if c.Audience != "" {
			r, err := compiler.Compile(c.Audience, rule.WithEvent(), rule.WithSegments(known))
			if err != nil {
				return nil, fmt.Errorf("campaign %s: %w", c.ID, err)
			}
			asked = append(asked, r.Reads().Segments...)
		}
		slices.Sort(asked)
		for _, id := range slices.Compact(asked) {
			if id == "" {
				continue
			}
			u := users[id]
			u.Campaigns = append(u.Campaigns, c.ID)
			users[id] = u
		}
	}
	return users, nil
}
