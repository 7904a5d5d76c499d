package normalize

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/pipetest"
	"attune/pipeline/topology"
)

func TestDuplicates(t *testing.T) {
	b := newBench(t)
	b.publish(0, script("", "1 track u=anna\n1 track u=anna\n2 track u=anna")...) // within a batch
	b.drain(0)
	b.publish(0, script("", "1 track u=anna\n3 track u=anna")...) // later
	b.publish(1, script("", "2 track u=ben\n4 track u=ben")...)   // on another partition, by another customer even
	b.drain(0, 1)
	if got := shape(b.profiles(), "", "1", "2", "3", "4"); got != "a a a b" {
		t.Errorf("profiles %s, want a a a b", got)
	}
	if got := len(b.stored(topology.Events)); got != 4 {
		t.Errorf("EVENTS has %d records, want 4", got)
	}
	if diff := cmp.Diff(map[string]float64{"event": 4, "repeated": 2, ReasonReusedID: 1}, b.outcomes()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
}

// An id that is used for another call: the second is parked, and its letter says whose the id is; so is a third one. The
// same call again, later and written otherwise, is a repeat.
func TestReusedIDs(t *testing.T) {
	b := newBench(t)
	b.publish(0,
		`{"type":"track","messageId":"m","userId":"anna","event":"E","properties":{"a":1,"b":2},"sentAt":"2026-05-01T12:00:00Z"}`,
		`{"type":"track","messageId":"m","userId":"anna","event":"E","properties":{"a":2,"b":2}}`)
	b.drain(0)
	b.publish(0, `{"sentAt":"2026-05-01T13:00:00Z","properties":{"b":2, "a":1},"type":"track","messageId":"m","userId":"anna","event":"E"}`)
	b.publish(1, `{"type":"track","messageId":"m","userId":"ben","event":"E"}`)
	b.drain(0, 1)
	if diff := cmp.Diff(map[string]float64{"event": 1, "repeated": 1, ReasonReusedID: 2}, b.outcomes()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
	letters := b.letters()
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	for i, holds := range []string{`"a":2`, `ben`} {
		d := letters[i]
		if d.Reason != ReasonReusedID || !strings.Contains(string(d.Payload), holds) || !strings.Contains(d.Error, b.profiles()["m"]) {
			t.Errorf("letter %d: %s: %s: %s", i, d.Reason, d.Error, d.Payload)
		}
	}
}

// The same id on two partitions at the same time is one event.
func TestDuplicatesAtTheSameTime(t *testing.T) {
	b := newBench(t)
	const calls = 200
	for n := range calls {
		for p := range partitions {
			b.publish(p, script("", fmt.Sprintf("%d track u=u%d", n, p))...)
		}
	}
	b.drain(0, 1, 2, 3)
	if got := len(b.profiles()); got != calls {
		t.Errorf("%d events, want %d", got, calls)
	}
}

func TestDirectPublish(t *testing.T) {
	b := newBench(t)
	before := time.Now()
	subject := topology.IngestSubject + ".anna"
	partition := topology.Partition("anna", partitions)
	sends := []struct {
		id     string
		header nats.Header
		check  func(e event.Event, stored time.Time) bool
	}{
		{"plain", nil, func(e event.Event, stored time.Time) bool { return e.Accepted == event.At(stored) && !e.Historical }},
		{"forged", nats.Header{event.HeaderAccepted: {before.Add(time.Hour).UTC().Format(time.RFC3339Nano)}}, func(e event.Event, stored time.Time) bool { return e.Accepted == event.At(stored) }},
		{"ancient", nats.Header{event.HeaderAccepted: {"0000-01-01T00:00:00+14:00"}}, func(e event.Event, stored time.Time) bool { return e.Accepted == event.At(stored) }},
		{"garbled", nats.Header{event.HeaderAccepted: {"noon"}, event.HeaderSentAt: {"noon"}, event.HeaderHistorical: {"1"}}, func(e event.Event, stored time.Time) bool { return e.Accepted == event.At(stored) && !e.Historical }},
		{"traced", nats.Header{event.HeaderTrace: {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}, func(e event.Event, _ time.Time) bool {
			return e.Trace == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		}},
		{"not traced", nats.Header{event.HeaderTrace: {"ann@shop.example"}}, func(e event.Event, _ time.Time) bool { return e.Trace == "" }},
		{"ingest", nats.Header{
			event.HeaderAccepted: {before.Add(-time.Minute).UTC().Format(time.RFC3339Nano)}, event.HeaderSentAt: {"2026-05-01T13:00:00Z"}, event.HeaderHistorical: {"true"},
		}, func(e event.Event, _ time.Time) bool {
			return e.Accepted == event.At(before.Add(-time.Minute)) && e.Occurred == e.Accepted.Add(-10*time.Second) && e.Historical
		}},
	}
	for _, s := range sends {
		b.last[partition] = b.send(subject, `{"type":"track","messageId":"`+s.id+`","userId":"anna","event":"E","timestamp":"2026-05-01T12:59:50Z"}`, s.header).Sequence
	}
	stored := map[string]time.Time{}
	for i, m := range b.stored(topology.Raw) {
		if want := topology.Subject(topology.Raw, partition); m.Subject != want {
			t.Fatalf("RAW has it on %s, want %s", m.Subject, want)
		}
		stored[sends[i].id] = m.Time
	}
	b.drain(partition)
	events := b.log()
	if len(events) != len(sends) {
		t.Fatalf("%d events, want %d", len(events), len(sends))
	}
	for i, e := range events {
		if !sends[i].check(e, stored[e.ID]) {
			t.Errorf("%s: accepted %s, occurred %s, historical %t; stored %s", e.ID, e.Accepted, e.Occurred, e.Historical, stored[e.ID])
		}
	}
}

func TestDeadLetters(t *testing.T) {
	b := newBench(t)
	room := int(b.js.Conn().MaxPayload()) - messageFrame
	bad := []struct{ payload, reason, says string }{
		{`{"type":"track"`, ReasonInvalidJSON, "unexpected end"},
		{`{"type":"teleport","messageId":"m","userId":"u"}`, ReasonUnknownType, "teleport"},
		{`{"type":"identify","messageId":"m"}`, ReasonNoIdentity, "userId"},
		{`{"type":"track","messageId":"m","userId":"u"}`, ReasonNoEvent, "event"},
		{`{"type":"identify","messageId":"m","userId":"u","timestamp":"x"}`, ReasonBadTime, "RFC 3339"},
		{`{"type":"identify","userId":"u"}`, ReasonNoID, "messageId"},
		// Hashes are longer than what they stand for, so this event has no room in a message, nor has its call as a letter.
		{`{"type":"track","messageId":"big","userId":"u","event":"E","properties":{"a":[` + strings.Repeat(`{"ip":1},`, room/9-100) + `0]}}`, ReasonTooLarge, "are allowed"},
		{`{"type":"` + strings.Repeat("x", room-1000) + `"}`, ReasonUnknownType, "bytes the first"},
	}
	good := script("", "1 track u=anna\n2 track u=anna")
	b.publish(0, good[0])
	for _, c := range bad {
		b.publish(0, c.payload)
	}
	b.publish(0, good[1])
	raw := b.stored(topology.Raw)
	b.drain(0)
	letters := b.letters()
	if len(letters) != len(bad) {
		t.Fatalf("%d dead letters, want %d", len(letters), len(bad))
	}
	counted := map[string]float64{"event": 2}
	for i, c := range bad {
		d := letters[i]
		counted[c.reason]++
		if d.Reason != c.reason || !strings.Contains(d.Error, c.says) || !strings.HasPrefix(c.payload, string(d.Payload)) ||
			d.Subject != raw[i+1].Subject || d.Position != raw[i+1].Sequence || d.Accepted != event.At(raw[i+1].Time) {
			t.Errorf("%.60s…: got reason %s, error %.200q, %d bytes of payload, %s %d", c.payload, d.Reason, d.Error, len(d.Payload), d.Subject, d.Position)
		}
		if len(c.payload) < 1000 && string(d.Payload) != c.payload {
			t.Errorf("payload %q, want %q", d.Payload, c.payload)
		}
	}
	if diff := cmp.Diff(counted, b.outcomes()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
	if got := shape(b.profiles(), "", "1", "2"); got != "a a" {
		t.Errorf("the calls around them: %s, want a a", got)
	}
}

// An event as it comes out, whole; and where the personal fields went.
func TestEventEndToEnd(t *testing.T) {
	b := newBench(t)
	b.publish(2, `{"type":"track","messageId":"m1","userId":"anna@shop.example","anonymousId":"x","event":"Subscribed","name":"ignored",
		"properties":{"channel":"email","total":1.50,"phone":"+44 1"},
		"context":{"ip":"203.0.113.7","locale":"en-GB","traits":{"email":"anna@shop.example","plan":"gold"},"consent":{"categoryPreferences":{"sms":false}}}}`)
	b.drain(2)
	events := b.log()
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	e := events[0]
	hash := func(kind, value string) string { return "hash:" + b.hash.Hash(kind, value) }
	want := event.Event{
		ID: "m1", Type: event.Track, Name: event.Subscribed, Profile: profileID(b.stage.stream, pipeline.RawOrdinal(b.last[2], 0)), User: hash("email", "anna@shop.example"),
		Occurred: e.Accepted, Accepted: e.Accepted,
		Properties: event.Object(`{"channel":"email","total":1.50,"phone":"` + hash("phone", "+44 1") + `"}`),
		Traits:     event.Object(`{"email":"` + hash("email", "anna@shop.example") + `","plan":"gold"}`),
		Context:    event.Object(`{"locale":"en-GB"}`),
		Consent:    map[string]bool{"email": true, "sms": false},
		Source:     event.Source{Name: "raw." + b.stage.stream + ".2", Ordinal: pipeline.RawOrdinal(b.last[2], 0)},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"email": `"anna@shop.example"`, "properties.phone": `"+44 1"`}, b.vault(e.Profile)); diff != "" {
		t.Errorf("vault (-want +got):\n%s", diff)
	}
	for _, stream := range []string{topology.Events, "KV_" + topology.Identities, topology.Duplicates} {
		for _, m := range b.stored(stream) {
			if text := m.Subject + string(m.Data); strings.Contains(text, "anna") || strings.Contains(text, "+44 1") {
				t.Errorf("%s holds a personal value: %s", stream, text)
			}
		}
	}
}

// The vault keeps what the customer said last, whatever the order in which it comes.
func TestVaultKeepsTheLatest(t *testing.T) {
	b := newBench(t)
	for i, c := range []struct{ at, email string }{{"10:00", "old"}, {"12:00", "new"}, {"11:00", "between"}} {
		b.publish(0, fmt.Sprintf(`{"type":"identify","messageId":"m%d","userId":"anna","timestamp":"2026-05-01T%s:00Z","traits":{"email":%q}}`, i, c.at, c.email))
		if i > 0 {
			b.drain(0)
		}
	}
	for _, profile := range b.profiles() {
		if got := b.vault(profile)["email"]; got != `"new"` {
			t.Errorf("the vault has %s", got)
		}
	}
}

func TestDeliveriesGoToTheirProfile(t *testing.T) {
	b := newBench(t)
	b.publish(1, `{"type":"delivery","event":"Delivery","messageId":"delivery-d","profileId":"abc","properties":{"outcome":"accepted"}}`)
	b.drain(1)
	events := b.log()
	if len(events) != 1 || events[0].Profile != "abc" || events[0].Type != event.Delivery || events[0].User != "" {
		t.Fatalf("got %+v", events)
	}
	for _, m := range b.stored("KV_" + topology.Identities) {
		if !strings.Contains(m.Subject, ".j.") && !strings.HasSuffix(m.Subject, "._newest") { // the linker's own record, and the bucket's
			t.Errorf("an identity was made for it: %s", m.Subject)
		}
	}
}

// While the log's reader lags, calls stay in RAW, whose bound the producer feels.
func TestNormalizingPausesWhileTheLogIsNotRead(t *testing.T) {
	b := newBench(t)
	log := slog.New(slog.DiscardHandler)
	throttle := pipeline.NewEventsThrottle(b.js, partitions, 20, log)
	stage, err := New(t.Context(), Config{JetStream: b.js, Partitions: partitions, Hash: b.hash, Throttle: throttle, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stage.Close)
	b.stage = stage
	var readers []jetstream.Consumer
	for p := range partitions {
		reader, err := b.js.CreateConsumer(t.Context(), topology.Events, jetstream.ConsumerConfig{
			Durable: topology.Durable(pipeline.ReaderCustomer, p), FilterSubject: topology.Subject(topology.Events, p),
			AckPolicy: jetstream.AckAllPolicy, MaxAckPending: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, reader)
	}
	b.run(stage.Subscriber(), bus.NewPublisher(b.js), 0)
	calls := 0
	call := func() {
		calls++
		b.publish(0, fmt.Sprintf(`{"type":"track","event":"E","messageId":"m%d","userId":"u"}`, calls))
	}
	held := func() int { return calls - len(b.stored(topology.Events)) }
	eventually(t, "calls stay in RAW", func() bool {
		for range 20 {
			call()
		}
		before := calls - held()
		time.Sleep(50 * time.Millisecond)
		return held() > 100 && calls-held() == before
	})
	for range 200 {
		call()
	}
	if n := held(); n < 200 {
		t.Errorf("%d calls are held back, though 200 more have come", n)
	}
	eventually(t, "all are events once they are read", func() bool {
		for _, reader := range readers {
			batch, err := reader.FetchNoWait(1000)
			if err != nil {
				t.Fatal(err)
			}
			for m := range batch.Messages() {
				if err := m.Ack(); err != nil {
					t.Fatal(err)
				}
			}
		}
		return held() == 0
	})
}

func TestForeignMessages(t *testing.T) {
	b := newBench(t)
	if _, err := b.stage.Handle(message.NewMessage("x", nil)); err == nil || !strings.Contains(err.Error(), "subscriber") {
		t.Errorf("a message from nowhere: %v", err)
	}
	if _, err := New(t.Context(), Config{JetStream: b.js, Metrics: b.metrics}); err == nil {
		t.Error("two stages have the same metric")
	}
}

// A megabyte or a kilobyte of anything that is published straight to NATS ends whole among the dead letters with its
// reason, and holds up no call around it: in messages of one call, of several, and of lengths that lie.
func TestGarbageEndsAmongTheDeadLetters(t *testing.T) {
	b := newBench(t)
	subject, partition := topology.IngestSubject+".anna", topology.Partition("anna", partitions)
	track := func(id string) string { return script("", id+" track u=anna")[0] }
	var good, bad []string
	send := func(header nats.Header, calls ...string) {
		b.last[partition] = b.send(subject, strings.Join(calls, ""), header).Sequence
	}
	for _, size := range []int{1 << 20, 1000} {
		garbage := pipetest.Garbage(size)
		for _, name := range slices.Sorted(maps.Keys(garbage)) {
			id := fmt.Sprint(size, "-", name)
			good, bad = append(good, strings.ReplaceAll(id, " ", "-")), append(bad, garbage[name])
			send(nil, garbage[name])
			send(nil, track(good[len(good)-1]))
		}
	}
	for _, lengths := range []string{"", "1", "-5 10", "9999999999", "1 1 1", "x", "99999999999999999999", strings.Repeat("0 ", 70)} {
		bad = append(bad, "no call")
		send(nats.Header{"Attune-Lengths": {lengths}}, "no call")
	}
	first, middle, last := track("first"), "\xff{", track("last")
	good, bad = append(good, "first", "last"), append(bad, middle)
	send(nats.Header{"Attune-Lengths": {fmt.Sprint(len(first), " ", len(middle), " ", len(last))}}, first, middle, last)
	b.drain(partition)

	letters := b.letters()
	if len(letters) != len(bad) {
		t.Fatalf("%d dead letters, want %d", len(letters), len(bad))
	}
	for i, d := range letters {
		if d.Reason == "" || d.Error == "" || d.Position == 0 || string(d.Payload) != bad[i] {
			t.Errorf("%.60q: reason %q, error %.200q, %d of %d bytes", bad[i], d.Reason, d.Error, len(d.Payload), len(bad[i]))
		}
	}
	var events []string
	for _, e := range b.log() {
		events = append(events, e.ID)
	}
	if diff := cmp.Diff(good, events); diff != "" {
		t.Errorf("the calls around it (-want +got):\n%s", diff)
	}
	if raw := b.stored(topology.Raw); len(raw) != 0 {
		t.Errorf("%d messages are left in RAW", len(raw))
	}
}

// Calls that share a message are each on their own: what can't be used, what is a repeat, and what comes after them.
func TestCallsOfOneMessage(t *testing.T) {
	b := newBench(t)
	calls := script("", "1 track u=anna\n2 nonsense u=anna\n1 track u=anna\n3 nonsense u=ben\n4 track u=ben\n5 track u=anna")
	b.pack(0, len(calls), calls...)
	b.drain(0)
	if got := shape(b.profiles(), "", "1", "4", "5"); got != "a b a" {
		t.Errorf("profiles %s, want a b a", got)
	}
	var order []string
	for _, e := range b.log() {
		order = append(order, e.ID)
	}
	if diff := cmp.Diff([]string{"1", "4", "5"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	letters := b.letters()
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	for i, index := range []int{1, 3} {
		if d := letters[i]; d.Index != index || string(d.Payload) != calls[index] || d.Position != b.last[0] {
			t.Errorf("dead letter %d is of call %d of message %d: %s", i, d.Index, d.Position, d.Payload)
		}
	}
	if diff := cmp.Diff(map[string]float64{"event": 3, "repeated": 1, ReasonUnknownType: 2}, b.outcomes()); diff != "" {
		t.Errorf("metric (-want +got):\n%s", diff)
	}
}

// A call that is parked for its size leaves no gap in the numbers of those after it: their reader would wait for it.
func TestWhatIsTooLargeIsNotNumbered(t *testing.T) {
	b := newBench(t)
	var calls []string
	for i := range 40 { // enough for a batch with something on both sides of it
		calls = append(calls, script("", fmt.Sprintf("%d track u=anna", i))...)
	}
	calls[20] = `{"type":"track","messageId":"big","userId":"anna","event":"E","properties":{"a":"` + strings.Repeat("x", b.stage.largest()) + `"}}`
	b.publish(0, calls...)
	b.publish(0, `{"type":"track","messageId":"big","userId":"anna","event":"E"}`) // nor has it taken its id
	b.drain(0)
	stored := map[uint64]bool{0: true}
	for _, e := range b.log() {
		if !stored[e.Source.After] {
			t.Errorf("event %s comes after ordinal %d, which never came", e.ID, e.Source.After)
		}
		stored[e.Source.Ordinal] = true
	}
	if len(stored)-1 != len(calls) {
		t.Errorf("%d events, want %d", len(stored)-1, len(calls))
	}
	if letters := b.letters(); len(letters) != 1 || letters[0].Reason != ReasonTooLarge {
		t.Errorf("dead letters %v", letters)
	}
}
