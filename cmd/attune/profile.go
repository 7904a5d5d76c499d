package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/sinks/clickhouse"
)

// profileCommand shows one customer.
type profileCommand struct {
	ID       string `arg:"" help:"A profile's id, or user:ID or anonymous:ID as producers know the customer."`
	Personal bool   `help:"Show the personal fields of the vault too."`
	Limit    int    `default:"30" help:"At most so many lines of the timeline, the newest; 0 leaves it out."`
	JSON     bool   `name:"json" help:"Print one JSON object, the timeline in it."`
	target
}

// Run is the command.
func (c *profileCommand) Run(ctx context.Context, s streams) error {
	if c.Limit < 0 || c.Limit > 10_000 {
		return fmt.Errorf("--limit %d: give 0 to 10000", c.Limit)
	}
	conn, js, err := c.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return err
	}
	reader, err := newProfileReader(ctx, js, partitions)
	if err != nil {
		return err
	}
	reader.tail = 1 << 30 // who asks here waits rather than sees what was
	id, err := reader.resolve(ctx, c.ID)
	if err != nil {
		return err
	}
	f, err := reader.read(ctx, id)
	if err != nil {
		return err
	}
	shown := struct {
		profileView
		Timeline []timelineEntry `json:"timeline,omitempty"`
	}{profileView: view(f, event.At(time.Now()))}
	if c.Personal {
		entry, err := reader.personal(ctx, f.ID)
		if err != nil {
			return err
		}
		shown.Personal = fields(entry)
	}
	var missing error
	if c.Limit > 0 {
		shown.Timeline, missing = c.timeline(ctx, f.ID)
	}
	if c.JSON {
		err = json.NewEncoder(s.out).Encode(shown)
	} else {
		err = printProfile(s.out, &shown.profileView, shown.Timeline)
	}
	if missing != nil {
		fmt.Fprintf(s.err, "The timeline is left out: %v\n", missing)
	}
	return err
}

// timelineEntry is one thing that changed the customer, or that was decided about them.
type timelineEntry struct {
	At     string `json:"at"`
	What   string `json:"what"` // event, segment, decision, message or merge
	Name   string `json:"name"`
	Detail string `json:"detail,omitempty"`
}

// timelineSQL is what happened to a customer and what was decided, under all ids that they had, in the order of the log,
// the newest last. An event comes before what it led to.
const timelineSQL = `
WITH ids AS (SELECT '%[1]s' AS id UNION ALL SELECT profile_id FROM merged_profiles WHERE current_id = '%[1]s')
SELECT concat(replaceOne(toString(time), ' ', 'T'), 'Z') AS at, what, name, detail FROM
(
    SELECT time, rank, what, name, detail, sequence FROM
    (
        SELECT accepted AS time, 1 AS rank, 'event' AS what, if(event = '', toString(type), toString(event)) AS name,
            concat(if(historical, 'historical, ', ''), if(occurred = accepted, '', concat('occurred ', toString(occurred), ', ')),
                if(revenue = 0, '', concat(toString(revenue), ' ', toString(currency), ', ')), 'clv ', toString(clv)) AS detail, sequence
        FROM events WHERE profile_id IN ids
        UNION ALL
        SELECT at, 2, 'segment', toString(segment), concat(if(entered, 'entered', 'exited'), ', because of ', toString(reason)), sequence
        FROM segment_changes WHERE profile_id IN ids
        UNION ALL
        SELECT at, 3, 'decision', toString(campaign), concat(toString(outcome), if(reason = '', '', concat(': ', toString(reason))), if(detail = '', '', concat(', ', detail))), sequence
        FROM decisions WHERE profile_id IN ids
        UNION ALL
        SELECT at, 4, 'message', toString(campaign), concat(toString(outcome), if(reason = '', '', concat(': ', toString(reason)))), sequence
        FROM messages WHERE profile_id IN ids
        UNION ALL
        SELECT at, 5, 'merge', loser, if(refused = '', concat('is ', winner), concat('is not ', winner, ': ', toString(refused))), sequence
        FROM profile_merges WHERE winner IN ids
    )
    ORDER BY sequence DESC, time DESC, rank DESC
    LIMIT %[2]d
)
ORDER BY sequence, time, rank`

