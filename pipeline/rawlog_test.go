package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

func (r *rig) rawLog(concurrency int) *pipeline.RawLog {
	r.t.Helper()
	l, err := pipeline.NewRawLog(r.t.Context(), r.js, concurrency)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(l.Close)
	return l
}

func TestRawLogStoresWhatItTook(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	l := r.rawLog(2)
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	if err := l.Append(t.Context(), []event.Raw{
		{Key: "ann@example.com", Payload: []byte(`{"n":1}`), Accepted: at, SentAt: at.Add(-time.Second), Historical: true, KeepUntil: at},
		{Key: "ann@example.com", Payload: []byte(`{"n":2}`)},
		{Key: "ann@example.com", Payload: []byte(`{"n":30}`)},
		{Key: "ann@example.com", Payload: []byte(``)},
	}); err != nil {
		t.Fatal(err)
	}
	key := pipeline.RawKey("ann@example.com")
	if key != "ann_example_com" || pipeline.RawKey("") != "_" || pipeline.RawKey("a.b *>\nü") != "a_b_____" {
		t.Errorf("keys %q, %q, %q", key, pipeline.RawKey(""), pipeline.RawKey("a.b *>\nü"))
	}
	all := r.stored(topology.Raw, topology.Subject(topology.Raw, topology.Partition(key, 4)))
	if len(all) != 2 {
		t.Fatalf("%d calls are stored", len(all))
	}
	for _, m := range all { // the broker's own
		for _, name := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
			m.Header.Del(name)
		}
	}
	want := nats.Header{
		event.HeaderAccepted: {"2026-11-23T11:00:00.123456789Z"}, event.HeaderSentAt: {"2026-11-23T10:59:59.123456789Z"},
		event.HeaderHistorical: {"true"}, event.HeaderKeepUntil: {"2026-11-23T11:00:00Z"},
	}
	if diff := cmp.Diff(want, all[0].Header); diff != "" || string(all[0].Data) != `{"n":1}` {
		t.Errorf("%s %s", all[0].Data, diff)
	}
	if len(all[1].Header) != 1 || string(all[1].Data) != `{"n":2}{"n":30}` {
		t.Errorf("%s %v", all[1].Data, all[1].Header)
	}
	calls := func(m *jetstream.RawStreamMsg) string { return fmt.Sprintf("%s", pipeline.RawCalls(m.Header, m.Data)) }
	if got := calls(all[0]) + calls(all[1]); got != `[{"n":1}][{"n":2} {"n":30} ]` {
		t.Errorf("calls %s", got)
	}
}

// Every call of an append comes out of RAW once, in the order of its key, with what was known about it, in as few
// messages as its bounds allow.
func TestRawLogPacksAndUnpacks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	l := r.rawLog(1)
	moments := []time.Time{time.UnixMilli(1_800_000_000_000), time.UnixMilli(1_800_000_000_001)}
	rapid.Check(t, func(t *rapid.T) {
		stream, err := r.js.Stream(r.t.Context(), topology.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(r.t.Context()); err != nil {
			t.Fatal(err)
		}
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Raw {
			size := rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(40<<10, 90<<10)).Draw(t, "size")
			return event.Raw{
				Key: rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key"), Payload: bytes.Repeat([]byte{byte('0' + size%10)}, size),
				Accepted: rapid.SampledFrom(moments).Draw(t, "accepted"), Historical: rapid.Bool().Draw(t, "historical"),
			}
		}), 0, 150).Draw(t, "records")
		if err := l.Append(r.t.Context(), records); err != nil {
			t.Fatal(err)
		}
		for p := range 4 {
			var want, got []string
			show := func(accepted string, historical bool, call []byte) string {
				return fmt.Sprintf("%s %t %d %.1s", accepted, historical, len(call), call)
			}
			for _, x := range records {
				if topology.Partition(x.Key, 4) == p {
					want = append(want, show(x.Accepted.UTC().Format(time.RFC3339Nano), x.Historical, x.Payload))
				}
			}
			for _, m := range r.stored(topology.Raw, topology.Subject(topology.Raw, p)) {
				for _, call := range pipeline.RawCalls(m.Header, m.Data) {
					got = append(got, show(m.Header.Get(event.HeaderAccepted), m.Header.Get(event.HeaderHistorical) == "true", call))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("partition %d: %s", p, diff)
			}
		}
	})
	same := make([]event.Raw, 100)
	for i := range same {
		same[i] = event.Raw{Key: "a", Payload: []byte("x"), Accepted: moments[0]}
	}
	before := len(r.stored(topology.Raw, topology.Raw+".*"))
	if err := l.Append(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	if n := len(r.stored(topology.Raw, topology.Raw+".*")) - before; n != 2 {
		t.Errorf("100 calls of one customer are in %d messages, want 2", n)
	}
}

// Lengths that a foreign publisher made up: the message is one call.
func TestRawCallsOfForeignLengths(t *testing.T) {
	t.Parallel()
	for _, lengths := range []string{"", "1 2", "1 2 3", "5 -1", "4", "x", "1  3", " 4", "99999999999999999999", strings.Repeat("0 ", 64) + "4", "2 3"} {
		calls := pipeline.RawCalls(nats.Header{"Attune-Lengths": {lengths}}, []byte("abcd"))
		if len(calls) != 1 || string(calls[0]) != "abcd" {
			t.Errorf("%q: %d calls %q", lengths, len(calls), calls)
		}
	}
	if calls := pipeline.RawCalls(nats.Header{"Attune-Lengths": {"1 0 3"}}, []byte("abcd")); fmt.Sprintf("%q", calls) != `["a" "" "bcd"]` {
		t.Errorf("calls %q", calls)
	}
}

func TestRawLogTakesManyAppendsAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	l := r.rawLog(3)
	var work sync.WaitGroup
	for i := range 20 {
		work.Go(func() {
			var records []event.Raw
			for j := range 25 {
				records = append(records, event.Raw{Key: fmt.Sprint("k", i), Payload: fmt.Append(nil, j)})
			}
			if err := l.Append(t.Context(), records); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	stored := 0
	for _, m := range r.stored(topology.Raw, topology.Raw+".*") {
		stored += len(pipeline.RawCalls(m.Header, m.Data))
	}
	if stored != 500 {
		t.Errorf("%d calls are stored, want 500", stored)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ended, []event.Raw{{Key: "k", Payload: []byte("x")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
	if err := l.Append(t.Context(), []event.Raw{{Key: "k", Payload: []byte("x")}}); err != nil {
		t.Errorf("after an abandoned append: %v", err)
	}
}

func TestRawLogSaysThatRawIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	config := topology.DefaultConfig()
	config.Partitions, config.RawBytes = 1, 1<<20
	if err := topology.Ensure(t.Context(), r.js, config); err != nil {
		t.Fatal(err)
	}
	l := r.rawLog(1)
	record := event.Raw{Key: "k", Payload: bytes.Repeat([]byte("x"), 100<<10)}
	var err error
	stored := 0
	for ; err == nil && stored < 20; stored++ {
		err = l.Append(t.Context(), []event.Raw{record})
	}
	if !errors.Is(err, pipeline.ErrRawFull) {
		t.Fatalf("after %d appends: %v, want %v", stored, err, pipeline.ErrRawFull)
	}
	stream, err := r.js.Stream(t.Context(), topology.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), []event.Raw{record}); err != nil {
		t.Errorf("once there is room again: %v", err)
	}
	// What is too large will not fit later either.
	if err := l.Append(t.Context(), []event.Raw{{Key: "k", Payload: make([]byte, r.js.Conn().MaxPayload()+1)}}); err == nil || errors.Is(err, pipeline.ErrRawFull) {
		t.Errorf("a call that is too large: %v", err)
	}
}

func TestRawLogParks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	letter := pipeline.DeadLetter{Reason: "invalid", Error: "half an object", Payload: []byte("{")}
	if err := r.rawLog(1).Park(t.Context(), []pipeline.DeadLetter{letter}); err != nil {
		t.Fatal(err)
	}
	all := r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, "ingest"))
	if len(all) != 1 {
		t.Fatalf("%d dead letters", len(all))
	}
	var got pipeline.DeadLetter
	if err := json.Unmarshal(all[0].Data, &got); err != nil {
		t.Fatal(err)
	}
	letter.Subject = "ingest"
	if diff := cmp.Diff(letter, got); diff != "" {
		t.Error(diff)
	}
}

// Many letters take several rounds, and those that are parked again with their ids are there once.
func TestRawLogParksOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	l := r.rawLog(1)
	var letters []pipeline.DeadLetter
	for i := range 600 {
		letters = append(letters, pipeline.DeadLetter{ID: fmt.Sprint("refused-", i), Reason: "invalid", Payload: fmt.Append(nil, i)})
	}
	letters = append(letters, pipeline.DeadLetter{Reason: "unnamed"})
	for range 2 {
		if err := l.Park(t.Context(), letters); err != nil {
			t.Fatal(err)
		}
	}
	count := map[string]int{}
	for _, m := range r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, "ingest")) {
		var letter pipeline.DeadLetter
		if err := json.Unmarshal(m.Data, &letter); err != nil {
			t.Fatal(err)
		}
		count[letter.Reason]++
	}
	if diff := cmp.Diff(map[string]int{"invalid": 600, "unnamed": 2}, count); diff != "" {
		t.Error(diff)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Park(ended, letters); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}

// A letter that no message could hold is cut, and says so, and those beside it are kept whole.
func TestRawLogCutsLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	large := bytes.Repeat([]byte("x"), int(r.js.Conn().MaxPayload()))
	if err := r.rawLog(1).Park(t.Context(), []pipeline.DeadLetter{
		{Reason: "event_too_large", Error: "too large", Payload: large}, {Reason: "invalid", Error: "half an object", Payload: []byte("{")},
	}); err != nil {
		t.Fatal(err)
	}
	all := r.stored(topology.DeadLetter, topology.Subject(topology.DeadLetter, "ingest"))
	if len(all) != 2 {
		t.Fatalf("%d letters", len(all))
	}
	var cut, whole pipeline.DeadLetter
	if err := errors.Join(json.Unmarshal(all[0].Data, &cut), json.Unmarshal(all[1].Data, &whole)); err != nil {
		t.Fatal(err)
	}
	if len(cut.Payload) < len(large)/2 || !bytes.HasPrefix(large, cut.Payload) ||
		cut.Error != fmt.Sprintf("too large (of its %d bytes the first %d are kept)", len(large), len(cut.Payload)) {
		t.Errorf("%d bytes are kept: %s", len(cut.Payload), cut.Error)
	}
	if string(whole.Payload) != "{" || whole.Error != "half an object" {
		t.Errorf("the other is %q: %s", whole.Payload, whole.Error)
	}
}
