package trigger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/trigger"
)

const send = `, send: {destination: mail, from: hi@shop.example, subject: Hello, template: t}}`

// mixed are campaigns that get in each other's way.
const mixed = `
- {id: at-once, on: {event: A}, cap: {per: day, max: 2}` + send + `
- {id: hourly, on: {event: A}, key: k, wait: 1h, unless: {event: B}, cap: {per: day, max: 1}` + send + `
- {id: long, on: {event: A, where: 'event.properties.k == "x"'}, key: k, wait: 25h, cap: {per: day, max: 1}, audience: '!did("B", "3h")'` + send + `
- {id: entered, on: {segment_entered: vip}, wait: 30m, unless: {event: B}, cap: {per: day, max: 1}` + send + `
- {id: exited, on: {segment_exited: vip}, cap: {per: day, max: 1}` + send + `
`

// step is a drawn record: an event, or the end of the delivery of one of the decisions so far.
type step struct {
	gap     time.Duration
	event   event.Event
	release int    // when above zero: of the decision that many before the last
	outcome string // of the release
}

func steps() *rapid.Generator[[]step] {
	gap := rapid.Custom(func(t *rapid.T) time.Duration {
		unit := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 10 * time.Minute, time.Hour, 12 * time.Hour}).Draw(t, "unit")
		return time.Duration(rapid.IntRange(0, 6).Draw(t, "gap")) * unit
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		s := step{gap: gap.Draw(t, "gap"), event: event.Event{Type: event.Track, Profile: "p1"}}
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0, 1, 2, 3:
			s.event.Name = "A"
			s.event.Properties = event.Object(rapid.SampledFrom([]string{`{"k":"x"}`, `{"k":"y"}`, `{}`}).Draw(t, "key"))
		case 4:
			s.event.Name = "B"
			s.event.Properties = event.Object(rapid.SampledFrom([]string{`{"k":"x"}`, `{}`}).Draw(t, "key"))
			s.event.Historical = rapid.Bool().Draw(t, "historical")
		case 5:
			s.event.Name, s.event.Properties = "Enter", event.Object(`{"segment":"vip","for":"2h"}`)
		case 6:
			s.event.Name, s.event.Properties = "Exit", event.Object(`{"segment":"vip"}`)
		case 7:
			s.event.Type, s.event.Consent = event.Identify, map[string]bool{"email": rapid.IntRange(0, 4).Draw(t, "granted") > 0}
		default:
			s.event.Type, s.release = event.Delivery, rapid.IntRange(1, 4).Draw(t, "of")
			s.outcome = rapid.SampledFrom([]string{"accepted", "unknown", "dropped", "bounced"}).Draw(t, "outcome")
		}
		return s
	}), 1, 60)
}

// walk plays the steps. A delivery's end names a decision that was fired by then, by its rank, so that it is
// the same for any wake-ups.
func walk(r *run, steps []step) {
	r.t.Helper()
	now := start
	r.event(event.Event{ID: "e0", Type: event.Identify, Occurred: now, Accepted: now, Consent: map[string]bool{"email": true}})
	for i, s := range steps {
		now = now.Add(s.gap)
		e := s.event
		e.ID, e.Occurred, e.Accepted = fmt.Sprint("e", i+1), now, now
		if e.Historical {
			e.Occurred = now.Add(-30 * time.Minute)
		}
		if s.release > 0 {
			var before []string // due up to now, whoever has run it yet
			for _, d := range r.deliveries {
				if d.Decided < now {
					before = append(before, d.Decision)
				}
			}
			id := "none"
			if n := len(before) - s.release; n >= 0 {
				id = before[n]
			}
			e.Properties = event.Object(fmt.Sprintf(`{"decision":%q,"outcome":%q}`, id, s.outcome))
		}
		r.event(e)
	}
	r.end(now.Add(100 * time.Hour))
}

