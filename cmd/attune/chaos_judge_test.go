//go:build unix

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// settleWithin is how long a figure may stand still on its way to what is wanted.
const settleWithin = 90 * time.Second

// settles waits until a query gives the figure, for as long as it comes nearer, and tells whether it did.
func (d *deployment) settles(what, query string, want int) bool {
	d.t.Helper()
	last, since := "", time.Now()
	for time.Since(since) < settleWithin {
		got, err := d.sql(query)
		if err != nil {
			got = err.Error()
		}
		if got == strconv.Itoa(want) {
			return true
		}
		if got != last {
			last, since = got, time.Now()
		}
		time.Sleep(300 * time.Millisecond) // between two looks at other processes
	}
	d.t.Errorf("%s: %s, want %d: it has not moved for %s", what, last, want, settleWithin)
	return false
}

// lacking shows the customers who wait for a decision, as they are, and the wake-ups that the broker holds.
func (d *deployment) lacking(query string, want []string) {
	d.t.Helper()
	text, err := d.sql(query)
	if err != nil {
		d.t.Error(err)
	}
	got := strings.Split(text, "\n")
	shown := 0
	for _, row := range want {
		if slices.Contains(got, row) {
			continue
		}
		user, _, _ := strings.Cut(row, "\t")
		if shown++; shown <= 3 {
			d.t.Logf("at %s %s should have decided %q:\n%s", time.Now().UTC().Format(time.RFC3339Nano), user, row, output(d.t, "profile", "--config", d.file, "--json", "user:"+user))
		}
	}
	d.t.Logf("wake-ups: %s", d.wakes())
}

// wakes are the messages of the stream of wake-ups, by subject.
func (d *deployment) wakes() string {
	conn, err := nats.Connect(d.broker)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err.Error()
	}
	stream, err := js.Stream(d.t.Context(), topology.Wakeups)
	if err != nil {
		return err.Error()
	}
	info, err := stream.Info(d.t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		return err.Error()
	}
	var said strings.Builder
	for subject := range info.State.Subjects {
		m, err := stream.GetLastMsgForSubject(d.t.Context(), subject)
		if err == nil {
			fmt.Fprintf(&said, "\n%s %d %s %v", subject, m.Sequence, m.Time.UTC().Format(time.RFC3339Nano), m.Header["Nats-Schedule"])
		}
	}
	return said.String()
}

// rows compares what a query says with the oracle, row by row.
func (d *deployment) rows(what, query string, want []string) {
	d.t.Helper()
	text, err := d.sql(query)
	if err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
	var got []string
	if text != "" {
		got = strings.Split(text, "\n")
	}
	slices.Sort(got)
	slices.Sort(want)
	var missing, wrong []string
	for _, row := range want {
		if _, found := slices.BinarySearch(got, row); !found {
			missing = append(missing, row)
		}
	}
	for _, row := range got {
		if _, found := slices.BinarySearch(want, row); !found {
			wrong = append(wrong, row)
		}
	}
	if len(missing)+len(wrong) > 0 || len(got) != len(want) {
		d.t.Errorf("%s: %d rows, want %d; %d are wrong:\n%s\nand should be:\n%s", what, len(got), len(want), len(wrong), few(wrong), few(missing))
	}
}

func few(rows []string) string { return strings.Join(rows[:min(len(rows), 10)], "\n") }

