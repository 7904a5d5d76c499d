package rollout

import (
	"context"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// merged are the profiles that went on in another one, by id.
type merged map[string]tombstone

type tombstone struct {
	into string
	at   event.Instant // the profile's clock when it went
}

// merged finds the profiles that had gone on in another one when the definitions were staged.
func (d *drive) merged(ctx context.Context) (merged, error) {
	m := merged{}
	err := d.allProfiles(ctx, pipeline.KindStaged, d.staged.Version, func(p *profile.Profile) error {
		if p.Into != "" {
			m[p.ID] = tombstone{p.Into, p.Now}
		}
		return d.goOn(ctx)
	})
	d.progress.Done = 0
	return m, err
}

// current is the profile that a customer has now.
func (m merged) current(id string) string {
	for m[id].into != "" {
		id = m[id].into
	}
	return id
}

// appliedRecords tells, of the log's records in their order, which ones the chain has applied to the profile that they name.
type appliedRecords struct {
	merged  merged
	highest map[[2]string]uint64 // by partition's subject and source
	gone    map[string]bool      // profiles whose merge was passed
}

// has passes a record. A repeat, which a crash leads to, is not applied, and what comes for a profile that has gone on in
// another one is forwarded: there it is applied.
func (a *appliedRecords) has(subject string, e *event.Event) bool {
	source := [2]string{subject, e.Source.Name}
	if highest, known := a.highest[source]; known && !e.Source.News(highest) {
		return false
	}
	a.highest[source] = e.Source.Ordinal
	if e.Type == event.Merge {
		a.gone[e.Profile] = true
	}
	// Where the merge lies before the beginning of what is read, the clock tells.
	left, isMerged := a.merged[e.Profile]
	return e.Profile != "" && !a.gone[e.Profile] && (!isMerged || e.Accepted <= left.at)
}
