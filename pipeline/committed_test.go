package pipeline_test

import (
	"errors"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/topology"
)

// stored reads a subject from its first message on.
func (r *rig) stored(stream, subject string) (all []*jetstream.RawStreamMsg) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	for next := uint64(1); ; {
		m, err := s.GetMsg(r.t.Context(), next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, m)
		next = m.Sequence + 1
	}
}

type storedCommit struct {
	*pipeline.Commit
	sequence uint64
}

func (r *rig) commits() (all []storedCommit) {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range r.stored(topology.Commits, topology.Subject(topology.Commits, r.number)) {
		commit, err := codec.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, storedCommit{commit, m.Sequence})
	}
	return all
}

// compare runs the log's records one after another, each once, and compares facts and profiles.
func (r *rig) compare() {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	var want, got pipeline.Facts
	profiles := map[string]*profile.Profile{}
	ordinals := map[string]uint64{}
	for _, m := range r.stored(topology.Events, topology.Subject(topology.Events, r.number)) {
		e, err := event.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Source.Ordinal <= ordinals[e.Source.Name] || e.Source.After > ordinals[e.Source.Name] {
			continue
		}
		ordinals[e.Source.Name] = e.Source.Ordinal
		if profiles[e.Profile] == nil {
			profiles[e.Profile] = profile.New(e.Profile)
		}
		result, err := tallyChain(0).Apply(profiles[e.Profile], &e, m.Sequence)
		if err != nil {
			r.t.Fatal(err)
		}
		want.Events = append(want.Events, result.Facts.Events...)
		want.Changes = append(want.Changes, result.Facts.Changes...)
	}
	var traces []pipeline.Trace
	hash := pipeline.NewRunningHash(nil)
	var before storedCommit
	for i, c := range r.commits() {
		facts, err := codec.Facts(c.Commit)
		if err != nil {
			r.t.Fatal(err)
		}
		got.Events = append(got.Events, facts.Events...)
		got.Changes = append(got.Changes, facts.Changes...)
		for record, err := range pipeline.Records(c.Facts) {
			if err != nil {
				r.t.Fatal(err)
			}
			hash.Add(record.Position, record.Data)
			traces = append(traces, pipeline.Trace{Position: record.Position, Sum: pipeline.Checksum(record)})
		}
		if string(hash.Sum()) != string(c.Hash) {
			r.t.Errorf("commit %d: the running hash is broken", c.sequence)
		}
		if i > 0 && (c.Epoch < before.Epoch || c.Position < before.Position || c.Mark < before.Mark || c.Mark >= c.sequence || c.Folded < before.Folded) {
			r.t.Errorf("commit %d (epoch %d, position %d, mark %d, folded %d) after commit %d (epoch %d, position %d, mark %d, folded %d)",
				c.sequence, c.Epoch, c.Position, c.Mark, c.Folded, before.sequence, before.Epoch, before.Position, before.Mark, before.Folded)
		}
		before = c
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("facts (%d events, want %d): %.3000s", len(got.Events), len(want.Events), diff)
	}
	end, trail := r.trail()
	if diff := cmp.Diff(traces, trail, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("the trail (%d records, want %d): %.3000s", len(trail), len(traces), diff)
	}
	if end.To != before.Position || string(end.Hash) != string(before.Hash) {
		r.t.Errorf("the trail ends at position %d with the hash %x, the commits at %d with %x", end.To, end.Hash, before.Position, before.Hash)
	}
	if diff := cmp.Diff(profiles, r.profiles(), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("profiles: %.3000s", diff)
	}
}

// trail reads what is kept of the commits, and its last part.
func (r *rig) trail() (end pipeline.Trail, all []pipeline.Trace) {
	r.t.Helper()
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range r.stored(topology.Trails, topology.Subject(topology.Trails, 0)) {
		next, err := codec.DecodeTrail(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if next.After != end.To || next.To <= next.After || next.Commit <= end.Commit {
			r.t.Errorf("a trail of the positions after %d up to %d (commit %d) follows one that ends at %d (commit %d)", next.After, next.To, next.Commit, end.To, end.Commit)
		}
		for trace, err := range next.All() {
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, trace)
		}
		end = *next
	}
	return end, all
}
