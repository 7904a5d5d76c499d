package trigger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/trigger"
)

// parts is how many bytes a commit takes that holds what a record led to.
func parts(t *testing.T, r pipeline.Result, p *profile.Profile) int {
	t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	facts, err := codec.AppendFacts(nil, nil, &r.Facts)
	if err != nil {
		t.Fatal(err)
	}
	data, err := codec.Encode(&pipeline.Commit{
		Facts: pipeline.AppendRecordFacts(nil, 1, facts), Deliveries: r.Deliveries, Profiles: []pipeline.ProfileState{{ID: p.ID, State: profile.Encode(p)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(data)
}

// A customer of whom much is known, and whose waits are all decided at one record: the broker takes its commit, and each
// wait is decided, in the order in which they are due.
func TestOneRecordCarriesNoMoreThanItsCommit(t *testing.T) {
	t.Parallel()
	for name, apart := range map[string]time.Duration{"at one instant": 0, "at an instant each, run late": time.Second} {
		r := newRun(t, -1, stage(t, `[{id: a, on: {event: A}, key: k, wait: 1h, cap: {per: day, max: 100}`+send+`]`))
		r.event(consent(true))
		r.profile.Traits = map[string]profile.Trait{}
		for i := range profile.MaxNames {
			r.profile.Traits[fmt.Sprint("t", i)] = profile.Trait{Value: event.Object(`"` + strings.Repeat("x", 1022) + `"`)}
		}
		for i := range trigger.MaxWaits {
			at := apart * time.Duration(i)
			r.event(track(fmt.Sprint("e", i), "A", at, fmt.Sprintf(`{"k": "k%02d"}`, i)))
		}
		result, err := r.chain.Apply(r.profile, &event.Event{Type: event.Wake, Accepted: start.Add(2 * time.Hour)}, 1<<60)
		if err != nil {
			t.Fatal(err)
		}
		if size := parts(t, result, r.profile); size >= 1<<20 {
			t.Errorf("%s: the commit takes %d bytes", name, size)
		}
		decided, fired := map[string]bool{}, 0
		for i, d := range result.Facts.Decisions {
			decided[d.Key] = true
			switch {
			case d.Outcome == pipeline.Fired:
				fired++
			case d.Reason != trigger.ReasonTooMuchAtOnce || i < 2:
				t.Errorf("%s: %+v", name, d)
			}
		}
		if len(decided) != trigger.MaxWaits || len(result.Facts.Decisions) != trigger.MaxWaits {
			t.Errorf("%s: %d decisions about %d waits, want one about each of %d", name, len(result.Facts.Decisions), len(decided), trigger.MaxWaits)
		}
		if fired != 2 || len(result.Deliveries) != fired || len(r.profile.Sends) != fired {
			t.Errorf("%s: %d fired, %d deliveries, %d count against the cap: want two of each", name, fired, len(result.Deliveries), len(r.profile.Sends))
		}
		// The next record has room again.
		r.event(track("later", "A", 3*time.Hour, `{"k": "later"}`))
		r.end(start.Add(5 * time.Hour))
		if last := r.decisions[len(r.decisions)-1]; last.Outcome != pipeline.Fired {
			t.Errorf("%s: later: %+v", name, last)
		}
	}
}

// The first mail of a record goes, however large it is.
func TestTheFirstMailAlwaysGoes(t *testing.T) {
	t.Parallel()
	r := newRun(t, 0, stage(t, `[{id: a, on: {event: A}`+send+`, {id: b, on: {event: A}`+send+`]`))
	r.event(consent(true))
	r.event(track("e1", "A", 0, `{"text": "`+strings.Repeat("x", pipeline.MaxCarried)+`"}`))
	if got := print(r.decisions); !strings.HasPrefix(got, "0s a fired <- e1\n0s b suppressed too_much_at_once (") {
		t.Errorf("decisions:\n%s", got)
	}
}

// A decision's detail is for people and stays short, and whole characters.
func TestLongDetailsAreCut(t *testing.T) {
	t.Parallel()
	rule := `trait("plan") == "` + strings.Repeat("é", 1000) + `"`
	r := newRun(t, 0, stage(t, `[{id: a, on: {event: A}, audience: '`+rule+`'`+send+`]`))
	r.event(consent(true))
	r.event(track("e1", "A", 0, ""))
	if d := r.decisions[0]; len(d.Detail) > 520 || !strings.HasPrefix(rule, strings.TrimSuffix(d.Detail, "…")) || !strings.HasSuffix(d.Detail, "é…") {
		t.Errorf("detail %q", d.Detail)
	}
}
