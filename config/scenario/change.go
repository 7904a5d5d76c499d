package scenario

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"attune/config"
	"attune/config/document"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/rollout"
	"attune/stages/enrich"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// Apply is a change of the definitions, as attune apply brings it into force.
type Apply struct {
	// Segments are rules by segment: changed ones, and those of new segments.
	Segments map[string]string `yaml:"segments"`
	// Campaigns are what changes by campaign, as in its file: {cart: {wait: 2h}} leaves the rest as it is. A new campaign is
	// given in full.
	Campaigns map[string]map[string]any `yaml:"campaigns"`
	// Templates are changed and new texts by template.
	Templates map[string]Template `yaml:"templates"`
	// Remove are segments and campaigns that are no longer defined, by id.
	Remove []string `yaml:"remove"`
	// Fire has campaigns fire for customers whom the change itself moves, as attune apply --fire does.
	Fire bool `yaml:"fire"`
}

// Template is a mail's texts; what isn't given stays as it is.
type Template struct {
	// HTML is what templates/NAME.html holds.
	HTML string `yaml:"html"`
	// Text is what templates/NAME.txt holds, the plain alternative.
	Text string `yaml:"text"`
}

// after is the workspace after a change, and what is wrong with it.
func (s *Scenario) after(at string, ws *config.Workspace, a *Apply) (*config.Workspace, config.Problems) {
	var problems config.Problems
	add := func(path, message, hint string) { problems = append(problems, s.doc.Problem(path, "", message, hint)) }
	c := config.Change{Segments: a.Segments, Campaigns: map[string]trigger.Campaign{}, Templates: map[string]config.Template{}, Places: map[string]*document.Document{}}
	for id := range a.Segments {
		c.Places["segments/"+id] = s.doc.Part(at+".segments."+id, "when")
	}
	for _, id := range slices.Sorted(maps.Keys(a.Campaigns)) {
		campaign, err := campaignOf(ws, id)
		if err != nil {
			add(at+".campaigns."+id, err.Error(), "")
			continue
		}
		doc := s.doc.Part(at+".campaigns."+id, "")
		problems = append(problems, doc.Decode(&campaign)...)
		if campaign.ID != id {
			add(at+".campaigns."+id+".id", fmt.Sprintf("%q is another id than %q", campaign.ID, id), "leave it out")
		}
		c.Campaigns[id], c.Places["campaigns/"+id] = campaign, doc
	}
	for name, texts := range a.Templates {
		t := ws.Templates[name]
		if s.doc.Has(at + ".templates." + name + ".html") {
			t.HTML = texts.HTML
		}
		if s.doc.Has(at + ".templates." + name + ".text") {
			t.Text = texts.Text
		}
		c.Templates[name] = t
	}
	for i, id := range a.Remove {
		isSegment := slices.ContainsFunc(ws.Segments, func(d segment.Definition) bool { return d.ID == id })
		isCampaign := slices.ContainsFunc(ws.Campaigns, func(c trigger.Campaign) bool { return c.ID == id })
		if isSegment {
			c.WithoutSegments = append(c.WithoutSegments, id)
		}
		if isCampaign {
			c.WithoutCampaigns = append(c.WithoutCampaigns, id)
		}
		if !isSegment && !isCampaign {
			add(fmt.Sprintf("%s.remove[%d]", at, i), fmt.Sprintf("%q is no segment and no campaign", id), "")
		}
	}
	if len(problems) > 0 {
		return ws, problems
	}
	changed := ws.With(c)
	if err := config.Check(changed, s.in); err != nil {
		return ws, s.inChange(at, a, err)
	}
	return changed, nil
}

