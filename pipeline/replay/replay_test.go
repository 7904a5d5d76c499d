package replay_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// However the log was worked off, over restarts and in whatever batches, a replay of it gives the same bytes.
func TestReplayEqualsTheRun(t *testing.T) {
	t.Parallel()
	hashes := map[string]bool{}
	for _, test := range []struct {
		restarts int
		bytes    int
	}{{0, 512 << 10}, {7, 1}, {4, 3000}} {
		r := newRig(t, nil)
		r.run(840, test.restarts, func(c *pipeline.CustomerConfig) { c.CommitBytes = test.bytes })
		report := r.equal()
		if report.Whole != report.Facts || report.Parked < 10 {
			t.Errorf("%d of %d facts compared byte for byte, %d records parked", report.Whole, report.Facts, report.Parked)
		}
		if test.restarts == 7 {
			continue // other parts of the flow
		}
		r.purge()
		if purged := r.equal(); purged.Hash != report.Hash || purged.Facts != report.Facts || purged.Whole != 0 {
			t.Errorf("after the purge: %+v, before: %+v", purged, report)
		}
		hashes[report.Hash] = true
	}
	if len(hashes) != 2 {
		t.Errorf("%d hashes of two logs", len(hashes))
	}
}

// A stage that decides one event otherwise than it did is found, and the event named, whether the commits are
// still there or not.
func TestReplayFindsAnotherDecision(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(3000, 1, func(c *pipeline.CustomerConfig) { c.CommitBytes = 64 << 10 })
	var position uint64
	var want event.Event
	r.each(func(sequence uint64, commit *pipeline.Commit) {
		for record, err := range pipeline.Records(commit.Facts) {
			if err != nil {
				t.Fatal(err)
			}
			facts, err := codec(t).DecodeFacts(record)
			if err != nil {
				t.Fatal(err)
			}
			if position == 0 && record.Position > 1500 && len(facts.Changes) > 0 {
				position, want = record.Position, facts.Events[0].Event
			}
		}
	})
	r.spoiled = want.ID
	for _, purged := range []bool{false, true} {
		report, _ := r.replay(nil)
		first := report.First
		if report.Equal() || first == nil || first.Position != position || first.Event != want.ID || first.Profile != want.Profile || report.Differences != 1 {
			t.Fatalf("purged %t: report %+v, first %+v, want one at %d", purged, report, first, position)
		}
		if first.Replayed == nil || (first.Recorded == nil) != purged {
			t.Errorf("purged %t: recorded %v, replayed %v", purged, first.Recorded, first.Replayed)
		}
		if !purged && first.Recorded.Changes[0].Entered == first.Replayed.Changes[0].Entered {
			t.Errorf("both sides show the same: %+v", first)
		}
		if !purged {
			r.spoiled = "" // the worker decides as before
			r.purge()
			r.spoiled = want.ID
		}
	}
}

// each visits the commits.
func (r *rig) each(visit func(sequence uint64, commit *pipeline.Commit)) {
	r.t.Helper()
	s := r.stream(topology.Commits)
	for next := uint64(1); ; next++ {
		m, err := s.GetMsg(r.t.Context(), next, jetstream.WithGetMsgSubject(topology.Subject(topology.Commits, 0)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return
		}
		if err != nil {
			r.t.Fatal(err)
		}
		next = m.Sequence
		visit(next, decode(r.t, m.Data))
	}
}

// Commits that were changed afterwards are found: a fact, a fact that is not there any more, a hash.
func TestReplayFindsAnotherCommit(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*pipeline.Commit) (position uint64){
		"a byte": func(c *pipeline.Commit) (position uint64) {
			for record := range pipeline.Records(c.Facts) {
				record.Data[len(record.Data)/2] ^= 1
				return record.Position
			}
			return 0
		},
		"a record less": func(c *pipeline.Commit) (position uint64) {
			facts := c.Facts
			c.Facts = nil
			for record := range pipeline.Records(facts) {
				if position == 0 {
					position = record.Position
					continue
				}
				c.Facts = pipeline.AppendRecordFacts(c.Facts, record.Position, record.Data)
			}
			return position
		},
		"the hash": func(c *pipeline.Commit) uint64 { c.Hash[31] ^= 1; return c.Position },
	} {
		for _, trail := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", with its trail ", trail), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, nil)
				r.run(600, 0, nil)
				var position uint64
				var rewritten [][]byte
				r.each(func(sequence uint64, commit *pipeline.Commit) {
					if position == 0 && commit.Position > 300 && len(commit.Facts) > 0 {
						position = change(commit)
					}
					data, err := codec(t).Encode(commit)
					if err != nil {
						t.Fatal(err)
					}
					rewritten = append(rewritten, data)
				})
				purge := []string{topology.Commits}
				if !trail {
					purge = append(purge, topology.Trails)
				}
				for _, name := range purge {
					if err := r.stream(name).Purge(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				for _, data := range rewritten {
					r.put(topology.Subject(topology.Commits, 0), data)
				}
				report, _ := r.replay(nil)
				if report.Equal() || report.First == nil || report.First.Position != position {
					t.Errorf("report %+v, first %+v, want a difference at %d", report, report.First, position)
				}
			})
		}
	}
}

// What is erased from the log is missing, and hides nothing else.
func TestReplayCountsWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.run(900, 0, nil)
	r.spoiled = "e880"
	before := r.equal().Facts
	for _, purged := range []bool{false, true} {
		if purged {
			r.purge()
		}
		// All of one customer's events go; what only woke them stays.
		gone := r.erase("p7")
		if purged {
			gone = r.erase("p8")
		}
		if gone < 5 {
			t.Fatalf("only %d records of the customer", gone)
		}
		report, _ := r.replay(nil)
		if !report.Equal() || report.Missing < uint64(gone) || report.Facts+report.Missing != before || len(report.Gone) == 0 {
			t.Errorf("purged %t: report %+v, first %+v; want at least %d missing, and %d with the facts", purged, report, report.First, gone, before)
		}
	}
}

// erase deletes the events of one customer, as an erasure does.
func (r *rig) erase(id string) (n int) {
	r.t.Helper()
	s := r.stream(topology.Events)
	info, err := s.Info(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
		m, err := s.GetMsg(r.t.Context(), sequence)
		if err != nil {
			continue // gone already
		}
		e, err := event.Decode(m.Data)
		if err != nil || e.Profile != id || e.Type != event.Track {
			continue
		}
		if err := s.SecureDeleteMsg(r.t.Context(), sequence); err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}
