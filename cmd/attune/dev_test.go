package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// A newcomer's first minute: dev starts, the shop's customers leave carts, a personal mail appears, everything
// is queryable; a second process on the folder is refused; Ctrl-C drains and a restart goes on.
func TestDevFromFirstMailToRestart(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	d := startDev(t, data, "--max-wait", "2s", "--rate", "20", "--seed", "7")
	if len(d.ShortenedWaits) == 0 {
		t.Error("dev does not say that waits are shortened")
	}
	d.eventually(time.Minute, "a mail", func() bool { return len(d.mails()) > 0 })
	first := d.mails()[0]
	if first.Subject == "" || first.To == "" || strings.Contains(first.Subject, "{{") {
		t.Errorf("mail %+v is not personal", first)
	}
	for _, m := range d.mails() {
		if m.Copies > 1 {
			t.Errorf("mail %s came %d times", m.MessageID, m.Copies)
		}
	}
	d.eventually(20*time.Second, "the delivery in ClickHouse", func() bool { return d.sql("SELECT count() FROM messages WHERE outcome = 'accepted'") != "0" })
	if said := failure(t, "dev", "--data", data, "--listen", "127.0.0.1:0"); !strings.Contains(said, data) || !strings.Contains(said, "--data") {
		t.Errorf("the refusal of a second process does not help: %s", said)
	}
	d.interrupt()
	stored := 0

	d = startDev(t, data, "--no-shop")
	d.eventually(20*time.Second, "all events in ClickHouse", func() bool {
		n, err := strconv.Atoi(d.sql("SELECT count() FROM events WHERE type != 'delivery'"))
		done := err == nil && n > 0 && n == stored
		stored = n
		return done
	})
	if doubled := d.sql("SELECT count() - uniqExact(event_id) FROM events"); doubled != "0" {
		t.Errorf("%s events are stored twice after the restart", doubled)
	}
	d.eventually(30*time.Second, "one mail for each fired decision", func() bool {
		return d.sql("SELECT uniqExact(decision_id) FROM decisions WHERE outcome = 'fired'") == strconv.Itoa(len(d.mails()))
	})
	d.interrupt()
	if said := failure(t, "sql", "--data", data, "SELECT 1"); !strings.Contains(said, "attune dev --data "+data) {
		t.Errorf("without a running dev, sql does not say how to start one: %s", said)
	}
}

// The recorded session of Segment's Node client is accepted by the running ingest and lands.
func TestSegmentNodeSessionLands(t *testing.T) {
	recorded, err := os.ReadFile(filepath.Join("..", "..", "stages", "ingest", "testdata", "segment-node", "session.json"))
	if err != nil {
		t.Fatal(err)
	}
	var requests []struct{ Path, Body string }
	if err := json.Unmarshal(recorded, &requests); err != nil || len(requests) == 0 {
		t.Fatalf("%d recorded requests, %v", len(requests), err)
	}
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	calls := 0
	for _, r := range requests {
		var batch struct{ Batch []json.RawMessage }
		if err := json.Unmarshal([]byte(r.Body), &batch); err != nil {
			t.Fatal(err)
		}
		calls += len(batch.Batch)
		if status := d.post(r.Path, r.Body); status != 200 {
			t.Errorf("POST %s: status %d", r.Path, status)
		}
	}
	d.eventually(20*time.Second, "all calls in ClickHouse", func() bool { return d.sql("SELECT uniqExact(event_id) FROM events") == strconv.Itoa(calls) })
	if letters := output(t, "deadletter", "list", "--data", d.data); strings.Count(letters, "\n") != 1 {
		t.Errorf("dead letters:\n%s", letters)
	}
	d.interrupt()
}

