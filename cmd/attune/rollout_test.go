package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
	"attune/stages/segment"
	"attune/stages/trigger"
)

func workspaceOf(segments []segment.Definition, campaigns ...trigger.Campaign) *config.Workspace {
	ws := config.Empty()
	ws.Name, ws.Segments, ws.Campaigns = "shop", segments, campaigns
	return ws
}

// before and after are a workspace and a changed one, which looks back at what no profile holds: another event, a higher
// count, a longer window.
func before() *config.Workspace {
	return workspaceOf([]segment.Definition{
		{ID: "buyers", When: `did("B", "60m")`},
		{ID: "gone", When: `ever("A")`},
		{ID: "viewers", When: `did("A", {"color": "red"}, "400d")`},
	})
}

func after() *config.Workspace {
	return workspaceOf([]segment.Definition{
		{ID: "buyers", When: `did("B", {"deep.n": 1}, "30d")`},
		{ID: "third", When: `did("C", "30d") && in_segment("viewers")`},
		{ID: "viewers", When: `count("A", {"color": "red"}, "400d") >= 2`},
	})
}

// A changed workspace comes into force for customers who are there already: with what it looks back at, at one instant,
// for those too of whom nothing more is heard; and the same after the rollout's worker died at any point, and the
// customers' in the middle. A replay comes to the same.
func TestDefinitionsChangeForEveryone(t *testing.T) {
	t.Parallel()
	points := []string{"", "reading", "read back", "preparing", "prepare p20", "switching", "settling", "settle p21", "done"}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			if done := s.apply(before(), false); done.staged || done.record.Version != 1 {
				t.Fatalf("without customers: %+v", done)
			}
			stop := s.customers()
			want := s.people()
			s.settled()
			done := s.apply(after(), false)
			if !done.staged || !done.changed || done.record.Version != 1 || len(done.lacks) != 3 {
				t.Fatalf("staged: %+v", done)
			}
			died := false
			s.rollOut(1, func(at string) error {
				if at != point || died {
					return nil
				}
				died = true
				stop()
				stop = s.customers()
				return errors.New("the worker dies")
			})
			if !died && point != "" {
				t.Errorf("%s was never reached", point)
			}
			s.settled()
			if diff := cmp.Diff(want, s.members()); diff != "" {
				t.Errorf("members (-want +got):\n%s", diff)
			}
			inForce, err := s.definitions.store.Newest(t.Context(), pipeline.KindDefinitions)
			if err != nil || inForce.Version != 2 || inForce.Staged != 1 {
				t.Errorf("in force: %+v, %v", inForce, err)
			}
			changes, _ := s.stated()
			changed := 0
			for _, c := range changes {
				if c.Reason == pipeline.BecauseDefinitions {
					changed++
					if c.At != inForce.At || c.Version != 2 {
						t.Errorf("%+v is not of the instant of the switch, %s", c, inForce.At)
					}
				}
			}
			if changed != 20+40+len(want["third"])+len(want["buyers"]) { // viewers and gone are left, the others entered: nobody bought in the last hour
				t.Errorf("%d flips because of the definitions", changed)
			}
			s.track("p02", "A", 240) // and it goes on by the new ones
			s.track("new", "B", 241)
			s.settled()
			members := s.members()
			if !slices.Contains(members["viewers"], "p02") || !slices.Contains(members["buyers"], "new") {
				t.Errorf("after two more events: %v", members)
			}
			s.replayed()
			stop()
		})
	}
}

