package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/replay"
	"attune/pipeline/rule"
	"attune/pipeline/topology"
)

// explainCommand says why a customer is in a segment, or isn't.
type explainCommand struct {
	Customer string    `arg:"" help:"A profile's id, or user:ID or anonymous:ID as producers know the customer."`
	Segment  []string  `placeholder:"ID" help:"Only this segment; may be given several times (default: all)."`
	At       time.Time `placeholder:"TIME" help:"As of this time, such as 2026-11-27T08:00:00Z (default: now). The past is found by running the customer's part of the log again; a time to come takes for granted that they do nothing until then."`
	From     string    `placeholder:"FILE" help:"A snapshot from before --at (attune replay --snapshot), where the log does not reach back to its beginning any more."`
	WhyNot   bool      `help:"Of the segments that they are not in, the fewest conditions that would have to be otherwise."`
	JSON     bool      `name:"json" help:"Print one JSON object."`
	target
}

// Run is the command.
func (c *explainCommand) Run(ctx context.Context, s streams) error {
	conn, js, err := c.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	at := event.At(time.Now())
	if !c.At.IsZero() {
		at = event.At(c.At)
	}
	x, err := c.explain(ctx, js, at)
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(s.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(x)
	}
	return x.print(s.out)
}

// explain finds the customer at an instant, after what came due until then, and asks what was in force.
func (c *explainCommand) explain(ctx context.Context, js jetstream.JetStream, at event.Instant) (*explanation, error) {
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return nil, err
	}
	reader, err := newProfileReader(ctx, js, partitions)
	if err != nil {
		return nil, err
	}
	reader.tail = 1 << 30 // who asks here waits rather than sees what was
	id, err := reader.resolve(ctx, c.Customer)
	if err != nil {
		return nil, err
	}
	f, err := reader.read(ctx, id)
	if err != nil {
		return nil, err
	}
	definitions, err := newDefinitions(ctx, js, partitions)
	if err != nil {
		return nil, err
	}
	p, inForce := f.Profile, f.Controls
	if at < p.Now { // what it was before is not kept
		past, err := c.past(ctx, js, reader, definitions, id, at)
		switch later := laterMerged(f.Profile, id, at); {
		case errors.Is(err, replay.ErrAged):
			return c.recorded(ctx, f.Profile, id, at, fmt.Errorf("explain --at %s: %w", at, err))
		case errors.Is(err, replay.ErrUnknown) && len(later) > 0:
			return nil, fmt.Errorf("explain --at %s: %w; %s", at, err, beforeMerging(later))
		case err != nil:
			return nil, fmt.Errorf("explain --at %s: %w", at, err)
		}
		p, inForce = past.Profile, past.Controls
	} else if err := bringUpTo(ctx, definitions, p, inForce, at); err != nil {
		return nil, err
	}
	ws := config.Empty()
	if record := inForce[pipeline.KindDefinitions]; record.Version > 0 {
		if ws, err = definitions.workspace(ctx, record.Hash); err != nil {
			return nil, err
		}
	}
	x, err := explainSegments(ws, p, at, c.Segment, c.WhyNot)
	if err != nil {
		return nil, err
	}
	x.Definitions = inForce[pipeline.KindDefinitions].Version
	x.Notes = mergeNotes(f.Profile, id, p.ID, at)
	return x, nil
}

// mergeNotes tell of merges that the answer depends on: who was asked for is now another profile, or the answer is about
// a time before others became part of the customer.
func mergeNotes(now *profile.Profile, asked, answered string, at event.Instant) []string {
	var notes []string
	if asked != now.ID {
		when := ""
		if i := slices.IndexFunc(now.Merged, func(m profile.Merged) bool { return m.ID == asked }); i >= 0 {
			when = " since " + now.Merged[i].At.String()
		}
		notes = append(notes, fmt.Sprintf("%s is the same customer as %s%s: they became one", asked, now.ID, when))
	}
	if later := laterMerged(now, answered, at); len(later) > 0 {
		notes = append(notes, beforeMerging(later))
	}
	return notes
}

// beforeMerging says whom else to ask for at a time before a customer became one.
func beforeMerging(later []profile.Merged) string {
	names := make([]string, len(later))
	for i, m := range later {
		names[i] = fmt.Sprintf("%s (until %s)", m.ID, m.At)
	}
	return "a part of this customer was still another profile then, which can be asked for: " + strings.Join(names, ", ")
}

