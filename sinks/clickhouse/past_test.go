package clickhouse

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
)

// Events are read back as rules asked about them when they were handled.
func TestPastReadsBackWhatWasWritten(t *testing.T) {
	b := setup(t)
	const at = event.Instant(1_800_000_000_000)
	events := []event.Event{
		{Type: event.Track, Name: "O'Viewed", Profile: "p1", Occurred: at, Properties: event.Object(`{"product_id":"7","price":30.5,"deep":{"n":1}}`)},
		{Type: event.Track, Name: "Other", Profile: "p1", Occurred: at},
		{Type: event.Track, Name: "O'Viewed", Profile: "p2", Occurred: at - 1},
		{Type: event.Page, Name: "Home", Profile: "p2", Occurred: at + 1, Properties: event.Object(`{"a":null,"category":""}`)},
		{Type: event.Screen, Name: "Home", Profile: "p2", Occurred: at + 1},
		{Type: event.Track, Name: "Home", Profile: "p2", Occurred: at + 1},
		{Type: event.Track, Name: "O'Viewed", Profile: "p3", Occurred: at + 2, Properties: event.Object(`{"list":[1,"a"]}`)},
		{Type: event.Track, Name: "O'Viewed", Profile: "p4", Occurred: at + 3},
	}
	part := pipeline.SinkPart{Sequence: 1}
	for i, e := range events {
		e.ID, e.Accepted = fmt.Sprint("e", i), at+10
		part.Facts.Events = append(part.Facts.Events, pipeline.Enriched{Position: uint64(10 * (len(events) - i)), Event: e}) // the last one comes first
	}
	b.write(t, pipeline.SinkBatch{Stream: "PAST", From: 1, To: 1, Parts: []pipeline.SinkPart{part}})
	var got []string
	query := PastQuery{Names: []string{"O'Viewed", "page:Home"}, Since: at, After: 10, Before: 81}
	visit := func(e *event.Event, position uint64) error {
		got = append(got, fmt.Sprintf("%d %s %s %d %s", position, e.Profile, e.CountName(), e.Occurred-at, e.Properties))
		return nil
	}
	if err := Past(t.Context(), queryDSN(t, b.config), query, visit); err != nil {
		t.Fatal(err)
	}
	want := []string{`20 p3 O'Viewed 2 {"list":[1,"a"]}`, `50 p2 page:Home 1 {"a":null,"category":""}`, `80 p1 O'Viewed 0 {"deep":{"n":1},"price":30.5,"product_id":"7"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	enough := errors.New("enough")
	if err := Past(t.Context(), queryDSN(t, b.config), query, func(*event.Event, uint64) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("stopped with %v", err)
	}
	if err := Past(t.Context(), "http://127.0.0.1:1/attune", query, visit); err == nil {
		t.Error("nobody answers, and there is no error")
	}
}