// Customers who had other profiles before are judged by what they did as those too, which lies in other parts of the log.
func TestDefinitionsChangeForMergedCustomers(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.apply(before(), false)
	stop := s.customers()
	s.people()
	taken := func(id string, losers int) func() bool {
		return func() bool { return s.merges()[id] == losers }
	}
	s.track("tablet", "A", 200)
	s.track("phone", "C", 201)
	s.track("phone", "A", 202, "tablet") // a visitor with two devices
	s.wait("the phone is the tablet", taken("phone", 1))
	s.track("visitor", "A", 203)
	s.track("known", "B", 204, "phone", "visitor")
	s.wait("the visitor is known", taken("known", 3))
	s.track("tablet", "C", 205) // sent on twice
	s.settled()
	want := s.apply(after(), false)
	if !want.staged {
		t.Fatalf("staged: %+v", want)
	}
	s.rollOut(1, func(string) error { return nil })
	s.settled()
	members := s.members()
	for _, id := range []string{"buyers", "third", "viewers"} {
		if !slices.Contains(members[id], "known") {
			t.Errorf("the customer is not in %s: %v", id, members[id])
		}
	}
	s.replayed()
	stop()
}

// Campaigns don't fire because definitions changed, unless they are told to.
func TestAChangeFiresOnlyWhenToldTo(t *testing.T) {
	t.Parallel()
	for _, fire := range []bool{false, true} {
		t.Run(strconv.FormatBool(fire), func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			s.apply(before(), false)
			defer s.customers()()
			want := s.people()
			s.settled()
			ws := after()
			ws.Campaigns = []trigger.Campaign{{
				ID: "welcome", On: trigger.On{SegmentEntered: "third"}, Audience: `did("C", "20d")`,
				Send: trigger.Send{Destination: "mail", From: "a@b.example", Subject: "s", Template: "t"},
			}}
			s.apply(ws, fire)
			s.rollOut(1, func(string) error { return nil })
			s.settled()
			_, decisions := s.stated()
			var fired []string
			for _, d := range decisions {
				if d.Outcome != pipeline.Fired {
					t.Errorf("%+v", d)
				}
				fired = append(fired, d.Profile)
			}
			slices.Sort(fired)
			if expect := map[bool][]string{true: want["third"]}[fire]; !slices.Equal(fired, expect) {
				t.Errorf("fired for %v, want %v", fired, expect)
			}
			s.replayed()
		})
	}
}

// A record that a crash has put into the log twice counts once, as it did when it was handled.
func TestALookBackTakesRepeatsOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.apply(before(), false)
	defer s.customers()()
	s.people()
	s.track("one", "D", 200)
	log, err := s.js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	subject := topology.Subject(topology.Events, topology.Partition("one", standPartitions))
	repeated, err := log.GetLastMsgForSubject(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(t.Context(), subject, repeated.Data); err != nil {
		t.Fatal(err)
	}
	s.track("two", "D", 201)
	s.track("two", "D", 202)
	s.settled()
	s.apply(workspaceOf([]segment.Definition{{ID: "twice", When: `count("D", "30d") >= 2`}}), false)
	s.rollOut(1, func(string) error { return nil })
	s.settled()
	if members := s.members(); !slices.Equal(members["twice"], []string{"two"}) {
		t.Errorf("members: %v", members)
	}
	s.replayed()
}

// Whoever stages something else in the middle has that rolled out, and what is in force may be staged again.
func TestARolloutIsSuperseded(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.apply(before(), false)
	defer s.customers()()
	s.people()
	s.settled()
	was := s.members()
	delete(was, "buyers") // their hour is over, which nobody has told them yet
	s.apply(after(), false)
	s.rollOut(2, func(at string) error {
		if at == "prepare p10" {
			if done := s.apply(before(), false); !done.staged {
				t.Errorf("back in the middle: %+v", done)
			}
		}
		return nil
	})
	s.settled()
	if diff := cmp.Diff(was, s.members()); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if done := s.apply(before(), false); done.staged || done.changed {
		t.Errorf("again: %+v", done)
	}
	s.replayed()
}

