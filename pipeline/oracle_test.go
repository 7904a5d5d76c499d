package pipeline_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// courier is a stage that decides and orders a mail at every third event of a customer.
type courier struct{ destination string }

func (courier) Name() string                       { return "courier" }
func (courier) Due(*profile.Profile) event.Instant { return 0 }
func (c courier) Apply(s *pipeline.Step) {
	if s.Event == nil || s.Profile.Count(s.Event.Name)%3 != 0 {
		return
	}
	id := fmt.Sprintf("%s-%d", c.destination, s.Position)
	s.Decide(pipeline.Decision{ID: id, Campaign: "third", Outcome: pipeline.Fired, Destination: c.destination})
	s.Deliver(pipeline.Delivery{Decision: id, Campaign: "third", Destination: c.destination, Data: event.Object(`{"event":{}}`)})
}

// effects are all that a partition's log led to, byte for byte.
type effects struct {
	facts    []byte
	hash     []byte
	profiles map[string][]byte
	wakes    []pipeline.WakeUp
	mails    []string // deliveries, as deliver reads them
	letters  []string // dead letters: reason, position and payload
	armed    map[string]event.Instant
}

// diff tells where two worlds part, in one line each.
func (want *effects) diff(got *effects) (all []string) {
	note := func(what string, a, b any) {
		if d := cmp.Diff(a, b); d != "" {
			all = append(all, fmt.Sprintf("%s (-want +got): %.2000s", what, d))
		}
	}
	note("positions of the facts", positions(want.facts), positions(got.facts))
	if len(all) == 0 && !bytes.Equal(want.facts, got.facts) {
		all = append(all, "the facts' bytes differ")
	}
	note("running hash", want.hash, got.hash)
	note("wake-ups in the commits", want.wakes, got.wakes)
	note("deliveries", want.mails, got.mails)
	note("dead letters", want.letters, got.letters)
	for id, at := range want.armed { // a profile that owes nothing may have an old one, which is harmless
		note("armed wake-up of "+id, at, got.armed[id])
	}
	for id, state := range want.profiles {
		if !bytes.Equal(state, got.profiles[id]) {
			note("profile "+id, readable(state), readable(got.profiles[id]))
		}
	}
	return all
}

func positions(facts []byte) (all []uint64) {
	for r, err := range pipeline.Records(facts) {
		if err != nil {
			return append(all, 0)
		}
		all = append(all, r.Position)
	}
	return all
}

