package segment

import (
	"encoding/json"

	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// preparing is a chain by the definitions before, while those after are staged.
func preparing(scores pipeline.Stage, before, after *Stage) *pipeline.Chain {
	c := chain(1, scores, before)
	c.Staged = &pipeline.Staged{
		Version: 1, Segments: after,
		SegmentLeaves: after.Set().Leaves().After(before.Set().Leaves()), CampaignLeaves: rule.NewLeafSet().After(rule.NewLeafSet()),
	}
	return c
}

// following is a chain by the definitions after, which came into force at an instant.
func following(scores pipeline.Stage, staged *pipeline.Chain, after *Stage, at event.Instant) *pipeline.Chain {
	c := chain(2, scores, after)
	c.Switch = pipeline.Switch{At: at, Before: staged, Staged: 1}
	return c
}

// preparations are what a rollout appends for one profile at an instant: its past in some records, each from the beginning
// again, as where a worker took over, and then, if it is filled, the word that it has all; some of them twice.
func preparations(t *rapid.T, at event.Instant, past []pipeline.PastEvent, filled bool) (all []event.Event) {
	one := func(b pipeline.Preparation) {
		for range rapid.IntRange(1, 2).Draw(t, "times") {
			all = append(all, prepare(t, at, b))
		}
	}
	for from := 0; from < len(past); {
		to := rapid.IntRange(from+1, len(past)).Draw(t, "to")
		one(pipeline.Preparation{Past: past[:to], Read: past[to-1].Position})
		from = to
	}
	if filled {
		one(pipeline.Preparation{Filled: true})
	}
	return all
}

// prepare is the record of one preparation.
func prepare(t rapid.TB, at event.Instant, b pipeline.Preparation) event.Event {
	b.Staged = 1
	properties, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return event.Event{Type: event.Prepare, Accepted: at, Properties: properties}
}

// reread is the profile, now and then as another worker reads it, since the one before died.
func reread(t *rapid.T, p *profile.Profile) *profile.Profile {
	if rapid.IntRange(0, 2).Draw(t, "store") > 0 || p.Applied == 0 {
		return p
	}
	p, err := profile.Decode(profile.Encode(p))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
