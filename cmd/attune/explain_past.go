package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/replay"
	"attune/pipeline/topology"
	"attune/sinks/clickhouse"
)

// past finds the customer whom an id named at an instant, by running the log of their partition again.
func (c *explainCommand) past(ctx context.Context, js jetstream.JetStream, reader *profileReader, definitions *definitions, id string, at event.Instant) (*replay.Past, error) {
	replayer, err := replay.New(replay.Config{JetStream: js, Load: definitions.chain})
	if err != nil {
		return nil, err
	}
	for range maxMerges {
		partition := topology.Partition(id, reader.partitions)
		from, err := c.snapshot(ctx, js, partition)
		if err != nil {
			return nil, err
		}
		past, err := replayer.Customer(ctx, id, partition, at, from)
		if err != nil || past.Profile.Into == "" {
			return past, err
		}
		id = past.Profile.Into
	}
	return nil, fmt.Errorf("profile %s went on in another one more than %d times", id, maxMerges)
}

// snapshot is a partition's state to go on from; nil: the beginning of the log.
func (c *explainCommand) snapshot(ctx context.Context, js jetstream.JetStream, partition int) (*replay.State, error) {
	source, err := openSnapshot(ctx, js, c.From)
	if err != nil {
		return nil, err
	}
	defer source.close()
	return source.state(partition)
}

// laterMerged are the profiles that became part of a customer after an instant.
func laterMerged(now *profile.Profile, then string, at event.Instant) []profile.Merged {
	var later []profile.Merged
	for _, m := range now.Merged {
		if m.At > at && m.ID != then {
			later = append(later, m)
		}
	}
	return later
}

// recordedSegment is what ClickHouse has of a segment at an instant.
type recordedSegment struct {
	ID     string `json:"id"`
	In     bool   `json:"in"`
	Since  string `json:"since"`
	Reason string `json:"reason"`
}

// recordedSQL is the latest change of each segment up to an instant.
const recordedSQL = `
SELECT toString(segment) AS id, entered AS in, concat(replaceOne(toString(at), ' ', 'T'), 'Z') AS since, toString(reason) AS reason
FROM segment_changes WHERE profile_id = '%s' AND at <= fromUnixTimestamp64Milli(%d)
ORDER BY segment_changes.at DESC, sequence DESC LIMIT 1 BY id`

// wentOnSQL is the profile in which one had gone on by an instant: each loser has a row for wherever it came to.
const wentOnSQL = `
SELECT winner AS id FROM profile_merges WHERE loser = '%s' AND refused = '' AND at <= fromUnixTimestamp64Milli(%d)
ORDER BY sequence DESC LIMIT 1`

// recorded is what ClickHouse has, where the log doesn't reach back far enough: the memberships without the conditions, of
// the customer whom the id named at the instant. now is who they are.
func (c *explainCommand) recorded(ctx context.Context, now *profile.Profile, id string, at event.Instant, aged error) (*explanation, error) {
	x := &explanation{Profile: id, At: at, Segments: []explainedSegment{}, Recorded: []recordedSegment{}}
	settings, err := c.load()
	if err != nil {
		return nil, errors.Join(aged, err)
	}
	dsn, err := settings.ClickHouse.QueryDSN()
	if err != nil {
		return nil, errors.Join(aged, err)
	}
	unasked := func(err error) error {
		return fmt.Errorf("%w; nor can ClickHouse be asked who was in which segment: %w", aged, err)
	}
	wentOn, err := recordedRows[struct{ ID string }](ctx, dsn, fmt.Sprintf(wentOnSQL, id, int64(at)))
	if err != nil {
		return nil, unasked(err)
	}
	if len(wentOn) > 0 {
		x.Profile = wentOn[0].ID
	}
	segments, err := recordedRows[recordedSegment](ctx, dsn, fmt.Sprintf(recordedSQL, x.Profile, int64(at)))
	if err != nil {
		return nil, unasked(err)
	}
	for _, s := range segments {
		if len(c.Segment) == 0 || slices.Contains(c.Segment, s.ID) {
			x.Recorded = append(x.Recorded, s)
		}
	}
	x.Notes = append([]string{fmt.Sprintf("%v. What follows is recorded in ClickHouse, without the conditions and their values", aged)},
		mergeNotes(now, id, x.Profile, at)...)
	slices.SortFunc(x.Recorded, func(a, b recordedSegment) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	return x, nil
}

func recordedRows[T any](ctx context.Context, dsn, query string) (all []T, err error) {
	var rows bytes.Buffer
	if err := clickhouse.Query(ctx, dsn, query, "JSONEachRow", &rows); err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(&rows); ; {
		var row T
		if err := decoder.Decode(&row); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the database's answer: %w", err)
		}
		all = append(all, row)
	}
}

// printRecorded shows what ClickHouse has to people.
func (x *explanation) printRecorded(out io.Writer) {
	if len(x.Recorded) == 0 {
		fmt.Fprintln(out, "They had neither entered nor left any of the segments by then.")
	}
	for _, s := range x.Recorded {
		said := "not in it: they left"
		if s.In {
			said = "in it: they entered"
		}
		fmt.Fprintf(out, "%s: %s at %s, because of %s\n", s.ID, said, s.Since, s.Reason)
	}
}
