package pipeline_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// account is a stage that counts and adds up, has a segment of whoever did three things, and decides once about each
// event, a minute after it and not before the customer is whole.
type account struct{}

func (account) Name() string { return "account" }

func (account) Due(p *profile.Profile) event.Instant {
	switch {
	case p.Standing.Until != 0: // a merge asks for a step at once
		return p.Standing.Until
	case len(p.Waits) > 0:
		return max(p.Waits[0].Due, p.Whole())
	}
	return 0
}

func (account) Apply(s *pipeline.Step) {
	p := s.Profile
	p.Standing.Until = 0
	if s.Event != nil && s.Event.Name == "panic" {
		panic("a stage's mistake")
	}
	if e := s.Event; e != nil && e.Type == event.Track {
		p.Happens(e.Name).At(e.Occurred, 1)
		p.Order(e.Occurred, event.Money(e.Occurred%1000), "EUR")
		p.Waits = append(p.Waits, profile.Wait{Campaign: "each", Key: e.ID, Due: s.Now.Add(time.Minute), Cause: e.ID, Position: s.Position})
	}
	for s.Now >= p.Whole() && len(p.Waits) > 0 && p.Waits[0].Due <= s.Now {
		s.Decide(pipeline.Decision{ID: p.Waits[0].Cause, Campaign: "each", Outcome: pipeline.Fired})
		p.Waits = p.Waits[1:]
	}
	if busy := p.Count("view") >= 3; busy != p.In("busy") {
		s.Flip("busy", busy)
		p.Segments = map[string]profile.Membership{"busy": {In: busy}}
	}
}

// shard is one partition: its log, what is committed of it, and what is computed beyond that.
type shard struct {
	log           []event.Event
	positions     []uint64
	stored, ahead progress
	relayed       int // of stored.leaving: what the logs of others have
}

// progress is a partition's state after some records, and all that they led to.
type progress struct {
	next     int // record of the log
	profiles map[string][]byte
	sources  map[string]uint64
	facts    pipeline.Facts
	leaving  []event.Event
	parked   []event.Event
}

func (p *progress) clone() progress {
	c := *p
	c.profiles, c.sources = maps.Clone(p.profiles), maps.Clone(p.sources)
	c.leaving, c.parked = slices.Clip(p.leaving), slices.Clip(p.parked)
	c.facts = pipeline.Facts{
		Events: slices.Clip(p.facts.Events), Changes: slices.Clip(p.facts.Changes), Decisions: slices.Clip(p.facts.Decisions), Merges: slices.Clip(p.facts.Merges),
	}
	return c
}

// fragile is a stage that fails at every seventh position of the log, whatever the record is.
type fragile struct{ at *uint64 } // the remainder; nil: never

func (fragile) Name() string { return "fragile" }

func (fragile) Due(*profile.Profile) event.Instant { return 0 }

func (f fragile) Apply(s *pipeline.Step) {
	if f.at != nil && s.Position%7 == *f.at {
		panic("a stage's mistake")
	}
}

// simulation is the pipeline behind normalizing, in memory: any part of it may run next, die, or repeat itself.
type simulation struct {
	t        *rapid.T
	chain    *pipeline.Chain
	shards   []*shard
	raw      [][]event.Event // what each partition of RAW has still to publish, in order
	ordinals []uint64
	position uint64
}

func newSimulation(t *rapid.T, f fragile) *simulation {
	s := &simulation{t: t, chain: &pipeline.Chain{Stages: []pipeline.Stage{account{}, f}}, raw: make([][]event.Event, 2), ordinals: make([]uint64, 2)}
	for range 3 {
		one := &shard{}
		for _, p := range []*progress{&one.stored, &one.ahead} {
			p.profiles, p.sources = map[string][]byte{}, map[string]uint64{}
		}
		s.shards = append(s.shards, one)
	}
	return s
}

func (s *simulation) put(e event.Event) {
	s.position++
	to := s.shards[topology.Partition(e.Profile, len(s.shards))]
	to.log, to.positions = append(to.log, e), append(to.positions, s.position)
}

// publish brings the next record of a partition of RAW into the log, and perhaps a second time.
func (s *simulation) publish(q int, again bool) {
	if len(s.raw[q]) == 0 {
		return
	}
	e := s.raw[q][0]
	s.raw[q] = s.raw[q][1:]
	s.ordinals[q]++
	e.Source = event.Source{Name: fmt.Sprint("raw.", q), Ordinal: s.ordinals[q]}
	s.put(e)
	if again {
		s.put(e)
	}
}

