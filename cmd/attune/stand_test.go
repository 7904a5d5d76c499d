package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/replay"
	"attune/pipeline/rollout"
	"attune/pipeline/topology"
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

// runner rolls out what is staged, as edit has it.
func (s *stand) runner(edit func(*rollout.Config)) *rollout.Runner {
	s.t.Helper()
	c := rollout.Config{
		JetStream: s.js, Store: s.definitions.store, Partitions: standPartitions, Plan: s.definitions.plan, Rate: 100_000,
		Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
	}
	edit(&c)
	runner, err := rollout.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return runner
}

// rollOut lets one worker after another roll out what is staged; each dies as fault says, until one comes to the end.
func (s *stand) rollOut(version uint64, fault func(at string) error) {
	s.t.Helper()
	for {
		ctx, die := context.WithCancel(s.t.Context())
		runner := s.runner(func(c *rollout.Config) {
			c.Fault = func(at string) error {
				if err := fault(at); err != nil {
					die()
					return err
				}
				return nil
			}
		})
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
