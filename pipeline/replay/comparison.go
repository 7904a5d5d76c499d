package replay

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"

	"attune/pipeline"
)

// Report says what a replay of one partition found.
type Report struct {
	Partition int    `json:"partition"`
	After     uint64 `json:"after"`    // it began after this position; 0: at the start
	Position  uint64 `json:"position"` // and went up to this one
	Records   uint64 `json:"records"`  // of the log
	Parked    uint64 `json:"parked"`   // of those, which could not be used or failed
	Facts     uint64 `json:"facts"`    // records that stated facts
	Hash      string `json:"hash"`     // the running hash of the replayed facts, hexadecimal

	Verified bool     `json:"verified"`       // it was compared
	Whole    uint64   `json:"whole"`          // records compared byte for byte
	Recorded string   `json:"recorded"`       // the running hash of the newest commit
	Missing  uint64   `json:"missing"`        // records that stated facts and are not in the log any more
	Gone     []uint64 `json:"gone,omitempty"` // the positions of the first of them
	Unknown  uint64   `json:"unknown"`        // records of which nothing was recorded any more
	// Differences counts the records that state something else; First is the first of them.
	Differences uint64      `json:"differences"`
	First       *Difference `json:"first,omitempty"`
}

// Equal tells that what was compared is the same.
func (r *Report) Equal() bool { return r.Differences == 0 }

// Difference is a record that states something else than it did.
type Difference struct {
	Position uint64 `json:"position"`
	Event    string `json:"event,omitempty"` // its id
	Profile  string `json:"profile,omitempty"`
	What     string `json:"what"`
	// Recorded and Replayed are the facts; nil: none, or, of those recorded, not kept any more.
	Recorded *pipeline.Facts `json:"recorded,omitempty"`
	Replayed *pipeline.Facts `json:"replayed,omitempty"`
}

// maxGone bounds how many missing positions a report lists.
const maxGone = 20

// comparison holds what is replayed against what was recorded.
type comparison struct {
	codec    *pipeline.CommitCodec
	recorded *recorded // nil: only count
	report   Report
	own      *pipeline.RunningHash // over what was replayed
	// kept is the hash that an anchor must have: it is taken from the last one where it could not be computed.
	kept   *pipeline.RunningHash
	adrift bool

	was   *record // what was recorded at the position that was reached
	known bool    // and whether anything is known of it
}

func newComparison(codec *pipeline.CommitCodec, from *State) *comparison {
	return &comparison{
		codec: codec, report: Report{Partition: from.Partition, After: from.Position},
		own: pipeline.NewRunningHash(from.Hash), kept: pipeline.NewRunningHash(from.Hash),
	}
}

// compare takes what the record at the position that was reached led to.
func (c *comparison) compare(position uint64, o *outcome) error {
	c.report.Records++
	if o.parked {
		c.report.Parked++
	}
	facts := pipeline.RecordFacts{Position: position, Data: o.data}
	if len(o.data) > 0 {
		c.report.Facts++
		c.own.Add(position, o.data)
	}
	if c.recorded == nil {
		return nil
	}
	was := c.was
	switch {
	case was == nil && len(o.data) == 0:
	case was == nil && !c.known:
		c.report.Unknown++
		c.kept.Add(position, o.data)
	case was == nil:
		return c.differ(facts, o, nil, "the replay states facts where none were recorded")
	case len(o.data) == 0 && o.unknown && c.report.Missing > 0:
		c.miss(*was) // it woke a customer whose events are missing
	case len(o.data) == 0:
		return c.differ(facts, o, was, "the replay states nothing where facts were recorded")
	case !was.same(facts):
		what := "the replay states other facts than were recorded"
		if was.torn {
			what = "the commit's facts are not those of which its trail was made"
		}
		return c.differ(facts, o, was, what)
	default:
		if was.data != nil {
			c.report.Whole++
		}
		c.kept.Add(position, o.data)
	}
	return nil
}

// reach goes on to a position: what was recorded in between has no record in the log any more.
func (c *comparison) reach(ctx context.Context, position uint64) error {
	c.was = nil
	if c.recorded == nil {
		return nil
	}
	all, known, err := c.recorded.upTo(ctx, position)
	if err != nil {
		return err
	}
	c.known = known
	for i := range all {
		if all[i].position == position {
			c.was = &all[i]
			break
		}
		c.hold(c.recorded.anchors(all[i].position - 1))
		c.miss(all[i])
	}
	c.hold(c.recorded.anchors(position - 1))
	return nil
}

// miss counts a record that is not in the log any more. Its commit may still tell what it stated.
func (c *comparison) miss(was record) {
	if c.report.Missing++; len(c.report.Gone) < maxGone {
		c.report.Gone = append(c.report.Gone, was.position)
	}
	if was.data == nil {
		c.adrift = true
		return
	}
	c.kept.Add(was.position, was.data)
}

// hold compares the running hash with those recorded, and takes it from there where it could not be computed.
func (c *comparison) hold(anchors []anchor) {
	for _, a := range anchors {
		if !c.adrift && !bytes.Equal(a.hash, c.kept.Sum()) {
			c.note(Difference{Position: a.position, What: fmt.Sprintf(
				"the running hash recorded here is %x and should be %x, though no record before it differs", a.hash, c.kept.Sum())})
		}
		c.kept, c.adrift = pipeline.NewRunningHash(a.hash), false
	}
}

func (c *comparison) note(d Difference) {
	if c.report.Differences++; c.report.First == nil {
		c.report.First = &d
	}
}

// differ notes a record that states something else. The hash goes on from the next anchor.
func (c *comparison) differ(facts pipeline.RecordFacts, o *outcome, was *record, what string) error {
	c.adrift = true
	d := Difference{Position: facts.Position, Event: o.event.ID, Profile: o.event.Profile, What: what}
	if o.parked {
		d.What += ": its step fails"
	}
	var err error
	if len(facts.Data) > 0 {
		if d.Replayed, err = c.decode(facts); err != nil {
			return err
		}
	}
	if was != nil && was.data != nil {
		if d.Recorded, err = c.decode(pipeline.RecordFacts{Position: was.position, Data: was.data}); err != nil {
			d.What += "; what was recorded can't be read: " + err.Error()
		}
	}
	c.note(d)
	return nil
}

func (c *comparison) decode(r pipeline.RecordFacts) (*pipeline.Facts, error) {
	r.Data = bytes.Clone(r.Data) // what is decoded are parts of it, and the next record's facts will overwrite it
	f, err := c.codec.DecodeFacts(r)
	return &f, err
}

// finish compares what was recorded after the last record of the log, up to the newest commit.
func (c *comparison) finish(ctx context.Context, end anchor) error {
	c.report.Position, c.report.Recorded = end.position, hex.EncodeToString(end.hash)
	c.report.Hash = hex.EncodeToString(c.own.Sum())
	if c.recorded == nil {
		return nil
	}
	c.report.Verified = true
	if err := c.reach(ctx, end.position+1); err != nil {
		return err
	}
	c.hold([]anchor{end})
	return nil
}

// leave writes into a state how far was compared.
func (c *comparison) leave(s *State) {
	s.Hash = c.own.Sum()
	if c.recorded != nil {
		s.Hash = c.kept.Sum()
		s.Trail, s.Commit = c.recorded.trail.held, c.recorded.commits.held
	}
}