// apply runs the next record of a partition.
func (s *simulation) apply(one *shard) bool {
	p := &one.ahead
	if p.next == len(one.log) {
		return false
	}
	e, position := one.log[p.next], one.positions[p.next]
	p.next++
	if !e.Source.News(p.sources[e.Source.Name]) {
		return true
	}
	p.sources[e.Source.Name] = e.Source.Ordinal
	of := s.profile(p, e.Profile)
	r, err := s.chain.Try(of, &e, position)
	if err != nil {
		p.parked = append(p.parked, e)
		of = s.profile(p, e.Profile)
		if r, err = s.chain.Salvage(of, &e, position); err != nil {
			s.t.Fatal(err)
		}
	}
	if of.Applied == position {
		p.profiles[e.Profile] = profile.Encode(of)
	}
	p.facts.Events = append(p.facts.Events, r.Facts.Events...)
	p.facts.Changes = append(p.facts.Changes, r.Facts.Changes...)
	p.facts.Decisions = append(p.facts.Decisions, r.Facts.Decisions...)
	p.facts.Merges = append(p.facts.Merges, r.Facts.Merges...)
	p.leaving = append(p.leaving, r.Leaving...)
	return true
}

func (s *simulation) profile(of *progress, id string) *profile.Profile {
	before := of.profiles[id]
	if before == nil {
		return profile.New(id)
	}
	p, err := profile.Decode(before)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// relay brings the next that leaves a partition into the log of its profile.
func (s *simulation) relay(number int) bool {
	one := s.shards[number]
	if one.relayed == len(one.stored.leaving) {
		return false
	}
	e := one.stored.leaving[one.relayed]
	one.relayed++
	e.Source = event.Source{Name: fmt.Sprint("merge.", number), Ordinal: uint64(one.relayed)}
	s.put(e)
	return true
}

// step lets something happen.
func (s *simulation) step() {
	number := rapid.IntRange(0, len(s.shards)-1).Draw(s.t, "partition")
	one := s.shards[number]
	switch rapid.SampledFrom([]string{"publish", "publish", "apply", "apply", "apply", "commit", "commit", "die", "relay", "relay", "repeat"}).Draw(s.t, "step") {
	case "publish":
		s.publish(number%len(s.raw), rapid.Bool().Draw(s.t, "again"))
	case "apply":
		s.apply(one)
	case "commit":
		one.stored = one.ahead.clone()
	case "die":
		one.ahead = one.stored.clone()
	case "relay":
		s.relay(number)
	case "repeat":
		one.relayed = rapid.IntRange(0, one.relayed).Draw(s.t, "from")
	}
}

// finish lets everything come to its end.
func (s *simulation) finish() {
	for busy := true; busy; {
		busy = false
		for q := range s.raw {
			busy = busy || len(s.raw[q]) > 0
			s.publish(q, false)
		}
		for number, one := range s.shards {
			for s.apply(one) {
				busy = true
			}
			one.stored = one.ahead.clone()
			for s.relay(number) {
				busy = true
			}
		}
	}
}

// everything is what came to be of all customers, and the records whose step failed.
func (s *simulation) everything() (profiles map[string]*profile.Profile, facts pipeline.Facts, parked []event.Event) {
	profiles = map[string]*profile.Profile{}
	for _, one := range s.shards {
		for id, state := range one.stored.profiles {
			p, err := profile.Decode(state)
			if err != nil {
				s.t.Fatal(err)
			}
			profiles[id] = p
		}
		parked = append(parked, one.stored.parked...)
		facts.Events = append(facts.Events, one.stored.facts.Events...)
		facts.Changes = append(facts.Changes, one.stored.facts.Changes...)
		facts.Decisions = append(facts.Decisions, one.stored.facts.Decisions...)
		facts.Merges = append(facts.Merges, one.stored.facts.Merges...)
	}
	return profiles, facts, parked
}

// Whatever runs when, dies and repeats itself, whichever steps fail, and in whatever order profiles turn out to be one
// customer's: the end is that of one customer who did it all but what failed, each event and each decision counted once.
func TestMergingComesToTheSameEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var mistaken fragile
		if rapid.Bool().Draw(t, "mistaken") {
			mistaken.at = new(rapid.Uint64Range(0, 6).Draw(t, "at"))
		}
		s := newSimulation(t, mistaken)
		ids := []string{"a", "b", "c", "d", "e", "f"}[:rapid.IntRange(2, 6).Draw(t, "profiles")] // the older first
		into := map[string]string{}
		root := func(id string) string {
			for into[id] != "" {
				id = into[id]
			}
			return id
		}
		want := map[string]*profile.Profile{} // by the root at the end
		did := map[string][]event.Event{}
		at := base
		calls := rapid.IntRange(1, 30).Draw(t, "calls")
		for i := range calls {
			at += event.Instant(rapid.IntRange(1, 100_000).Draw(t, "pause"))
			of := rapid.SampledFrom(ids).Draw(t, "of")
			e := event.Event{ID: fmt.Sprint("e", i), Type: event.Track, Name: "view", Occurred: at, Accepted: at}
			did[of] = append(did[of], e)
			e.Profile = root(of)
			if rapid.Bool().Draw(t, "stale") { // who found the id before the link
				for up := range rapid.IntRange(0, 3).Draw(t, "up") {
					if e.Profile = of; up == 0 {
						break
					}
					if into[of] != "" {
						e.Profile = into[of]
					}
				}
			} else if other := root(rapid.SampledFrom(ids).Draw(t, "with")); other != e.Profile {
				winner, loser := min(e.Profile, other), max(e.Profile, other)
				into[loser] = winner
				e.Profile, e.Joins = winner, []event.Join{{Loser: loser}}
			}
			q := rapid.IntRange(0, len(s.raw)-1).Draw(t, "raw")
			s.raw[q] = append(s.raw[q], e)
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				s.step()
			}
		}
		s.finish()
		at = at.Add(time.Hour) // and every decision is made
		for range 3 {          // a wake-up that fails isn't the last
			for _, id := range ids {
				s.raw[0] = append(s.raw[0], event.Event{ID: "wake", Type: event.Wake, Profile: id, Accepted: at})
			}
			s.finish()
		}

		profiles, facts, parked := s.everything()
		for of, events := range did {
			end := root(of)
			for _, e := range events {
				if slices.ContainsFunc(parked, func(p event.Event) bool { return p.ID == e.ID }) {
					continue
				}
				if want[end] == nil {
					want[end] = profile.New(end)
				}
				account{}.Apply(&pipeline.Step{Event: &e, Profile: want[end], Now: e.Accepted})
			}
		}
		for id, whole := range want {
			got := profiles[id]
			if got == nil {
				t.Fatalf("%s is not there", id)
			}
			if diff := cmp.Diff(whole.Activities, got.Activities); diff != "" {
				t.Errorf("%s (-want +got):\n%s", id, diff)
			}
			if diff := cmp.Diff(whole.Orders, got.Orders); diff != "" {
				t.Errorf("%s (-want +got):\n%s", id, diff)
			}
			if got.In("busy") != whole.In("busy") || len(got.Awaits) > 0 || len(got.Waits) > 0 || got.Into != "" {
				t.Errorf("%s: busy %t, want %t; awaits %v, waits %v, into %q", id, got.In("busy"), whole.In("busy"), got.Awaits, got.Waits, got.Into)
			}
		}
		s.compareFacts(calls, profiles, facts, parked, root)
		for loser := range into {
			if p := profiles[loser]; p == nil || p.Into == "" || p.Orders.Count > 0 || len(p.Segments) > 0 {
				t.Errorf("%s is no tombstone: %+v", loser, p)
			}
			if !profiles[root(loser)].TookIn(loser) {
				t.Errorf("%s did not take in %s", root(loser), loser)
			}
		}
	})
}

