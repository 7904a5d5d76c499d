package pipeline_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// randomFacts draws what one record can state, and the record.
func randomFacts(t *rapid.T, position uint64) (record []byte, f pipeline.Facts) {
	word := rapid.StringMatching(`[a-zäß"]{0,6}`)
	e := event.Event{
		ID: word.Draw(t, "id"), Type: event.Track, Name: word.Draw(t, "name"), Profile: "p", Accepted: 5, Occurred: 4,
		Properties: event.Object(`{"price":"9.50"}`), Source: event.Source{Name: "s", Ordinal: 3},
	}
	record, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "event") {
		f.Events = []pipeline.Enriched{{
			Event: e, Position: position, CLV: event.Money(rapid.Int64().Draw(t, "clv")), Alive: rapid.Float64().Draw(t, "alive"),
			CLVConfidence: float64(rapid.IntRange(0, 10_000).Draw(t, "sure")) / 1e4,
			Segments:      rapid.SliceOfN(word, 0, 3).Draw(t, "segments"),
			Propensities: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) profile.Propensity {
				return profile.Propensity{Name: word.Draw(t, "score"), Value: rapid.Float64().Draw(t, "value"), Confidence: rapid.Float64().Draw(t, "confidence")}
			}), 0, 3).Draw(t, "propensities"),
		}}
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		f.Changes = append(f.Changes, pipeline.SegmentChange{Segment: word.Draw(t, "segment"), Profile: "p", At: 5, Entered: rapid.Bool().Draw(t, "entered"), Reason: pipeline.BecauseTime, Position: position, Version: 2})
	}
	for range rapid.IntRange(0, 2).Draw(t, "decisions") {
		f.Decisions = append(f.Decisions, pipeline.Decision{ID: word.Draw(t, "decision"), At: 5, Profile: "p", Campaign: "c", Outcome: pipeline.Fired, CLV: 7, Position: position})
	}
	return record, f
}

// What a commit holds of each record is what the chain stated, and the same facts give the same bytes.
func TestFactsAreReadBack(t *testing.T) {
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var facts []byte
		var want pipeline.Facts
		for position := range rapid.Uint64Range(1, 5).Draw(t, "records") {
			record, f := randomFacts(t, position)
			encoded, err := codec.AppendFacts(nil, record, &f)
			if err != nil {
				t.Fatal(err)
			}
			again, err := codec.AppendFacts([]byte("x"), record, &f)
			if err != nil || string(again) != "x"+string(encoded) {
				t.Fatalf("encoded again: %x, %v; want x%x", again, err, encoded)
			}
			facts = pipeline.AppendRecordFacts(facts, position, encoded)
			want.Events = append(want.Events, f.Events...)
			want.Changes = append(want.Changes, f.Changes...)
			want.Decisions = append(want.Decisions, f.Decisions...)
		}
		got, err := codec.Facts(&pipeline.Commit{Facts: facts})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Facts that are cut off or foreign are an error, never a panic.
func FuzzDecodeFacts(f *testing.F) {
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		f.Fatal(err)
	}
	e := event.Event{ID: "e", Type: event.Track}
	record, err := e.Encode()
	if err != nil {
		f.Fatal(err)
	}
	encoded, err := codec.AppendFacts(nil, record, &pipeline.Facts{
		Events: []pipeline.Enriched{{Event: e, Segments: []string{"s"}}}, Changes: []pipeline.SegmentChange{{Segment: "s"}}, Decisions: []pipeline.Decision{{ID: "d"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = codec.DecodeFacts(pipeline.RecordFacts{Position: 1, Data: data})
	})
}

// The spans of a commit are read back whatever their length takes in CBOR, and nothing else passes for one.
func TestSpansAreReadBack(t *testing.T) {
	codec, err := pipeline.NewCommitCodec()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
		want := &pipeline.Commit{Facts: bytes.Repeat([]byte("f"), size), Profiles: []pipeline.ProfileState{{ID: "p", State: bytes.Repeat([]byte("s"), size)}}, Hash: []byte("h")}
		data, err := codec.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.Decode(data)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("of %d bytes: %v (-want +got):\n%s", size, err, diff)
		}
		if cap(got.Facts) != size && size > 0 {
			t.Errorf("of %d bytes: what is appended would overwrite what follows", size)
		}
	}
	for name, facts := range map[string]string{"text": "\x61f", "number": "\x05", "bytes of unknown length": "\x5f\x41f\xff", "list": "\x81\x05"} {
		if _, err := codec.Decode([]byte("\xa1\x05" + facts)); err == nil || !strings.Contains(err.Error(), "want a byte string") {
			t.Errorf("%s as facts: %v", name, err)
		}
	}
	if got, err := codec.Decode([]byte("\xa1\x05\xf6")); err != nil || got.Facts != nil {
		t.Errorf("null as facts: %v, %v", got, err)
	}
}