// Whatever happens, no 24 hours hold more fired decisions of a campaign than its cap allows, those aside that
// were known to have failed when the next one fired.
func TestCapsAreNeverExceeded(t *testing.T) {
	st := stage(t, mixed)
	limits := map[string]int{"at-once": 2, "hourly": 1, "long": 1, "entered": 1, "exited": 1}
	rapid.Check(t, func(t *rapid.T) {
		r := newRun(t, 0, st)
		released := map[string]event.Instant{}
		watch := &releases{at: released}
		r.chain.Stages = append(r.chain.Stages, watch)
		walk(r, steps().Draw(t, "steps"))
		fired := map[string][]pipeline.Decision{}
		for _, d := range r.decisions {
			if d.Outcome != pipeline.Fired {
				continue
			}
			counted := 0
			for _, earlier := range fired[d.Campaign] {
				at, failed := released[earlier.ID]
				if d.At.Sub(earlier.At) < 24*time.Hour && !(failed && at <= d.At) {
					counted++
				}
			}
			if counted >= limits[d.Campaign] {
				t.Fatalf("%s fired at %s with %d in the 24 hours before\n%s", d.Campaign, d.At.Sub(start), counted, print(r.decisions))
			}
			fired[d.Campaign] = append(fired[d.Campaign], d)
		}
		for _, d := range r.decisions { // and a refusal by the cap is never wrong
			if d.Reason != trigger.ReasonCap {
				continue
			}
			counted := 0
			for _, earlier := range fired[d.Campaign] {
				at, failed := released[earlier.ID]
				if earlier.At <= d.At && d.At.Sub(earlier.At) < 24*time.Hour && !(failed && at < d.At) {
					counted++
				}
			}
			if counted < limits[d.Campaign] {
				t.Fatalf("%s refused by its cap at %s with %d in the 24 hours before\n%s", d.Campaign, d.At.Sub(start), counted, print(r.decisions))
			}
		}
	})
}

// releases notes when each decision's place was given back.
type releases struct {
	known
	at map[string]event.Instant
}

func (w *releases) Apply(s *pipeline.Step) {
	if s.Event == nil || s.Event.Type != event.Delivery {
		return
	}
	id, _ := s.Event.Properties.Get("decision").Text()
	if outcome, _ := s.Event.Properties.Get("outcome").Text(); outcome == "dropped" || outcome == "bounced" {
		if _, ok := w.at[id]; !ok {
			w.at[id] = s.Now
		}
	}
}

// The same log gives the same decisions, ids and mails included; late wake-ups, or none, change neither what
// is decided nor the instant.
func TestWakeUpsDoNotMatter(t *testing.T) {
	st := stage(t, mixed)
	rapid.Check(t, func(t *rapid.T) {
		drawn := steps().Draw(t, "steps")
		// A delivery ends only after its decision was run, so releases would differ by construction.
		drawn = slices.DeleteFunc(drawn, func(s step) bool { return s.release > 0 })
		late := time.Duration(rapid.IntRange(-1, 100_000).Draw(t, "late in seconds")) * time.Second
		onTime, again, other := newRun(t, 0, st), newRun(t, 0, st), newRun(t, late, st)
		for _, r := range []*run{onTime, again, other} {
			walk(r, drawn)
		}
		if diff := cmp.Diff(onTime.decisions, again.decisions); diff != "" {
			t.Fatalf("replayed:\n%s", diff)
		}
		if diff := cmp.Diff(onTime.deliveries, again.deliveries); diff != "" {
			t.Fatalf("replayed:\n%s", diff)
		}
		if diff := cmp.Diff(facts(onTime.decisions), facts(other.decisions)); diff != "" {
			t.Fatalf("wake-ups late by %s:\n%s", late, diff)
		}
		if diff := cmp.Diff(onTime.deliveries, other.deliveries); diff != "" {
			t.Fatalf("wake-ups late by %s:\n%s", late, diff)
		}
	})
}

func TestEachDecisionHasItsOwnID(t *testing.T) {
	st := stage(t, mixed)
	rapid.Check(t, func(t *rapid.T) {
		r := newRun(t, 0, st)
		walk(r, steps().Draw(t, "steps"))
		seen := map[string]pipeline.Decision{}
		for _, d := range r.decisions {
			if other, ok := seen[d.ID]; ok {
				t.Fatalf("one id, two decisions:\n%+v\n%+v", other, d)
			}
			seen[d.ID] = d
		}
		if len(r.profile.Waits) != 0 {
			t.Fatalf("never decided: %+v", r.profile.Waits)
		}
	})
}