// While ClickHouse can't be asked for what the log has lost to age, that is what the status says; then the rollout goes on.
func TestARolloutSaysThatItWaitsForClickHouse(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.apply(before(), false)
	defer s.customers()()
	s.people()
	s.settled()
	log, err := s.js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Purge(t.Context(), jetstream.WithPurgeSequence(log.CachedInfo().State.FirstSeq+1)); err != nil {
		t.Fatal(err)
	}
	s.apply(after(), false)

	answers := make(chan error) // ClickHouse's
	ctx, stop := context.WithCancel(t.Context())
	runner := s.runner(func(c *rollout.Config) {
		c.Older = func(ctx context.Context, _ rollout.Older, _ func(*event.Event, uint64) error) error {
			select {
			case err := <-answers:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	var work sync.WaitGroup
	work.Go(func() { runner.Run(ctx) })
	defer func() { stop(); work.Wait() }()
	says := func(want string) func() bool {
		return func() bool { return strings.Contains(s.printed("", "status"), want) }
	}
	s.wait("it asks", says("staged version 1: reading from ClickHouse what the log has lost to age: position 0 of "))
	var failing []time.Time
	for range 2 { // and again
		answers <- errors.New("connection refused")
		s.wait("it waits", says("staged version 1: waiting for ClickHouse, which has what the log has lost to age: read what the log does not have any more: connection refused\n"))
		p, err := rollout.Look(t.Context(), s.js)
		if err != nil {
			t.Fatal(err)
		}
		failing = append(failing, p.Failing)
	}
	if failing[0].IsZero() || !failing[0].Equal(failing[1]) {
		t.Errorf("it says that it fails since %v", failing)
	}
	close(answers)
	s.wait("it is done", func() bool {
		p, err := rollout.Look(t.Context(), s.js)
		if err != nil {
			t.Fatal(err)
		}
		return p.Phase == rollout.Done && p.Failure == "" && !p.Older && p.Failing.IsZero()
	})
}

// What the log loses to age while the past is read, of itself or elsewhere, is read elsewhere too.
func TestALookBackMissesNothingThatAges(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.apply(before(), false)
	defer s.customers()()
	want := s.people()
	s.settled()
	log, err := s.js.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	last := log.CachedInfo().State.LastSeq
	kept := map[uint64]event.Event{}
	for position := uint64(1); position <= last; position++ {
		m, err := log.GetMsg(t.Context(), position)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := event.Decode(m.Data); err == nil && e.Type == event.Track {
			kept[position] = e
		}
	}
	age := func(count uint64) { // so many of the oldest go
		info, err := log.Info(t.Context())
		if err == nil {
			err = log.Purge(t.Context(), jetstream.WithPurgeSequence(info.State.FirstSeq+count))
		}
		if err != nil {
			t.Error(err)
		}
	}
	age(10)
	s.apply(after(), false)

	var asked []rollout.Older
	elsewhere, aged := false, false
	runner := s.runner(func(c *rollout.Config) {
		c.Older = func(_ context.Context, o rollout.Older, visit func(*event.Event, uint64) error) error {
			elsewhere = true
			defer func() { elsewhere = false }()
			if asked = append(asked, o); len(asked) == 1 {
				age(10)
			}
			for position := o.After + 1; position < o.Before; position++ {
				if e, ok := kept[position]; ok {
					if err := visit(&e, position); err != nil {
						return err
					}
				}
			}
			return nil
		}
		plan := c.Plan
		c.Plan = func(ctx context.Context, inForce pipeline.Controls) (rollout.Plan, error) {
			p, err := plan(ctx, inForce)
			return wanting{p, func() {
				if !elsewhere && !aged {
					aged = true
					age(60)
				}
			}}, err
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { runner.Run(ctx) })
	defer func() { stop(); work.Wait() }()
	s.wait("it is done", func() bool {
		p, err := rollout.Look(t.Context(), s.js)
		if err != nil {
			t.Fatal(err)
		}
		return p.Phase == rollout.Done
	})
	s.settled()
	if diff := cmp.Diff(want, s.members()); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	if len(asked) != 3 { // at first, what was lost meanwhile, and what was lost while the log was read
		t.Errorf("asked elsewhere for %+v", asked)
	}
}

// wanting is told of each event that a plan looks at.
type wanting struct {
	rollout.Plan
	look func()
}

func (w wanting) Wants(e *event.Event, now event.Instant) bool {
	w.look()
	return w.Plan.Wants(e, now)
}
