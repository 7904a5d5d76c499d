package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/rule"
	"attune/sinks/clickhouse"
)

// segmentsCommand shows the segments in force.
type segmentsCommand struct {
	JSON    bool    `name:"json" help:"Print JSON."`
	Similar float64 `default:"0.8" help:"From which Jaccard similarity on two segments are pointed out as much the same, 0 to 1."`
	Stale   string  `default:"30d" help:"After how long without an entry or exit a segment is pointed out as stale."`
	target
}

// segmentReport is what `attune segments` tells, and the form of its JSON.
type segmentReport struct {
	At       time.Time       `json:"at"`
	Version  uint64          `json:"version"` // of the definitions in force
	Segments []segmentStatus `json:"segments"`
	Overlaps []overlap       `json:"overlaps"` // pairs with members in common, the most similar first
	Notes    []string        `json:"notes"`    // what somebody should look at
}

// segmentStatus is one segment.
type segmentStatus struct {
	ID      string `json:"id"`
	Members int64  `json:"members"`
	MinSize int    `json:"min_size"`
	// Small: campaigns that ask for it do as their below_min_size says.
	Small        bool      `json:"small"`
	Entered24h   uint64    `json:"entered_24h"`
	Exited24h    uint64    `json:"exited_24h"`
	FlipsPerHour float64   `json:"flips_per_hour"` // over the last 24 hours
	First        time.Time `json:"first_change,omitzero"`
	Last         time.Time `json:"last_change,omitzero"`
	MedianAge    float64   `json:"median_age_seconds"` // how long half of the members have been in it, at least
	Campaigns    []string  `json:"campaigns"`
	SegmentsThat []string  `json:"segments"` // other segments that ask for it
}

// overlap is how much two segments have in common.
type overlap struct {
	A       string  `json:"a"`
	B       string  `json:"b"`
	Both    uint64  `json:"both"`
	Jaccard float64 `json:"jaccard"` // those in both, of those in either
}

// Run is the command.
func (c *segmentsCommand) Run(ctx context.Context, s streams) error {
	if c.Similar < 0 || c.Similar > 1 {
		return fmt.Errorf("--similar %g is out of range: give 0 to 1", c.Similar)
	}
	stale, err := rule.ParseWindow(c.Stale)
	if err != nil {
		return fmt.Errorf("--stale: %w", err)
	}
	settings, err := c.load()
	if err != nil {
		return err
	}
	dsn, err := settings.ClickHouse.QueryDSN()
	if err != nil {
		return err
	}
	conn, js, err := connect(settings.NATS)
	if err != nil {
		return err
	}
	defer conn.Close()
	report, err := reportSegments(ctx, js, dsn)
	if err != nil {
		return err
	}
	report.judge(c.Similar, stale)
	if c.JSON {
		return printJSON(s.out, report)
	}
	return report.print(s.out)
}

// reportSegments asks the control records what is in force, and ClickHouse how it is.
func reportSegments(ctx context.Context, js jetstream.JetStream, dsn string) (*segmentReport, error) {
	store, err := openControl(ctx, js)
	if err != nil {
		return nil, err
	}
	record, err := store.Newest(ctx, pipeline.KindDefinitions)
	if err != nil {
		return nil, err
	}
	r := &segmentReport{At: time.Now().UTC(), Version: record.Version, Segments: []segmentStatus{}, Overlaps: []overlap{}, Notes: []string{}}
	if record.Version == 0 {
		return r, nil
	}
	object, err := store.Object(ctx, record.Hash)
	if err != nil {
		return nil, err
	}
	workspace, err := config.DecodeWorkspace(object)
	if err != nil {
		return nil, err
	}
	small, err := smallSegments(ctx, store)
	if err != nil {
		return nil, err
	}
	users, err := workspace.SegmentUsers()
	if err != nil {
		return nil, err
	}
	for _, d := range workspace.Segments {
		_, below := small[d.ID]
		r.Segments = append(r.Segments, segmentStatus{
			ID: d.ID, MinSize: d.LeastSize(), Small: below, Campaigns: append([]string{}, users[d.ID].Campaigns...), SegmentsThat: append([]string{}, users[d.ID].Segments...),
		})
	}
	if err := r.count(ctx, dsn); err != nil {
		return nil, err
	}
	return r, r.compare(ctx, dsn)
}

// rows runs a query and hands each row to take, as JSON.
func rows[R any](ctx context.Context, dsn, query string, take func(R)) error {
	var answer strings.Builder
	if err := clickhouse.Query(ctx, dsn, query, "JSONEachRow", &answer); err != nil {
		return err
	}
	for line := range strings.Lines(answer.String()) {
		var row R
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			return fmt.Errorf("the database answers %q: %w", line, err)
		}
		take(row)
	}
	return nil
}

