package segment

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// drawDefinitions draws segments that may ask for each other; some are taken from others.
func drawDefinitions(t *rapid.T, from map[string]question) (defs []Definition, members map[string]question) {
	members = map[string]question{}
	var ids []string
	for i := range rapid.IntRange(1, 4).Draw(t, "segments") {
		id := fmt.Sprintf("s%d", i+rapid.IntRange(0, 1).Draw(t, "shift"))
		if _, taken := members[id]; taken {
			continue
		}
		q := drawQuestion(t, 2, ids)
		if same, ok := from[id]; ok && rapid.Bool().Draw(t, "same") && !asksUnknown(same.text, ids) {
			q = same
		}
		members[id] = q
		ids = append(ids, id)
		defs = append(defs, Definition{ID: id, When: q.text})
	}
	return defs, members
}

// asksUnknown tells whether a rule asks for a segment that isn't among those.
func asksUnknown(text string, ids []string) bool {
	for i := range 6 {
		id := fmt.Sprintf("s%d", i)
		if slices.Contains(ids, id) {
			continue
		}
		if asked := fmt.Sprintf("in_segment(%q)", id); len(asked) <= len(text) && containsText(text, asked) {
			return true
		}
	}
	return false
}

func containsText(text, part string) bool {
	for i := 0; i+len(part) <= len(text); i++ {
		if text[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

// change is one customer's log with a change of definitions in its middle.
type change struct {
	t        *rapid.T
	w        *world
	p        *profile.Profile
	chain    *pipeline.Chain
	position uint64
	past     []pipeline.PastEvent
}

func (c *change) apply(e event.Event) []pipeline.SegmentChange {
	c.p = reread(c.t, c.p)
	c.position++
	r, err := c.chain.Apply(c.p, &e, c.position)
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Facts.Changes
}

// The flips of a change of definitions, with their instants, are those of an evaluation of everything that has arrived:
// by the definitions before the instant of the switch, and by the new ones from it on; whatever the new ones look back
// at, whenever the customer is prepared, and whenever the next record or wake-up comes.
func TestFlipsAreExactAcrossAChange(t *testing.T) {
	compiler, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	zones := zonesOfChange()
	changed, prepared := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(slices.Sorted(maps.Keys(zones))).Draw(t, "zone")
		lawStart = zones[zone]
		defs, members := drawDefinitions(t, nil)
		nextDefs, nextMembers := drawDefinitions(t, members)
		before, err := New(defs, compiler)
		if err != nil {
			t.Fatal(err)
		}
		after, err := New(nextDefs, compiler)
		if err != nil {
			t.Fatal(err)
		}
		staged := preparing(scoring{}, before, after)

		events := drawHistory(t, zone)
		events = append(events, event.Event{Type: event.Wake, Accepted: events[len(events)-1].Accepted + 75*hour})
		stagedAt := rapid.IntRange(0, len(events)-1).Draw(t, "staged at")
		preparedAt := rapid.IntRange(stagedAt, len(events)-1).Draw(t, "prepared at")
		switchedAt := rapid.IntRange(preparedAt, len(events)-1).Draw(t, "switched at")

		c := &change{t: t, w: &world{id: "u1", members: members}, p: profile.New("u1"), chain: chain(1, scoring{}, before)}
		in, moved := map[string]bool{}, map[string]bool{}
		var switched event.Instant // not yet
		var ids []string
		for i := range 6 {
			ids = append(ids, fmt.Sprintf("s%d", i))
		}
		var changes []pipeline.SegmentChange
		follow := func(to event.Instant) {
			for len(changes) > 0 && changes[0].At <= to {
				f := changes[0]
				if in[f.Segment] == f.Entered {
					t.Fatalf("%s flips to %v at %s, which it was", f.Segment, f.Entered, f.At)
				}
				if (f.Reason == pipeline.BecauseDefinitions) != (f.At == switched) && f.Reason == pipeline.BecauseDefinitions {
					t.Fatalf("%s flips because of the definitions at %s, not at the switch %s", f.Segment, f.At, switched)
				}
				if f.Reason == pipeline.BecauseDefinitions {
					changed++
					moved[f.Segment] = true
				} else if f.Reason == pipeline.BecauseTime && f.At == switched && moved[f.Segment] {
					t.Fatalf("%s flips because of the definitions at %s, and back at once", f.Segment, f.At)
				}
				in[f.Segment] = f.Entered
				changes = changes[1:]
			}
		}
		expect := func(at event.Instant, when string) {
			c.w.members = members
			if switched != 0 && at >= switched {
				c.w.members = nextMembers
			}
			for _, id := range ids {
				q, defined := c.w.members[id]
				if want := defined && q.answer(c.w, at); in[id] != want {
					t.Fatalf("%s at %s: %s is %v, over all events %v\nstaged before record %d, prepared %d, switched %d at %s\nbefore %v\nafter %v\nzone %s\n%s",
						when, at, id, in[id], want, stagedAt, preparedAt, switchedAt, switched, defs, nextDefs, c.w.location(), c.w.describe(nil))
				}
			}
		}
		at := events[0].Accepted
		between := func(to event.Instant) event.Instant {
			if to <= at {
				return to
			}
			return at + event.Instant(rapid.Int64Range(0, int64(to-at)).Draw(t, "at"))
		}
		for i := range events {
			e := events[i]
			if i == stagedAt {
				c.chain, c.position = staged, c.position+1
			}
			if i == preparedAt {
				if c.p.Applied > 0 {
					prepared++
				}
				for _, prepare := range preparations(t, between(e.Accepted), c.past, true) {
					changes = append(changes, c.apply(prepare)...)
				}
			}
			if i == switchedAt {
				switched = between(e.Accepted)
				if instants := c.w.boundaries(at, e.Accepted); len(instants) > 0 && rapid.Bool().Draw(t, "at a boundary") {
					switched = rapid.SampledFrom(instants).Draw(t, "boundary")
				}
				switched = max(switched, c.p.Now)
				c.chain, c.position = following(scoring{}, staged, after, switched), c.position+1
			}
			if i > 0 && e.Accepted > at && rapid.IntRange(0, 2).Draw(t, "wake") == 0 {
				changes = append(changes, c.apply(event.Event{Type: event.Wake, Accepted: between(e.Accepted)})...)
			}
			changes = append(changes, c.apply(e)...)
			if i > 0 {
				instants := c.w.boundaries(at, e.Accepted)
				if switched > at && switched < e.Accepted {
					instants = append(instants, switched, max(switched-1, at+1))
					slices.Sort(instants)
				}
				for _, b := range instants {
					follow(b)
					expect(b, fmt.Sprintf("before record %d", i))
				}
			}
			if e.Type == event.Wake {
				break
			}
			c.w.events = append(c.w.events, e)
			c.past = append(c.past, pipeline.PastEvent{Position: c.position, Type: e.Type, Name: e.Name, Occurred: e.Occurred, Properties: e.Properties})
			follow(e.Accepted)
			if len(changes) > 0 {
				t.Fatalf("a flip at %s, after the record's time %s", changes[0].At, e.Accepted)
			}
			expect(e.Accepted, fmt.Sprintf("with record %d", i))
			at = e.Accepted
		}
		if c.p.Next != nil {
			t.Fatal("what was staged is still kept beside what is in force")
		}
	})
	if changed == 0 || prepared == 0 {
		t.Errorf("%d flips because of the definitions, %d customers prepared: the test shows nothing", changed, prepared)
	}
}

// What a change of definitions states, case by case. Times are those since the first event.
func TestAChangeStatesItsFlips(t *testing.T) {
	viewers, buyers := Definition{ID: "s", When: `did("A", "1h")`}, Definition{ID: "s", When: `did("B", "1h")`}
	both := Definition{ID: "t", When: `did("A", "1h") || did("B", "1h")`}
	for _, k := range []struct {
		name          string
		before, after []Definition
		at            event.Instant // of the switch
		unprepared    bool
		next          event.Instant // the next record: a wake-up
		want          []string
	}{
		{"a new segment, whose event nobody kept", nil, []Definition{buyers}, 20 * minute, false, 30 * minute, []string{"+s at 20m0s (definitions)"}},
		{"the next record comes after the window's end", nil, []Definition{buyers}, 20 * minute, false, 90 * minute,
			[]string{"+s at 20m0s (definitions)", "-s at 1h10m0s (time)"}},
		{"its window ends at the very instant", nil, []Definition{buyers}, 70 * minute, false, 90 * minute, nil},
		{"its window ends a millisecond later", nil, []Definition{buyers}, 70*minute - 1, false, 90 * minute,
			[]string{"+s at 1h9m59.999s (definitions)", "-s at 1h10m0s (time)"}},
		{"a window that ended before, by the definitions before", []Definition{viewers}, []Definition{buyers}, 65 * minute, false, 90 * minute,
			[]string{"-s at 1h0m0s (time)", "+s at 1h5m0s (definitions)", "-s at 1h10m0s (time)"}},
		{"a segment that is the same goes on", []Definition{viewers}, []Definition{viewers, both}, 20 * minute, false, 90 * minute,
			[]string{"+t at 20m0s (definitions)", "-s at 1h0m0s (time)", "-t at 1h10m0s (time)"}},
		{"a changed segment that the customer stays in", []Definition{viewers}, []Definition{buyers}, 20 * minute, false, 90 * minute, []string{"-s at 1h10m0s (time)"}},
		{"a removed segment", []Definition{viewers, both}, []Definition{viewers}, 20 * minute, false, 30 * minute, []string{"-t at 20m0s (definitions)"}},
		{"who wasn't prepared is judged by what is known", []Definition{viewers}, []Definition{buyers}, 20 * minute, true, 30 * minute, []string{"-s at 20m0s (definitions)"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			before, after := stage(t, k.before...), stage(t, k.after...)
			was := chain(1, enrich{}, before)
			p := profile.New("p1")
			run(t, was, p, track("A", 0, 0, ""), track("B", 10*minute, 10*minute, ""))
			staged := preparing(enrich{}, before, after)
			if !k.unprepared {
				filled := pipeline.Preparation{Filled: true, Past: []pipeline.PastEvent{
					{Position: 1, Type: event.Track, Name: "A", Occurred: start}, {Position: 2, Type: event.Track, Name: "B", Occurred: start + 10*minute},
				}}
				if flips := run(t, staged, p, prepare(t, start+15*minute, filled)); len(flips) > 0 {
					t.Errorf("a customer who is prepared flips: %v", flips)
				}
			}
			now := following(enrich{}, staged, after, start+k.at)
			flips := run(t, now, p, wake(k.next))
			if !slices.Equal(flips, k.want) {
				t.Errorf("flips %v, want %v", flips, k.want)
			}
			if due, armed := now.Due(p), p.Armed; due != armed {
				t.Errorf("armed for %s, due at %s", armed, due)
			}
		})
	}
}

// Who sleeps through definitions with the same rules, one after another, leaves when the window closes, because of time.
func TestWhoSleepsThroughDefinitionsWithTheSameRules(t *testing.T) {
	st := stage(t, Definition{ID: "a", When: `did("A", "24h")`})
	inForce := func(version uint64, at event.Instant) *pipeline.Chain {
		c := chain(version, enrich{}, st)
		c.Switch = pipeline.Switch{At: start + at, Before: chain(version-1, enrich{}, st)}
		return c
	}
	for _, passed := range []uint64{1, 2, 5} {
		p := profile.New("p")
		run(t, chain(1, enrich{}, st), p, happened("A", start))
		flips := run(t, inForce(passed+1, 48*hour), p, wake(50*hour))
		if !slices.Equal(flips, []string{"-a at 24h0m0s (time)"}) || p.Definitions != passed+1 {
			t.Errorf("%d versions on: %v, by version %d", passed, flips, p.Definitions)
		}
	}
}