// A wait is decided once, exactly at its end, unless it is started again or cancelled before: by a second,
// simpler account of the same log.
func TestWaitsAgainstAModel(t *testing.T) {
	st := stage(t, `[{id: cart, on: {event: A}, key: k, wait: 1h, unless: {event: B}`+send+`]`)
	rapid.Check(t, func(t *rapid.T) {
		drawn := steps().Draw(t, "steps")
		drawn = slices.DeleteFunc(drawn, func(s step) bool {
			return s.event.Type != event.Track || s.event.Historical || s.event.Name != "A" && s.event.Name != "B"
		})
		r := newRun(t, time.Duration(rapid.IntRange(-1, 7200).Draw(t, "late"))*time.Second, st)
		walk(r, drawn)

		type moment struct {
			at   event.Instant
			name string
			key  string
		}
		var log []moment
		now := start
		for _, s := range drawn {
			now = now.Add(s.gap)
			key, _ := s.event.Properties.Get("k").Text()
			log = append(log, moment{now, s.event.Name, key})
		}
		want := map[string]int{}
		for i, m := range log {
			if m.name != "A" {
				continue
			}
			due, end := m.at.Add(time.Hour), ""
			for _, later := range log[i+1:] {
				if later.at >= due {
					break
				}
				if later.name == "A" && later.key == m.key {
					end = "restarted"
					break
				}
				if later.name == "B" && (later.key == m.key || later.key == "" || m.key == "") {
					end = fmt.Sprint(later.at, m.key, pipeline.Suppressed, trigger.ReasonCancelled)
					break
				}
			}
			if end == "" {
				end = fmt.Sprint(due, m.key, pipeline.Fired, "")
			}
			if end != "restarted" {
				want[end]++
			}
		}
		got := map[string]int{}
		for _, d := range r.decisions {
			got[fmt.Sprint(d.At, d.Key, d.Outcome, d.Reason)]++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("decisions (-want +got):\n%s", diff)
		}
	})
}

// Other profiles of the customer, of whom nothing else is known, change when campaigns are decided, and neither which nor
// how often.
func TestMergesDecideNothingAway(t *testing.T) {
	st := stage(t, `
- {id: started, on: {event: Started}`+send+`
- {id: asked, on: {event: Asked}, key: n, wait: 10s`+send+`
`)
	rapid.Check(t, func(t *rapid.T) {
		plain, merging := newRun(t, 0, st), newRun(t, 0, st)
		for _, r := range []*run{plain, merging} {
			r.event(consent(true))
		}
		at, awaited := time.Duration(0), ""
		for i := range rapid.IntRange(1, 30).Draw(t, "steps") {
			at += time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond
			switch dice := rapid.IntRange(0, 5).Draw(t, "what"); {
			case dice < 4:
				name := rapid.SampledFrom([]string{"Started", "Asked"}).Draw(t, "name")
				e := track(fmt.Sprint("e", i), name, at, fmt.Sprintf(`{"n":%d}`, rapid.IntRange(1, 2).Draw(t, "n")))
				plain.event(e)
				merging.event(e)
			case awaited == "":
				awaited = fmt.Sprint("other", i)
				e := track(fmt.Sprint("j", i), "Joined", at, `{}`)
				e.Joins = []event.Join{{Loser: awaited}}
				merging.event(e)
			default:
				merging.event(event.Event{Type: event.Transfer, Profile: "p1", Accepted: start.Add(at), Merge: &event.MergeRecord{
					Loser: awaited, Winner: "p1", State: profile.Encode(profile.New(awaited)),
				}})
				awaited = ""
			}
		}
		causes := func(r *run) (all []string) {
			r.end(start.Add(at + time.Hour))
			for _, d := range r.decisions {
				all = append(all, fmt.Sprint(d.Campaign, " ", d.Outcome, " ", d.Cause))
			}
			slices.Sort(all)
			return all
		}
		if diff := cmp.Diff(causes(plain), causes(merging)); diff != "" {
			t.Fatalf("decisions without merges and with them:\n%s", diff)
		}
	})
}