// count fills in sizes and movement.
func (r *segmentReport) count(ctx context.Context, dsn string) error {
	type row struct {
		Segment             string
		Members             int64
		Entered, Exited     uint64
		First, Last, Median int64
	}
	const query = `SELECT segment AS Segment, sum(m) AS Members, sum(e) AS Entered, sum(x) AS Exited, min(f) AS First, max(l) AS Last,
		toInt64(quantileExactIf(0.5)(since, m > 0)) AS Median
		FROM (
			SELECT toString(segment) AS segment, profile_id, sum(if(entered, 1, -1)) AS m,
				countIf(entered AND at > now64(3) - INTERVAL 24 HOUR) AS e, countIf(NOT entered AND at > now64(3) - INTERVAL 24 HOUR) AS x,
				toUnixTimestamp64Milli(min(at)) AS f, toUnixTimestamp64Milli(max(at)) AS l, toUnixTimestamp64Milli(maxIf(at, entered)) AS since
			FROM segment_changes GROUP BY segment, profile_id
		) GROUP BY segment SETTINGS output_format_json_quote_64bit_integers = 0`
	found := map[string]row{}
	if err := rows(ctx, dsn, query, func(x row) { found[x.Segment] = x }); err != nil {
		return err
	}
	for i := range r.Segments {
		s := &r.Segments[i]
		x, ok := found[s.ID]
		if !ok {
			continue
		}
		s.Members, s.Entered24h, s.Exited24h = x.Members, x.Entered, x.Exited
		s.FlipsPerHour = math.Round(float64(x.Entered+x.Exited)/24*100) / 100
		s.First, s.Last = time.UnixMilli(x.First).UTC(), time.UnixMilli(x.Last).UTC()
		if x.Members > 0 {
			s.MedianAge = max(r.At.Sub(time.UnixMilli(x.Median)).Seconds(), 0)
		}
	}
	return nil
}

// compare finds pairs with members in common.
func (r *segmentReport) compare(ctx context.Context, dsn string) error {
	type row struct {
		A, B string
		Both uint64
	}
	const query = `SELECT pair.1 AS A, pair.2 AS B, count() AS Both
		FROM (
			SELECT profile_id, arraySort(groupArray(segment)) AS ids
			FROM (SELECT profile_id, toString(segment) AS segment FROM segment_changes GROUP BY profile_id, segment HAVING sum(if(entered, 1, -1)) > 0)
			GROUP BY profile_id HAVING length(ids) > 1
		)
		ARRAY JOIN arrayFlatten(arrayMap((a, i) -> arrayMap(b -> (a, b), arraySlice(ids, i + 1)), ids, arrayEnumerate(ids))) AS pair
		GROUP BY pair ORDER BY Both DESC, A, B SETTINGS output_format_json_quote_64bit_integers = 0`
	members := map[string]int64{}
	for _, s := range r.Segments {
		members[s.ID] = s.Members
	}
	err := rows(ctx, dsn, query, func(x row) {
		a, knownA := members[x.A]
		b, knownB := members[x.B]
		if either := float64(a+b) - float64(x.Both); knownA && knownB && either > 0 {
			r.Overlaps = append(r.Overlaps, overlap{x.A, x.B, x.Both, math.Round(float64(x.Both)/either*1e4) / 1e4})
		}
	})
	slices.SortStableFunc(r.Overlaps, func(a, b overlap) int {
		switch {
		case a.Jaccard > b.Jaccard:
			return -1
		case a.Jaccard < b.Jaccard:
			return 1
		}
		return 0
	})
	return err
}

// judge points out what somebody should look at.
func (r *segmentReport) judge(similar float64, stale time.Duration) {
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	for _, s := range r.Segments {
		if s.Small && len(s.Campaigns) > 0 {
			note("%s is too small: %d members, min_size %d: %s may not go by it (below_min_size)", s.ID, s.Members, s.MinSize, strings.Join(s.Campaigns, ", "))
		} else if s.Small {
			note("%s is too small: %d members, min_size %d", s.ID, s.Members, s.MinSize)
		}
		switch {
		case s.Last.IsZero():
			note("%s has never had a member", s.ID)
		case r.At.Sub(s.Last) > stale:
			note("%s is stale: nobody entered or left it for %s", s.ID, elapsed(r.At.Sub(s.Last)))
		}
		if len(s.Campaigns) == 0 && len(s.SegmentsThat) == 0 {
			note("%s is used by no campaign and no other segment", s.ID)
		}
	}
	for _, o := range r.Overlaps {
		if o.Jaccard >= similar {
			note("%s and %s are much the same: %.0f %% of those in either are in both", o.A, o.B, 100*o.Jaccard)
		}
	}
}

// shownOverlaps is how many pairs are printed for people.
const shownOverlaps = 10

func (r *segmentReport) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SEGMENT\tMEMBERS\tMIN SIZE\t24 H\tFLIPS PER HOUR\tMEDIAN AGE\tLAST CHANGE\tUSED BY")
	for _, s := range r.Segments {
		last, small := "-", ""
		if !s.Last.IsZero() {
			last = elapsed(r.At.Sub(s.Last)) + " ago"
		}
		if s.Small {
			small = "!"
		}
		users := slices.Clone(s.Campaigns)
		for _, id := range s.SegmentsThat {
			users = append(users, "segment "+id)
		}
		fmt.Fprintf(w, "%s\t%d%s\t%d\t+%d -%d\t%.2f\t%s\t%s\t%s\n", s.ID, s.Members, small, s.MinSize, s.Entered24h, s.Exited24h, s.FlipsPerHour,
			age(s.MedianAge), last, strings.Join(users, ", "))
	}
	if len(r.Overlaps) > 0 {
		fmt.Fprintln(w, "\nOVERLAP\tAND\tIN BOTH\tJACCARD")
		for _, o := range r.Overlaps[:min(len(r.Overlaps), shownOverlaps)] {
			fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\n", o.A, o.B, o.Both, o.Jaccard)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(out)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(out, "! %s\n", n)
	}
	return nil
}
