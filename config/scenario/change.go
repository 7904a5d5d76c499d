package scenario

import (
	"attune/config"
	"attune/pipeline/event"
	"attune/pipeline/rule"
	"attune/stages/enrich"
)

// Apply is a change of the definitions.
type Apply struct {
	// Segments are rules by segment: changed ones, and those of new segments.
	Segments map[string]string `yaml:"segments"`
	// Remove are segments that are no longer defined.
	Remove []string `yaml:"remove"`
}

// checkApply tells what is wrong with a change, and gives the workspace as it is after it.
func (s *Scenario) checkApply(ps *config.Problems, path string, ws *config.Workspace, a *Apply) *config.Workspace {
	if len(a.Segments)+len(a.Remove) == 0 {
		*ps = append(*ps, s.doc.Problem(path, "", "changes nothing", `name segments with their new rules, such as apply: {segments: {fans: 'ever("Liked")'}}`))
		return ws
	}
	changed := ws.WithSegments(a.Segments, a.Remove)
	if _, err := changed.Chain(firstVersion, enrich.DefaultModels()); err != nil {
		*ps = append(*ps, s.doc.Problem(path, "", err.Error(), ""))
		return ws
	}
	return changed
}

// change brings changed definitions into force at once for everybody: what their rules look back at is read from the
// customers' history, all segments are judged by it, and the flips count as those of the definitions, on which nothing
// fires.
func (w *world) change(ws *config.Workspace) error {
	chain, err := ws.Chain(w.chain.Version+1, enrich.DefaultModels())
	if err != nil {
		return err
	}
	w.ws, w.chain = ws, chain
	for _, c := range w.customers {
		p := c.profile
		p.Now = max(p.Now, w.now)
		p.Windows, p.Kept, p.Members = nil, nil, nil
		for _, stage := range chain.Stages {
			leaves := leavesOf(stage)
			for i := range c.history {
				leaves.Record(p, &c.history[i])
			}
		}
		p.SegmentsDue = p.Now // the step that it owes judges anew
		if err := w.apply(c, &event.Event{Type: event.Wake, Profile: p.ID, Occurred: w.now, Accepted: w.now}); err != nil {
			return err
		}
	}
	return nil
}

// leavesOf are what a stage's rules look back at.
func leavesOf(stage any) *rule.LeafSet {
	switch s := stage.(type) {
	case interface{ Set() *rule.Set }:
		return s.Set().Leaves()
	case interface{ Leaves() *rule.LeafSet }:
		return s.Leaves()
	}
	return rule.NewLeafSet()
}
