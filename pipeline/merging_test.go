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
	if len(p.Waits) == 0 {
		return 0
	}
	return max(p.Waits[0].Due, p.Whole())
}

func (account) Apply(s *pipeline.Step) {
	p := s.Profile
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
}

func (p *progress) clone() progress {
	c := *p
	c.profiles, c.sources = maps.Clone(p.profiles), maps.Clone(p.sources)
	c.leaving = slices.Clip(p.leaving)
	c.facts = pipeline.Facts{
		Events: slices.Clip(p.facts.Events), Changes: slices.Clip(p.facts.Changes), Decisions: slices.Clip(p.facts.Decisions), Merges: slices.Clip(p.facts.Merges),
	}
	return c
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

func newSimulation(t *rapid.T) *simulation {
	s := &simulation{t: t, chain: &pipeline.Chain{Stages: []pipeline.Stage{account{}}}, raw: make([][]event.Event, 2), ordinals: make([]uint64, 2)}
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
	of := profile.New(e.Profile)
	if before := p.profiles[e.Profile]; before != nil {
		var err error
		if of, err = profile.Decode(before); err != nil {
			s.t.Fatal(err)
		}
	}
	r, err := s.chain.Apply(of, &e, position)
	if err != nil {
		s.t.Fatal(err)
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

// everything is what came to be of all customers.
func (s *simulation) everything() (profiles map[string]*profile.Profile, facts pipeline.Facts) {
	profiles = map[string]*profile.Profile{}
	for _, one := range s.shards {
		for id, state := range one.stored.profiles {
			p, err := profile.Decode(state)
			if err != nil {
				s.t.Fatal(err)
			}
			profiles[id] = p
		}
		facts.Events = append(facts.Events, one.stored.facts.Events...)
		facts.Changes = append(facts.Changes, one.stored.facts.Changes...)
		facts.Decisions = append(facts.Decisions, one.stored.facts.Decisions...)
		facts.Merges = append(facts.Merges, one.stored.facts.Merges...)
	}
	return profiles, facts
}

// Whatever runs when, dies and repeats itself, and in whatever order profiles turn out to be one customer's: the end is
// that of one customer who did it all, each event and each decision counted once.
func TestMergingComesToTheSameEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSimulation(t)
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
		for _, id := range ids {
			s.raw[0] = append(s.raw[0], event.Event{ID: "wake", Type: event.Wake, Profile: id, Accepted: at})
		}
		s.finish()

		for of, events := range did {
			end := root(of)
			if want[end] == nil {
				want[end] = profile.New(end)
			}
			for _, e := range events {
				account{}.Apply(&pipeline.Step{Event: &e, Profile: want[end], Now: e.Accepted})
			}
		}
		profiles, facts := s.everything()
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
		s.compareFacts(calls, profiles, facts, root)
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
// the end of its way.
func (s *simulation) compareFacts(calls int, profiles map[string]*profile.Profile, facts pipeline.Facts, root func(string) string) {
	stated, decided := map[string]int{}, map[string]int{}
	for _, e := range facts.Events {
		stated[e.Event.ID]++
	}
	for _, d := range facts.Decisions {
		decided[d.ID]++
	}
	for i := range calls {
		if id := fmt.Sprint("e", i); stated[id] != 1 || decided[id] != 1 {
			s.t.Errorf("%s is stated %d times and decided %d times", id, stated[id], decided[id])
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