// timeline reads what ClickHouse has of the customer. The id is one that resolve has let through.
func (c *profileCommand) timeline(ctx context.Context, id string) ([]timelineEntry, error) {
	if !profileID.MatchString(id) {
		return nil, fmt.Errorf("%q is no profile's id", id)
	}
	settings, err := c.load()
	if err != nil {
		return nil, err
	}
	dsn, err := settings.ClickHouse.QueryDSN()
	if err != nil {
		return nil, err
	}
	var rows bytes.Buffer
	if err := clickhouse.Query(ctx, dsn, fmt.Sprintf(timelineSQL, id, c.Limit), "JSONEachRow", &rows); err != nil {
		return nil, fmt.Errorf("%w; what is shown comes from NATS and is whole", err)
	}
	entries := []timelineEntry{}
	for decoder := json.NewDecoder(&rows); ; {
		var e timelineEntry
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return entries, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the timeline: %w", err)
		}
		entries = append(entries, e)
	}
}

// printProfile shows a profile to people.
func printProfile(out io.Writer, v *profileView, timeline []timelineEntry) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("profile", "%s", v.ID)
	line("as of", "%s   (partition %d, position %d)", v.AsOf, v.Partition, v.Position)
	line("seen", "%s to %s", v.FirstSeen, v.LastSeen)
	standing := v.Lifecycle
	if v.Tier != "" {
		standing += ", " + v.Tier
	}
	if v.Until != 0 {
		standing += ", until " + v.Until.String()
	}
	line("standing", "%s", standing)
	if o := v.Orders; o.Count > 0 {
		line("orders", "%d for %s, %d refunded with %s, the latest %d days ago", o.Count, o.Revenue, o.Refunds, o.Refunded, *o.RecencyDays)
		line("value", "%s expected, confidence %.2f, alive with %.4g", v.CLV, v.Sure, v.Alive)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Propensities)) {
		score := v.Propensities[name]
		line("propensity", "%s: %.4g, confidence %.2f, as of %s", name, score.Value, score.Confidence, v.PropensityAt)
	}
	if v.Style != nil {
		line("style group", "%s, confidence %.2f", v.Style.Category, v.Style.Confidence)
	}
	for _, d := range slices.Sorted(maps.Keys(v.Affinities)) {
		if text := strongest(v.Affinities[d], 5); text != "" && d != "hour" {
			line(d, "%s", text)
		}
	}
	if h := v.SendHour; h != nil {
		hour := fmt.Sprintf("%02d:00 UTC", h.UTC)
		if h.Local != nil {
			hour = fmt.Sprintf("%02d:00 in %s", *h.Local, h.Zone)
		}
		line("best hour", "%s, %.0f%% of what they do", hour, h.Share*100)
	}
	for _, item := range v.Cart {
		line("cart", "%d × %s at %s", item.Quantity, item.ProductID, item.Price)
	}
	var viewed []string
	for _, p := range v.Viewed {
		viewed = append(viewed, p.ProductID)
	}
	if len(viewed) > 0 {
		line("viewed", "%s", strings.Join(viewed, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(v.Events)) {
		a := v.Events[name]
		line("event", "%s: %d, worth %s, the last %s", name, a.Count, a.Sum, a.Last)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Traits)) {
		line("trait", "%s: %s", name, v.Traits[name])
	}
	for _, channel := range slices.Sorted(maps.Keys(v.Consents)) {
		said := "withdrawn"
		if v.Consents[channel].Granted {
			said = "granted"
		}
		line("consent", "%s: %s %s", channel, said, v.Consents[channel].At)
	}
	for _, s := range v.Segments {
		line("segment", "%s since %s", s.ID, s.Since)
	}
	for _, wait := range v.Waits {
		line("wait", "%s %s due %s", wait.Campaign, wait.Key, wait.Due)
	}
	for _, m := range v.Merged {
		line("merged", "%s at %s", m.ID, m.At)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Personal)) {
		line("personal", "%s: %s", name, v.Personal[name])
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the profile: %w", err)
	}
	if len(timeline) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "WHEN\tWHAT\tNAME\tDETAIL")
	for _, e := range timeline {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.At, e.What, e.Name, e.Detail)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the timeline: %w", err)
	}
	return nil
}

// strongest names the largest shares.
func strongest(shares map[string]float64, most int) string {
	names := slices.SortedFunc(maps.Keys(shares), func(a, b string) int {
		return cmp.Or(cmp.Compare(shares[b], shares[a]), strings.Compare(a, b))
	})
	var text []string
	for _, name := range names[:min(len(names), most)] {
		text = append(text, fmt.Sprintf("%s %.0f%%", name, shares[name]*100))
	}
	return strings.Join(text, ", ")
}
