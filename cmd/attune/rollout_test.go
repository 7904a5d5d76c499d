package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/replay"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// stand is a customer chain over two partitions, and what brings definitions into force in it.
type stand struct {
	*installed
	ordinals [standPartitions]uint64
	begun    time.Time
}

const standPartitions = 2

func newStand(t *testing.T) *stand {
	t.Helper()
	return &stand{installed: install(t, standPartitions), begun: time.Now().Add(-10 * time.Hour).Truncate(time.Millisecond)}
}

// customers runs the chain and its relay until stop is called.
func (s *stand) customers() (stop func()) {
	s.t.Helper()
	customers, err := pipeline.NewCustomer(pipeline.CustomerConfig{
		JetStream: s.js, Load: s.definitions.chain, Readers: func(int) []string { return []string{"nobody"} }, FoldEvery: 20 * time.Millisecond,
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	relay, err := pipeline.NewRelay(s.js, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	records, commits := customers.Subscriber(), relay.Subscriber()
	var handlers []handler
	for p := range standPartitions {
		handlers = append(handlers,
			handler{fmt.Sprint("customer-", p), topology.Subject(topology.Events, p), records, nothing(customers.Handle)},
			handler{fmt.Sprint("relay-", p), topology.Subject(topology.Commits, p), commits, relay.Handle})
	}
	return startRouter(s.t, s.js, handlers)
}

// track appends an event so many minutes after the beginning. It may say that others are the same customer.
func (s *stand) track(id, name string, minutes int, losers ...string) {
	s.t.Helper()
	p := topology.Partition(id, standPartitions)
	s.ordinals[p]++
	at := event.At(s.begun.Add(time.Duration(minutes) * time.Minute))
	e := event.Event{
		ID: fmt.Sprint(p, "-", s.ordinals[p]), Type: event.Track, Name: name, Profile: id, Occurred: at, Accepted: at,
		Properties: event.Object(`{"color":"red","deep":{"n":1},"long":"` + strings.Repeat("x", 50) + `"}`), Consent: map[string]bool{"email": true},
		Source: event.Source{Name: "test", Ordinal: s.ordinals[p]},
	}
	for _, loser := range losers {
		e.Joins = append(e.Joins, event.Join{Loser: loser})
	}
	data, err := e.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.js.Publish(s.t.Context(), topology.Subject(topology.Events, p), data); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) apply(ws *config.Workspace, fire bool) application {
	s.t.Helper()
	done, err := applyWorkspace(s.t.Context(), s.js, s.definitions.store, ws, fire)
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

// rollOut lets one worker after another roll out what is staged; each dies as fault says, until one comes to the end.
func (s *stand) rollOut(version uint64, fault func(at string) error) {
	s.t.Helper()
	for {
		ctx, die := context.WithCancel(s.t.Context())
		runner, err := rollout.New(rollout.Config{
			JetStream: s.js, Store: s.definitions.store, Partitions: standPartitions, Plan: s.definitions.plan, Rate: 100_000,
			Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
			Fault: func(at string) error {
				if err := fault(at); err != nil {
					die()
					return err
				}
				return nil
			},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		var work sync.WaitGroup
		work.Go(func() { runner.Run(ctx) })
		for ctx.Err() == nil {
			p, err := rollout.Look(s.t.Context(), s.js)
			if err != nil {
				s.t.Fatal(err)
			}
			if p.Version == version && p.Phase == rollout.Done {
				die()
				work.Wait()
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		work.Wait()
	}
}

// settled waits until all that is in the log is committed.
func (s *stand) settled() {
	s.t.Helper()
	log, err := s.js.Stream(s.t.Context(), topology.Events)
	if err != nil {
		s.t.Fatal(err)
	}
	for p := range standPartitions {
		end, err := log.GetLastMsgForSubject(s.t.Context(), topology.Subject(topology.Events, p))
		if err != nil {
			s.t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			consumer, err := s.js.Consumer(s.t.Context(), topology.Events, topology.Durable(pipeline.ReaderCustomer, p))
			if err == nil && consumer.CachedInfo().AckFloor.Stream >= end.Sequence {
				break
			}
			if time.Now().After(deadline) {
				s.t.Fatalf("partition %d does not reach position %d: %v", p, end.Sequence, err)
			}
		}
	}
}

// stated are all flips and decisions in the commits, of both partitions.
func (s *stand) stated() (changes []pipeline.SegmentChange, decisions []pipeline.Decision) {
	s.t.Helper()
	for _, facts := range s.facts() {
		changes, decisions = append(changes, facts.Changes...), append(decisions, facts.Decisions...)
	}
	return changes, decisions
}

// facts are those of all commits.
func (s *stand) facts() (all []pipeline.Facts) {
	s.t.Helper()
	for commit := range s.commits(topology.Commits + ".*") {
		all = append(all, commit.facts)
	}
	return all
}

// members are who is in each segment by the flips that were stated, each of which must change something.
func (s *stand) members() map[string][]string {
	s.t.Helper()
	in := map[string]map[string]bool{}
	changes, _ := s.stated()
	for _, c := range changes {
		if in[c.Segment] == nil {
			in[c.Segment] = map[string]bool{}
		}
		if in[c.Segment][c.Profile] == c.Entered {
			s.t.Errorf("%s flips to %v in %s, which it was", c.Profile, c.Entered, c.Segment)
		}
		in[c.Segment][c.Profile] = c.Entered
	}
	members := map[string][]string{}
	for id, profiles := range in {
		for p, is := range profiles {
			if is {
				members[id] = append(members[id], p)
			}
		}
		slices.Sort(members[id])
	}
	return members
}

// replayed runs the log again.
func (s *stand) replayed() {
	s.t.Helper()
	fresh, err := newDefinitions(s.t.Context(), s.js, standPartitions)
	if err != nil {
		s.t.Fatal(err)
	}
	replayer, err := replay.New(replay.Config{JetStream: s.js, Load: fresh.chain, Verify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for p := range standPartitions {
		report, state, err := replayer.Partition(s.t.Context(), p, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if !report.Equal() {
			s.t.Errorf("partition %d is replayed otherwise: %+v", p, report)
		}
		for id, data := range state.Profiles {
			if state, err := profile.Decode(data); err != nil || state.Next != nil && state.Definitions == 0 {
				s.t.Errorf("profile %s: %v", id, err)
			}
		}
	}
}

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

// people append what 40 customers did: p0 nothing but A, every second A twice, every third B, every fifth C.
func (s *stand) people() (want map[string][]string) {
	want = map[string][]string{}
	known, err := s.js.KeyValue(s.t.Context(), topology.Identities) // as normalize would
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := known.PutString(s.t.Context(), "u", "p00"); err != nil {
		s.t.Fatal(err)
	}
	for i := range 40 {
		id := fmt.Sprintf("p%02d", i)
		s.track(id, "A", i)
		if i%2 == 1 {
			s.track(id, "A", 60+i)
			want["viewers"] = append(want["viewers"], id)
		}
		if i%3 == 1 {
			s.track(id, "B", 120+i)
			want["buyers"] = append(want["buyers"], id)
		}
		if i%5 == 1 {
			s.track(id, "C", 180+i)
			if i%2 == 1 {
				want["third"] = append(want["third"], id)
			}
		}
	}
	return want
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

// merges are how many profiles have gone on in each.
func (s *stand) merges() map[string]int {
	s.t.Helper()
	merged := map[string]int{}
	for _, facts := range s.facts() {
		for _, m := range facts.Merges {
			merged[m.Winner]++
		}
	}
	return merged
}

func (s *stand) wait(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("not within 30 s: ", what)
		}
	}
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