// judge waits until all that was acknowledged has come out at the end, and compares it with the oracle.
func (d *deployment) judge(shoppers []*shopper) {
	calls, fired, ties := 0, 0, 0
	var events, profiles, changes, decisions []string
	for _, s := range shoppers {
		calls += s.calls + 1 + s.looks + s.ties // and the first identify
		ties += s.ties
		fired += s.cartMails + s.checkoutMails + s.thanks
		events = append(events, fmt.Sprint(s.user, "\t", s.calls+1, "\t", s.calls+1, "\t", s.calls, "\t1\t1"))
		profiles = append(profiles, fmt.Sprint(s.user, "\t", s.looked(), "\t", s.views, "\t", s.carts, "\t", s.checkouts, "\t", s.orders, "\t", s.orders, "\t", s.cents, "\t", s.hot, "\t", s.loyal))
		changes = append(changes, fmt.Sprint(s.user, "\t", s.enteredHot, "\t", s.leftHot, "\t", s.thanks, "\t0"))
		decisions = append(decisions, fmt.Sprint(s.user, "\t", s.cartMails, "\t", s.checkoutMails, "\t", s.thanks, "\t", s.cartMails+s.checkoutMails+s.thanks))
	}
	began := time.Now()
	d.settles("events in ClickHouse", "SELECT uniqExact(event_id) FROM events WHERE type IN ('track', 'identify')", calls)
	const customers = "(SELECT DISTINCT user_id, profile_id FROM events WHERE type = 'identify') AS c"
	const decided = `
		SELECT user_id, uniqExactIf(cause, campaign = 'cart'), uniqExactIf(cause, campaign = 'checkout'), countIf(campaign = 'thanks'), countIf(campaign != '')
		FROM ` + customers + ` LEFT JOIN decisions AS s USING profile_id GROUP BY user_id`
	if !d.settles("decisions that fired", "SELECT uniqExact(decision_id) FROM decisions WHERE outcome = 'fired'", fired) {
		d.lacking(decided, decisions)
	}
	d.settles("mails whose end is known", "SELECT uniqExact(decision_id) FROM messages", fired)
	d.settles("profiles that went on in another one", "SELECT uniqExact(loser) FROM profile_merges WHERE refused = ''", ties)
	d.settles("and are marked so", "SELECT countIf(merged_into != '') FROM profiles FINAL", ties)
	d.t.Logf("%d events, %d merges and %d mails were all there %s after the last", calls, ties, fired, time.Since(began).Round(time.Millisecond))

	d.rows("each event once, in its customer's order, in one partition", `
		SELECT user_id, count(), uniqExact(event_id), max(n),
			arrayMap(e -> e.2, arraySort(groupArray((sequence, n)))) = arraySort(groupArray(n)), uniqExact(partition)
		FROM (SELECT user_id, event_id, partition, sequence, ifNull(properties.n.:Int64, 0) AS n FROM events
			WHERE type IN ('track', 'identify') AND user_id != '' AND NOT startsWith(event_id, 'tie-'))
		GROUP BY user_id`, events)
	d.rows("profiles", `
		SELECT user_id, counts['Looked Around'], counts['Product Viewed'], counts['Product Added'], counts['Checkout Started'], counts['Order Completed'],
			orders, toInt64(revenue * 100), toBool(has(segments, 'hot')), toBool(has(segments, 'loyal'))
		FROM `+customers+` JOIN (SELECT * FROM profiles FINAL) AS p USING profile_id`, profiles)
	d.rows("changes of segments", `
		SELECT user_id, countIf(segment = 'hot' AND entered), countIf(segment = 'hot' AND NOT entered),
			countIf(segment = 'loyal' AND entered), countIf(segment = 'loyal' AND NOT entered)
		FROM `+customers+` LEFT JOIN segment_changes AS s USING profile_id GROUP BY user_id`, changes)
	d.rows("decisions", decided, decisions)
	for what, query := range map[string]string{
		"decisions that are there twice":     "SELECT count() - uniqExact(decision_id) FROM decisions",
		"decisions that did not fire":        "SELECT countIf(outcome != 'fired') FROM decisions",
		"ends of deliveries told twice":      "SELECT count() - uniqExact(decision_id) FROM messages",
		"deliveries that ended otherwise":    "SELECT countIf(outcome NOT IN ('accepted', 'unknown')) FROM messages",
		"ends of deliveries nobody decided":  "SELECT count() FROM messages WHERE decision_id NOT IN (SELECT decision_id FROM decisions)",
		"merges that are there twice":        "SELECT count() - uniqExact(loser) FROM profile_merges",
		"roll-up's difference to the events": "SELECT toInt64(sum(events)) - (SELECT toInt64(count()) FROM events) FROM events_per_hour",
	} {
		if got, err := d.sql(query); err != nil || got != "0" {
			d.t.Errorf("%s: %s, want 0 (%v)", what, got, err)
		}
	}
	d.judgeMails()
	for _, p := range d.processes {
		if p.alone > 0 {
			d.t.Logf("%s ended by itself %d times and was started again", p.name, p.alone)
		}
		for _, line := range p.defects() {
			d.t.Error(line)
		}
	}
}

// judgeMails compares what the mail server took with what was recorded: one mail for each that was accepted, at most
// one where nobody saw the end, which the destination's policy (hold) doesn't send again.
func (d *deployment) judgeMails() {
	text, err := d.sql("SELECT decision_id, outcome FROM messages")
	if err != nil {
		d.t.Fatal(err)
	}
	outcomes := map[string]string{}
	held := 0
	for line := range strings.Lines(text) {
		decision, outcome, _ := strings.Cut(strings.TrimSpace(line), "\t")
		outcomes[decision] = outcome
		if outcome == "unknown" {
			held++
		}
	}
	came := map[string]int{}
	for _, m := range d.mails.List() {
		decision, _, _ := strings.Cut(strings.Trim(m.MessageID, "<>"), "@")
		came[decision]++
		if came[decision] > 1 {
			d.t.Errorf("the mail of decision %s was sent %d times; its recorded end: %s", decision, came[decision], outcomes[decision])
		}
		if outcomes[decision] == "" {
			d.t.Errorf("a mail came for decision %s, whose end is not known", decision)
		}
	}
	for decision, outcome := range outcomes {
		if outcome == "accepted" && came[decision] != 1 {
			d.t.Errorf("decision %s is recorded as accepted, and %d mails came", decision, came[decision])
		}
	}
	d.t.Logf("%d mails came for %d deliveries; %d ended unknown and were held", len(came), len(outcomes), held)
}