func readable(state []byte) string {
	p, err := profile.Decode(state)
	if err != nil {
		return fmt.Sprintf("%x: %v", state, err)
	}
	text, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// expected is the sequential oracle: one record after another, each of them once, in memory.
func (r *rig) expected(chain func(version uint64) *pipeline.Chain) *effects {
	r.t.Helper()
	commits, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	want := &effects{profiles: map[string][]byte{}, armed: map[string]event.Instant{}}
	hash := pipeline.NewRunningHash(nil)
	ordinals := map[string]uint64{}
	version := uint64(0)
	for _, m := range r.stored(topology.Events, topology.Subject(topology.Events, r.number)) {
		park := func(reason string) {
			want.letters = append(want.letters, fmt.Sprintf("%s %d %s", reason, m.Sequence, m.Data))
		}
		e, err := event.Decode(m.Data)
		switch {
		case err != nil:
			park("undecodable")
			continue
		case e.Source.Name == "":
			park("no_source")
			continue
		case e.Source.Ordinal <= ordinals[e.Source.Name] || e.Source.After > ordinals[e.Source.Name]:
			continue
		}
		ordinals[e.Source.Name] = e.Source.Ordinal
		if e.Type == event.Control {
			version = max(version, e.Control.Version)
			continue
		}
		p := profile.New(e.Profile)
		if before := want.profiles[e.Profile]; before != nil {
			if p, err = profile.Decode(before); err != nil {
				r.t.Fatal(err)
			}
		}
		if e.Name == "panic" {
			park("failed")
			continue
		}
		result, err := chain(version).Apply(p, &e, m.Sequence)
		if err != nil {
			r.t.Fatal(err)
		}
		if p.Applied != m.Sequence {
			continue
		}
		want.profiles[e.Profile] = profile.Encode(p)
		encoded, err := commits.AppendFacts(nil, m.Data, &result.Facts)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(encoded) > 0 {
			want.facts = pipeline.AppendRecordFacts(want.facts, m.Sequence, encoded)
			hash.Add(m.Sequence, encoded)
		}
		if result.Wake != 0 {
			want.wakes = append(want.wakes, pipeline.WakeUp{Profile: e.Profile, At: result.Wake})
		}
		if want.armed[e.Profile] = p.Armed; p.Armed == 0 {
			delete(want.armed, e.Profile)
		}
		for i := range result.Deliveries {
			payload, err := json.Marshal(&result.Deliveries[i])
			if err != nil {
				r.t.Fatal(err)
			}
			want.mails = append(want.mails, string(payload))
		}
	}
	want.hash = hash.Sum()
	return want
}

// found is what really is at the broker: the commits as the witness saw them, the bucket, the queue of deliveries,
// the schedules and the dead letters.
func (r *rig) found(w *witness, destination string, ids []string) *effects {
	r.t.Helper()
	got := &effects{profiles: map[string][]byte{}, armed: map[string]event.Instant{}}
	var before storedCommit
	hash := pipeline.NewRunningHash(nil)
	for i, c := range w.commits() {
		got.facts = append(got.facts, c.Facts...)
		got.wakes = append(got.wakes, c.Wakes...)
		for record, err := range pipeline.Records(c.Facts) {
			if err != nil {
				r.t.Fatal(err)
			}
			hash.Add(record.Position, record.Data)
		}
		if !bytes.Equal(hash.Sum(), c.Hash) {
			got.facts = append(got.facts, fmt.Sprintf("the running hash is broken at commit %d", c.sequence)...)
		}
		if i > 0 && (c.Epoch < before.Epoch || c.Position < before.Position || c.Mark < before.Mark || c.Mark >= c.sequence || c.Folded < before.Folded) {
			r.t.Logf("commit %d (epoch %d, position %d, mark %d, folded %d) after commit %d (epoch %d, position %d, mark %d, folded %d)",
				c.sequence, c.Epoch, c.Position, c.Mark, c.Folded, before.sequence, before.Epoch, before.Position, before.Mark, before.Folded)
			got.facts = append(got.facts, "a commit goes back"...)
		}
		before = c
	}
	got.hash = before.Hash
	kv, err := r.js.KeyValue(r.t.Context(), topology.Profiles)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, id := range ids {
		entry, err := kv.Get(r.t.Context(), id)
		if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
			r.t.Fatal(err)
		}
		if err == nil {
			got.profiles[id] = entry.Value()
		}
		schedules := r.stored(topology.Wakeups, fmt.Sprintf("%s.at.%d.*.%s", topology.Wakeups, r.number, id))
		if len(schedules) == 0 {
			continue
		}
		at, err := time.Parse("@at "+time.RFC3339Nano, schedules[len(schedules)-1].Header.Get("Nats-Schedule"))
		if err != nil {
			r.t.Fatal(err)
		}
		got.armed[id] = event.At(at)
	}
	for _, m := range r.stored(topology.Outbox, topology.Subject(topology.Outbox, destination)) {
		got.mails = append(got.mails, string(m.Data))
	}
	for _, m := range r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, pipeline.ReaderCustomer)) {
		var letter pipeline.DeadLetter
		if err := json.Unmarshal(m.Data, &letter); err != nil {
			r.t.Fatal(err)
		}
		if letter.Subject == topology.Subject(topology.Events, r.number) {
			got.letters = append(got.letters, fmt.Sprintf("%s %d %s", letter.Reason, letter.Position, letter.Payload))
		}
	}
	return got
}