// compareFacts finds each event and decision stated once, flips that alternate up to the membership, and for each loser
// the end of its way. Of what failed nothing is stated, and nothing is decided after a transfer that failed but what
// comes after it.
func (s *simulation) compareFacts(calls int, profiles map[string]*profile.Profile, facts pipeline.Facts, parked []event.Event, root func(string) string) {
	stated, decided := map[string]int{}, map[string]int{}
	for _, e := range facts.Events {
		stated[e.Event.ID]++
	}
	for _, d := range facts.Decisions {
		decided[d.ID]++
	}
	failed, forgetful := map[string]int{}, false
	for _, e := range parked {
		failed[e.ID]++
		forgetful = forgetful || e.Type == event.Transfer
	}
	for i := range calls {
		id := fmt.Sprint("e", i)
		if stated[id] != 1-failed[id] || decided[id] > stated[id] || decided[id] < stated[id] && !forgetful {
			s.t.Errorf("%s failed %d times, is stated %d times and decided %d times", id, failed[id], stated[id], decided[id])
		}
	}
	in := map[string]bool{}
	for _, c := range facts.Changes { // in a profile's own order: it has one log
		if in[c.Profile] == c.Entered {
			s.t.Errorf("%s enters (%t) where it is: %+v", c.Profile, c.Entered, facts.Changes)
		}
		in[c.Profile] = c.Entered
	}
	for id, p := range profiles {
		if in[id] != p.In("busy") {
			s.t.Errorf("%s is in %t, its flips say %t", id, p.In("busy"), in[id])
		}
	}
	slices.SortStableFunc(facts.Merges, func(a, b pipeline.Merge) int { return int(a.Position) - int(b.Position) })
	ends := map[string]string{}
	for _, m := range facts.Merges {
		ends[m.Loser] = m.Winner
	}
	for loser, winner := range ends {
		if winner != root(loser) {
			s.t.Errorf("%s is said to have gone on in %s, and did so in %s", loser, winner, root(loser))
		}
	}
}
