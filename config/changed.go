package config

import (
	"maps"
	"slices"
	"strings"

	"attune/config/document"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// Change is a change of a workspace's definitions: changed and new ones by id or name, and those that go.
type Change struct {
	Segments  map[string]string // their rules
	Campaigns map[string]trigger.Campaign
	Templates map[string]Template
	// Without are the ids of segments and campaigns.
	WithoutSegments, WithoutCampaigns []string
	// Places are where segments (as "segments/ID") and campaigns (as "campaigns/ID") are written, for what Check finds; one that
	// is missing has no place.
	Places map[string]*document.Document
}

// With is the workspace after a change.
func (ws *Workspace) With(c Change) *Workspace {
	changed := *ws
	changed.object = ""
	changed.sources.segments, changed.sources.campaigns = maps.Clone(ws.sources.segments), maps.Clone(ws.sources.campaigns)
	changed.sources.ids = maps.Clone(ws.sources.ids)

	changed.Segments = slices.DeleteFunc(slices.Clone(ws.Segments), func(d segment.Definition) bool { return slices.Contains(c.WithoutSegments, d.ID) })
	for _, id := range c.WithoutSegments {
		delete(changed.sources.ids, id)
	}
	for _, id := range slices.Sorted(maps.Keys(c.Segments)) {
		i := slices.IndexFunc(changed.Segments, func(d segment.Definition) bool { return d.ID == id })
		if i < 0 {
			i = len(changed.Segments)
			changed.Segments = append(changed.Segments, segment.Definition{ID: id})
		}
		changed.Segments[i].When = c.Segments[id]
		place(&changed.sources.segments, id, c.Places[segmentDir+"/"+id])
	}
	slices.SortFunc(changed.Segments, func(a, b segment.Definition) int { return strings.Compare(a.ID, b.ID) })

	changed.Campaigns = slices.DeleteFunc(slices.Clone(ws.Campaigns), func(one trigger.Campaign) bool {
		_, replaced := c.Campaigns[one.ID]
		return replaced || slices.Contains(c.WithoutCampaigns, one.ID)
	})
	for id, one := range c.Campaigns {
		one.ID = id
		changed.Campaigns = append(changed.Campaigns, one)
		place(&changed.sources.campaigns, id, c.Places[campaignDir+"/"+id])
	}
	slices.SortFunc(changed.Campaigns, func(a, b trigger.Campaign) int { return strings.Compare(a.ID, b.ID) })

	changed.Templates = maps.Clone(ws.Templates)
	maps.Copy(changed.Templates, c.Templates)
	return &changed
}

func place(docs *map[string]*document.Document, id string, doc *document.Document) {
	if *docs == nil {
		*docs = map[string]*document.Document{}
	}
	(*docs)[id] = doc
}