// bringUpTo runs what the customer owes up to an instant, as their next record would.
func bringUpTo(ctx context.Context, definitions *definitions, p *profile.Profile, inForce pipeline.Controls, at event.Instant) error {
	chain, err := definitions.chain(ctx, inForce)
	if err != nil {
		return err
	}
	_, err = chain.Try(p, &event.Event{Type: event.Wake, Profile: p.ID, Accepted: at}, p.Applied)
	return err
}

// explanation is what the command says.
type explanation struct {
	Profile     string        `json:"profile"`
	At          event.Instant `json:"at"`
	Definitions uint64        `json:"definitions"` // their version; 0: not known
	// Notes are what else is to be known: of merges, and where the answer comes from.
	Notes    []string           `json:"notes,omitempty"`
	Segments []explainedSegment `json:"segments"`
	// Recorded is what ClickHouse has instead, where the log doesn't reach back far enough.
	Recorded []recordedSegment `json:"recorded,omitempty"`
}

type explainedSegment struct {
	ID string `json:"id"`
	// In and Since are what the profile says; by definitions that it has not been judged by yet it may be otherwise.
	In    bool          `json:"in"`
	Since event.Instant `json:"since,omitzero"`
	rule.Explanation
	WhyNot []rule.Change `json:"why_not,omitempty"`
}

// explainSegments explains the segments that are asked for, or all of them.
func explainSegments(ws *config.Workspace, p *profile.Profile, at event.Instant, ids []string, whyNot bool) (*explanation, error) {
	x := &explanation{Profile: p.ID, At: at, Segments: []explainedSegment{}}
	if len(ids) == 0 {
		for _, d := range ws.Segments {
			ids = append(ids, d.ID)
		}
	}
	for _, id := range ids {
		r, err := ws.SegmentRule(id)
		if err != nil {
			return nil, err
		}
		one := explainedSegment{ID: id, In: p.In(id), Since: p.Segments[id].Since, Explanation: r.Explain(rule.Input{Profile: p, Now: max(at, p.Now)})}
		if whyNot {
			one.WhyNot = one.Explanation.WhyNot()
		}
		x.Segments = append(x.Segments, one)
	}
	return x, nil
}

// print shows it to people.
func (x *explanation) print(out io.Writer) error {
	by := ""
	if x.Definitions > 0 {
		by = fmt.Sprintf(", by version %d of the definitions", x.Definitions)
	}
	fmt.Fprintf(out, "%s at %s%s\n", x.Profile, x.At, by)
	for _, note := range x.Notes {
		fmt.Fprintf(out, "(%s.)\n", note)
	}
	if x.Recorded != nil {
		x.printRecorded(out)
		return nil
	}
	if len(x.Segments) == 0 {
		fmt.Fprintln(out, "There are no segments.")
	}
	for _, s := range x.Segments {
		if err := s.print(out); err != nil {
			return err
		}
	}
	return nil
}

func (s *explainedSegment) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s: %s\n", s.ID, s.verdict())
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	printParts(w, &s.Explanation, 1)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the explanation: %w", err)
	}
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(out, strings.TrimRight(line, " \n"))
	}
	for i, change := range s.WhyNot {
		begin := "  and "
		if i == 0 {
			begin = "  To be in it, "
		}
		fmt.Fprintf(out, "%s%s would have to be %v", begin, change.Part.Text, change.Want)
		if change.Part.Value != "" {
			fmt.Fprintf(out, " (is: %s)", change.Part.Value)
		}
		fmt.Fprintln(out)
	}
	return nil
}

func (s *explainedSegment) verdict() string {
	said := "not in it"
	if s.In {
		said = "in it since " + s.Since.String()
	}
	switch {
	case s.In != s.Holds:
		return said + "; not judged by this version yet"
	case s.Until != 0:
		said += ", until " + s.Until.String() + " at least"
	}
	return said
}

// printParts prints a line for each part: its answer, the part, what it asks about as it is, and until when.
func printParts(w io.Writer, x *rule.Explanation, depth int) {
	until := ""
	if x.Until != 0 {
		until = "until " + x.Until.String()
	}
	value := ""
	if x.Value != "" {
		value = "is: " + x.Value
	}
	fmt.Fprintf(w, "  %v\t%s%s\t%s\t%s\n", x.Holds, strings.Repeat("  ", depth-1), x.Text, value, until)
	for i := range x.Parts {
		printParts(w, &x.Parts[i], depth+1)
	}
}
