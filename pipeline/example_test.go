package pipeline_test

import (
	"fmt"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// reminder is a stage that owes a decision an hour after each view.
type reminder struct{}

func (reminder) Name() string { return "reminder" }

func (reminder) Apply(s *pipeline.Step) {
	if s.Event != nil {
		s.Profile.Waits = []profile.Wait{{Campaign: "reminder", Due: s.Now.Add(time.Hour), Cause: s.Event.ID}}
		return
	}
	s.Decide(pipeline.Decision{Campaign: "reminder", Outcome: pipeline.Fired, Cause: s.Profile.Waits[0].Cause})
	s.Profile.Waits = nil
}

func (reminder) Due(p *profile.Profile) event.Instant {
	if len(p.Waits) == 0 {
		return 0
	}
	return p.Waits[0].Due
}

// A chain is a value: the same one runs in a worker, in a workspace's tests and here. What a profile owes is
// run at its own instant, however late the next record comes.
func ExampleChain_Apply() {
	chain := pipeline.Chain{Stages: []pipeline.Stage{reminder{}}}
	ada := profile.New("ada")
	nine := event.At(time.Date(2026, 5, 1, 9, 0, 0, 0, time.UTC))

	seen := event.Event{ID: "e1", Type: event.Track, Name: "Product Viewed", Profile: "ada", Occurred: nine, Accepted: nine}
	result, err := chain.Apply(ada, &seen, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("wake at", result.Wake)

	late := event.Event{ID: "w1", Type: event.Wake, Profile: "ada", Accepted: nine.Add(5 * time.Hour)}
	if result, err = chain.Apply(ada, &late, 2); err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range result.Facts.Decisions {
		fmt.Println(d.Campaign, d.Outcome, "at", d.At, "because of", d.Cause)
	}
	// Output:
	// wake at 2026-05-01T10:00:00.000Z
	// reminder fired at 2026-05-01T10:00:00.000Z because of e1
}