// campaignOf is a copy of a campaign that shares nothing with it; a new one where there is none.
func campaignOf(ws *config.Workspace, id string) (c trigger.Campaign, err error) {
	i := slices.IndexFunc(ws.Campaigns, func(c trigger.Campaign) bool { return c.ID == id })
	if i < 0 {
		return trigger.Campaign{ID: id}, nil
	}
	data, err := json.Marshal(ws.Campaigns[i])
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

// inChange tells the problems of a changed workspace where the change is written: those of texts, and of definitions in
// other files that the change breaks, have another place.
func (s *Scenario) inChange(at string, a *Apply, err error) config.Problems {
	found := config.Problems{{Message: err.Error()}}
	errors.As(err, &found)
	for i, p := range found {
		if p.File == s.Path {
			continue
		}
		place, name := at, strings.TrimSuffix(path.Base(p.File), path.Ext(p.File))
		if _, changed := a.Templates[name]; changed && path.Dir(p.File) == "templates" {
			place = at + ".templates." + name + map[string]string{".html": ".html", ".txt": ".text"}[path.Ext(p.File)]
			found[i].Line, found[i].Column = s.doc.InText(place, p.Line, p.Column)
		} else {
			found[i].Line, found[i].Column = s.doc.Place(place)
			found[i].Message = strings.TrimPrefix(p.File+": ", ": ") + p.Message
		}
		found[i].File = s.Path
	}
	return found
}

// checkApply tells what is wrong with a change, and gives the workspace as it is after it.
func (s *Scenario) checkApply(ps *config.Problems, at string, ws *config.Workspace, a *Apply) *config.Workspace {
	if len(a.Segments)+len(a.Campaigns)+len(a.Templates)+len(a.Remove) == 0 {
		*ps = append(*ps, s.doc.Problem(at, "", "changes nothing", `name segments with their new rules, such as apply: {segments: {fans: 'ever("Liked")'}}`))
		return ws
	}
	changed, problems := s.after(at, ws, a)
	*ps = append(*ps, problems...)
	return changed
}

// change brings changed definitions into force as attune apply and the rollout do, between two moments of the scenario: at
// once where nobody has to be judged anew, else by preparing every customer first.
func (w *world) change(next *config.Workspace, fire bool) error {
	was, record := w.ws, event.ControlRecord{Version: w.record.Version + 1, At: max(w.now, w.record.At+1), Staged: w.record.Staged}
	if len(w.customers) > 0 && !next.SameRules(was) {
		record.Staged, record.Fire = w.record.Staged+1, fire
		if err := w.prepare(next, record.Staged); err != nil {
			return err
		}
	}
	chain, err := next.InForce(record, was, enrich.DefaultModels())
	if err != nil {
		return err
	}
	w.ws, w.chain, w.record = next, chain, record
	w.workspaces[chain.Definitions] = next
	for _, c := range w.customers { // who is in another segment now is told
		if err := w.prepared(c, pipeline.Preparation{Staged: record.Staged}); err != nil {
			return err
		}
	}
	return nil
}

// prepare has every customer judged by definitions that are staged to follow those in force, with what they look back at.
func (w *world) prepare(next *config.Workspace, version uint64) error {
	succession, err := next.After(w.ws, version)
	if err != nil {
		return err
	}
	staged := *w.chain
	staged.Staged = succession.Staged
	w.chain = &staged
	for _, c := range w.customers {
		b := pipeline.Preparation{Staged: version, Read: w.position, Filled: true}
		for i := range c.history {
			if h := &c.history[i]; succession.Wants(&h.event, w.now) {
				b.Past = append(b.Past, rollout.PastOf(&h.event, h.position, succession))
			}
		}
		if err := w.prepared(c, b); err != nil {
			return err
		}
	}
	return nil
}

// prepared runs a prepare record of one customer.
func (w *world) prepared(c *customer, b pipeline.Preparation) error {
	if c.profile.Into != "" {
		return nil // it went on in another one
	}
	properties, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return w.apply(c, &event.Event{Type: event.Prepare, Profile: c.profile.ID, Occurred: w.now, Accepted: w.now, Properties: properties})
}