// What can't be used is parked with its reason, shown, and can be tried again.
func TestDeadLetters(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	if status := d.post("/v1/track", `{"userId":"u1","event":"Order Completed","timestamp":"yesterday"}`); status != 200 {
		t.Fatalf("status %d", status)
	}
	list := func() string { return output(t, "deadletter", "list", "--data", d.data) }
	d.eventually(20*time.Second, "the dead letter", func() bool { return strings.Contains(list(), "bad_timestamp") })
	number := strings.Fields(strings.Split(list(), "\n")[1])[0]
	shown := output(t, "deadletter", "show", "--data", d.data, number)
	if !strings.Contains(shown, "yesterday") || !strings.Contains(shown, "RFC 3339") {
		t.Errorf("show does not tell what was sent and why it failed:\n%s", shown)
	}
	answer, err := http.Get(d.IngestURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"attune_dead_letters 1", `attune_normalize_calls_total{outcome="bad_timestamp"} 1`,
		`attune_consumer_pending{reader="clickhouse",stream="COMMITS"} `, `attune_consumer_pending{reader="normalize",stream="RAW"} 0`,
	} {
		if !strings.Contains(string(metrics), "\n"+line) {
			t.Errorf("/metrics has no %q", line)
		}
	}
	output(t, "deadletter", "retry", "--data", d.data, number)
	d.eventually(20*time.Second, "the letter's return under a new number", func() bool {
		lines := strings.Split(strings.TrimSpace(list()), "\n")
		return len(lines) == 2 && strings.Fields(lines[1])[0] != number
	})
	// Trying again does not lengthen how long the call is kept.
	until := func(letter string) time.Time {
		_, rest, _ := strings.Cut(letter, "\nuntil ")
		line, _, _ := strings.Cut(rest, "\n")
		end, err := time.Parse(time.RFC3339, strings.TrimSpace(line))
		if err != nil {
			t.Errorf("%v in\n%s", err, letter)
		}
		return end
	}
	again := strings.Fields(strings.Split(list(), "\n")[1])[0]
	if was, is := until(shown), until(output(t, "deadletter", "show", "--data", d.data, again)); !is.Equal(was) {
		t.Errorf("the letter was to be kept until %s, and is until %s", was, is)
	}
	if ttl := d.header(topology.DeadLetter, again, "Nats-TTL"); !strings.HasPrefix(ttl, "335h59m") && ttl != "336h0m0s" {
		t.Errorf("the broker keeps the letter for %q, want the rest of 14 days", ttl)
	}
	if said := failure(t, "deadletter", "show", "--data", d.data, "999"); !strings.Contains(said, "deadletter list") {
		t.Errorf("an unknown number: %s", said)
	}
	d.interrupt()
}

// header is that of a message in a stream.
func (d *dev) header(stream, number, name string) string {
	d.t.Helper()
	conn, err := nats.Connect(d.NATSURL)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := js.Stream(d.t.Context(), stream)
	if err != nil {
		d.t.Fatal(err)
	}
	sequence, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	m, err := s.GetMsg(d.t.Context(), sequence)
	if err != nil {
		d.t.Fatal(err)
	}
	return m.Header.Get(name)
}

// A workspace that the user applied stays in force over a restart; dev brings back its own only when asked.
func TestDevKeepsWhatWasApplied(t *testing.T) {
	folder := t.TempDir()
	data, shop := filepath.Join(folder, "data"), filepath.Join(folder, "shop")
	output(t, "init", shop)
	d := startDev(t, data, "--no-shop")
	if said := output(t, "apply", shop, "--data", data); !strings.Contains(said, "version 2") || !strings.Contains(said, "waits 1h, as written") {
		t.Errorf("apply says %q", said)
	}
	d.interrupt()
	d = startDev(t, data, "--no-shop")
	if said := output(t, "apply", shop, "--data", data); !strings.Contains(said, "nothing changed: version 2") {
		t.Errorf("after the restart apply says %q", said)
	}
	d.interrupt()
	d = startDev(t, data, "--no-shop", "--workspace", shop)
	if said := output(t, "apply", shop, "--data", data); !strings.Contains(said, "version 4") {
		t.Errorf("with --workspace, whose waits dev shortens, apply says %q", said)
	}
	d.interrupt()
}

// sql asks a running dev as an analyst: it reads everything of Attune's and changes nothing.
func TestSQLOnlyReads(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "data"), "--no-shop")
	if said := failure(t, "sql", "--data", d.data, "DROP TABLE events"); !strings.Contains(said, "events") {
		t.Errorf("DROP TABLE is refused with %q", said)
	}
	for _, query := range []string{"SHOW TABLES", "DESCRIBE events", "SELECT count() FROM campaign_performance", "SELECT count() FROM profiles FINAL"} {
		output(t, "sql", "--data", d.data, query)
	}
	d.interrupt()
}
