package config

import (
	"fmt"
	"maps"
	"slices"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/rule"
	"attune/stages/enrich"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// Succession is how a workspace follows the one in force.
type Succession struct {
	// Staged is what prepares customers for it.
	Staged *pipeline.Staged
	// Segments and Campaigns are what their rules need of the past, and lack.
	Segments, Campaigns *rule.Succession
}

// After compiles what prepares customers for the workspace, staged under the version, while the other one is in force.
func (ws *Workspace) After(inForce *Workspace, version uint64) (*Succession, error) {
	segments, campaigns, err := ws.judges()
	if err != nil {
		return nil, err
	}
	segmentsBefore, campaignsBefore, err := inForce.judges()
	if err != nil {
		return nil, err
	}
	s := &Succession{
		Segments:  segments.Set().Leaves().After(segmentsBefore.Set().Leaves()),
		Campaigns: campaigns.Leaves().After(campaignsBefore.Leaves()),
	}
	s.Staged = &pipeline.Staged{
		Version: version, Segments: segments, SegmentLeaves: s.Segments, CampaignLeaves: s.Campaigns,
		Foretells: (segments.AsksPropensity() || campaigns.AsksPropensity()) && !segmentsBefore.AsksPropensity() && !campaignsBefore.AsksPropensity(),
	}
	return s, nil
}

// judges are the stages that rules are asked by.
func (ws *Workspace) judges() (segments *segment.Stage, campaigns *trigger.Stage, err error) {
	chain, err := ws.Chain(0, enrich.DefaultModels())
	if err != nil {
		return nil, nil, err
	}
	for _, stage := range chain.Stages {
		switch stage := stage.(type) {
		case *segment.Stage:
			segments = stage
		case *trigger.Stage:
			campaigns = stage
		}
	}
	return segments, campaigns, nil
}

// InForce is the workspace's chain as a control record has brought it into force, and with it customers who have not had a
// step since from the workspace before. before is not looked at where the record names no instant.
func (ws *Workspace) InForce(record event.ControlRecord, before *Workspace, models enrich.Models, options ...ChainOption) (*pipeline.Chain, error) {
	chain, err := ws.Chain(record.Version, models, options...)
	if err != nil {
		return nil, err
	}
	chain.Switch = pipeline.Switch{At: record.At, Staged: record.Staged, Fire: record.Fire}
	if record.At == 0 {
		return chain, nil
	}
	if chain.Switch.Before, err = before.Chain(record.Version-1, models, options...); err != nil {
		return nil, err
	}
	if record.Staged > 0 { // under which it was prepared beside the one before
		succession, err := ws.After(before, record.Staged)
		if err != nil {
			return nil, err
		}
		chain.Switch.Before.Staged = succession.Staged
	}
	return chain, nil
}

// SameRules tells whether every customer is in the same segments by both workspaces, and whether the campaigns of ws
// ask for nothing that those of the other one don't: then nobody has to be prepared for it.
func (ws *Workspace) SameRules(other *Workspace) bool {
	rules := func(ws *Workspace) (segments map[string]string, campaigns map[string]bool) {
		segments, campaigns = map[string]string{}, map[string]bool{}
		for _, s := range ws.Segments {
			segments[s.ID] = s.When
		}
		for _, c := range ws.Campaigns {
			campaigns[c.On.Where], campaigns[c.Audience] = true, true
		}
		return segments, campaigns
	}
	segments, campaigns := rules(ws)
	otherSegments, otherCampaigns := rules(other)
	for text := range campaigns {
		if text != "" && !otherCampaigns[text] {
			return false
		}
	}
	return maps.Equal(segments, otherSegments)
}

// Lack is what a rule asks of the past that no customer's profile holds yet, and for how long back.
type Lack struct {
	Reader string // "segment hot-sneaker-fans", "campaign cart-abandonment"
	Leaf   *rule.Leaf
}

// Lacks are what the rules of a succession lack, by reader.
func (ws *Workspace) Lacks(s *Succession) ([]Lack, error) {
	compiler, err := ws.compiler()
	if err != nil {
		return nil, err
	}
	lacked := map[uint64]bool{}
	for _, of := range []*rule.Succession{s.Segments, s.Campaigns} {
		for _, l := range of.Lacked() {
			lacked[l.ID] = true
		}
	}
	ids := map[string]bool{}
	for _, d := range ws.Segments {
		ids[d.ID] = true
	}
	var all []Lack
	add := func(reader, text string, options ...rule.Option) error {
		if text == "" {
			return nil
		}
		r, err := compiler.Compile(text, options...)
		if err != nil {
			return fmt.Errorf("%s: %w", reader, err)
		}
		for _, l := range r.Leaves() {
			if lacked[l.ID] {
				all = append(all, Lack{Reader: reader, Leaf: l})
			}
		}
		return nil
	}
	for _, d := range ws.Segments {
		if err := add("segment "+d.ID, d.When, rule.WithOtherSegments(ids)); err != nil {
			return nil, err
		}
	}
	for _, c := range ws.Campaigns {
		if err := add("campaign "+c.ID, c.Audience, rule.WithEvent(), rule.WithSegments(ids)); err != nil {
			return nil, err
		}
	}
	return slices.Clip(all), nil
}

// Reach is the earliest instant at which what occurred may count at now for a rule that lacks it, zero: any; ok is false
// where nothing is lacking.
func (s *Succession) Reach(now event.Instant) (since event.Instant, ok bool) {
	for _, of := range []*rule.Succession{s.Segments, s.Campaigns} {
		for _, l := range of.Lacked() {
			from, bounded := l.Reach(now)
			if !bounded {
				return 0, true
			}
			if !ok || from < since {
				since, ok = from, true
			}
		}
	}
	return since, ok
}

// Wants tells whether an event of the past counts for a rule that lacks it.
func (s *Succession) Wants(e *event.Event, now event.Instant) bool {
	return s.Segments.Wants(e, now) || s.Campaigns.Wants(e, now)
}

// Events are the names of the events that count for such rules, sorted.
func (s *Succession) Events() []string {
	var names []string
	for _, of := range []*rule.Succession{s.Segments, s.Campaigns} {
		for _, l := range of.Lacked() {
			names = append(names, l.Event)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Asks tells whether such a rule looks at the property of events of that name.
func (s *Succession) Asks(name, property string) bool {
	return s.Segments.Asks(name, property) || s.Campaigns.Asks(name, property)
}
