package segment

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

// lawStart is where the random histories begin: shift moves them to a change of some zone's clock.
var lawStart = event.At(time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC))

// zonesOfChange are zones whose clocks change in odd ways, with an instant shortly before such a change.
func zonesOfChange() map[string]event.Instant {
	at := func(y int, m time.Month, d, h int) event.Instant {
		return event.At(time.Date(y, m, d, h, 0, 0, 0, time.UTC))
	}
	return map[string]event.Instant{
		"Europe/London":       at(2026, 3, 28, 12),
		"America/New_York":    at(2026, 10, 31, 20),
		"America/Sao_Paulo":   at(2018, 11, 3, 12),  // midnight is skipped
		"America/Havana":      at(2026, 10, 31, 18), // midnight comes twice
		"Australia/Lord_Howe": at(2026, 4, 4, 0),    // by half an hour
		"Pacific/Apia":        at(2011, 12, 29, 12), // a day is skipped
		"Asia/Kathmandu":      at(2026, 1, 30, 12),
	}
}

func drawHistory(t *rapid.T, zone string) []event.Event {
	var events []event.Event
	var now event.Instant
	ahead := 0
	for range rapid.IntRange(1, 18).Draw(t, "events") {
		now += event.Instant(rapid.IntRange(0, 12).Draw(t, "pause")) * 15 * minute
		offset := rapid.IntRange(-40, 8).Draw(t, "offset")
		if rapid.IntRange(0, 1).Draw(t, "on time") == 0 || ahead > rule.MaxAhead-2 {
			offset = min(offset, 0) / 20
		}
		if offset > 0 {
			ahead++
		}
		e := event.Event{
			ID: fmt.Sprint(len(events)), Type: event.Track, Name: rapid.SampledFrom([]string{"A", "A", "B", "Other"}).Draw(t, "name"),
			Occurred: lawStart + now + event.Instant(offset)*30*minute, Accepted: lawStart + now, Historical: rapid.IntRange(0, 9).Draw(t, "import") == 0,
			Properties: event.Object(rapid.SampledFrom([]string{
				``, `{"color":"red","price":3}`, `{"color":"blue","price":5}`, `{"color":"red","price":"2.5"}`, `{"color":"green","price":1}`, `{"color":null,"price":-1}`, `{"color":7}`,
			}).Draw(t, "properties")),
		}
		switch rapid.IntRange(0, 7).Draw(t, "also") {
		case 0:
			e.Type, e.Name, e.Properties = event.Identify, "", nil
			joined := lawStart + now + event.Instant(rapid.IntRange(-40, 40).Draw(t, "joined"))*30*minute
			e.Traits = event.Object(rapid.SampledFrom([]string{
				`{"plan":"pro"}`, `{"plan":"free","level":2}`, `{"plan":3,"level":5,"tags":["vip","x"]}`, `{"plan":null,"level":"4"}`, fmt.Sprintf(`{"joined":%q}`, joined),
				`{"address":{"city":"London"}}`, `{"address":{"city":"Rome"},"tags":[]}`, fmt.Sprintf(`{"timezone":%q}`, zone), `{"timezone":"nowhere"}`, fmt.Sprintf(`{"timezone":%q}`, zone),
			}).Draw(t, "traits"))
		case 2:
			e.Context = event.Object(fmt.Sprintf(`{"timezone":%q}`, zone))
		case 1:
			e.Consent = map[string]bool{"email": rapid.Bool().Draw(t, "consent")}
		}
		events = append(events, e)
		if rapid.IntRange(0, 9).Draw(t, "twice") == 0 { // the very same again
			events = append(events, e)
		}
	}
	return events
}

// boundaries are all instants at which any answer may change by itself, each with the millisecond before and after it.
func (w *world) boundaries(from, to event.Instant) []event.Instant {
	spans := []event.Instant{0, 30, 60, 90, 180, 720, 1440, 2880, 4320}
	at := map[event.Instant]bool{}
	add := func(b event.Instant) {
		for d := event.Instant(-1); d <= 1; d++ {
			if b+d > from && b+d < to {
				at[b+d] = true
			}
		}
	}
	var marks []event.Instant
	for i := range w.events {
		marks = append(marks, w.events[i].Occurred)
	}
	if joined, ok := w.moment("joined"); ok {
		marks = append(marks, joined)
	}
	for _, m := range marks {
		for _, s := range spans {
			add(m + s*minute)
			add(m - s*minute)
		}
	}
	if n := len(w.events); n > 0 {
		for t := w.events[n-1].Accepted; t < to; t += scoreTick {
			add(t)
		}
	}
	zone := w.location()
	step := 15 * minute
	for t := from - from%step; t < to; t += step {
		if date(t, zone) != date(t-1, zone) || offset(t, zone) != offset(t-1, zone) {
			add(t)
		}
	}
	for _, t := range w.fades(from, to) {
		add(t)
	}
	add(from + 1)
	add(to - 1)
	return slices.Sorted(maps.Keys(at))
}

// The flips of random segments over random histories, with their instants, are those of an evaluation of everything
// that has arrived at each record's time and at every boundary, one millisecond before and after it: for late, coming and
// repeated events, across changes of the clock, with the profile stored and read back at any point, across crashes that
// run again what came since the profile was stored, and with wake-ups at any time or none.
func TestFlipsAreExact(t *testing.T) {
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	zones := zonesOfChange()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom(slices.Sorted(maps.Keys(zones))).Draw(t, "zone")
		lawStart = zones[zone]
		w := &world{id: "u1", members: map[string]question{}}
		var defs []Definition
		var ids []string
		for i := range rapid.IntRange(1, 5).Draw(t, "segments") {
			id := fmt.Sprintf("s%d", i)
			q := drawQuestion(t, 2, ids)
			w.members[id] = q
			ids = append(ids, id)
			defs = append(defs, Definition{ID: id, When: q.text})
		}
		slices.Reverse(defs) // those that others ask for come last
		s, err := New(defs, c)
		if err != nil {
			t.Fatalf("%v: %v", defs, err)
		}
		chain := chain(1, scoring{}, s)
		p := profile.New(w.id)
		in := map[string]bool{}
		position := uint64(0)
		follow := func(changes []pipeline.SegmentChange, to event.Instant) []pipeline.SegmentChange {
			for len(changes) > 0 && changes[0].At <= to {
				if in[changes[0].Segment] == changes[0].Entered {
					t.Fatalf("%s flips to %v at %s, which it was", changes[0].Segment, changes[0].Entered, changes[0].At)
				}
				in[changes[0].Segment] = changes[0].Entered
				changes = changes[1:]
			}
			return changes
		}
		expect := func(at event.Instant, when string) {
			for _, id := range ids {
				if want := w.members[id].answer(w, at); in[id] != want {
					t.Fatalf("%s at %s (%s): %s is %v, over all events %v\nzone %s\n%s", when, at, at.Time().In(w.location()), id, in[id], want, w.location(), w.describe(ids))
				}
			}
		}
		var stored []byte // nil: the profile is new
		var since []applied
		step := func(e event.Event, at uint64) []pipeline.SegmentChange {
			r, err := chain.Apply(p, &e, at)
			if err != nil {
				t.Fatalf("%v\n%s", err, w.describe(ids))
			}
			return r.Facts.Changes
		}
		apply := func(e event.Event) []pipeline.SegmentChange {
			switch rapid.IntRange(0, 7).Draw(t, "store") {
			case 0, 1:
				if p.Applied > 0 {
					stored, since = profile.Encode(p), nil
				}
				fallthrough
			case 2:
				if p = profile.New(w.id); stored != nil {
					if p, err = profile.Decode(stored); err != nil {
						t.Fatal(err)
					}
				}
				for _, a := range since {
					if again := step(a.event, a.position); !slices.Equal(again, a.changes) {
						t.Fatalf("position %d states %v, and after a crash %v\n%s", a.position, a.changes, again, w.describe(ids))
					}
				}
			}
			position++
			changes := step(e, position)
			since = append(since, applied{e, position, slices.Clone(changes)})
			return changes
		}
		events := drawHistory(t, zone)
		events = append(events, event.Event{Type: event.Wake, Accepted: events[len(events)-1].Accepted + 75*hour})
		before := events[0].Accepted
		for i := range events {
			e := events[i]
			changes := []pipeline.SegmentChange{}
			if i > 0 && e.Accepted > before && rapid.IntRange(0, 2).Draw(t, "wake") == 0 {
				wake := before + event.Instant(rapid.Int64Range(1, int64(e.Accepted-before)).Draw(t, "at"))
				changes = append(changes, apply(event.Event{Type: event.Wake, Accepted: wake})...)
			}
			changes = append(changes, apply(e)...)
			if i > 0 {
				for _, b := range w.boundaries(before, e.Accepted) {
					changes = follow(changes, b)
					expect(b, fmt.Sprintf("before record %d", i))
				}
			}
			if e.Type == event.Wake {
				break
			}
			w.events = append(w.events, e)
			if rest := follow(changes, e.Accepted); len(rest) > 0 {
				t.Fatalf("a flip at %s, after the record's time %s", rest[0].At, e.Accepted)
			}
			expect(e.Accepted, fmt.Sprintf("with record %d", i))
			before = e.Accepted
		}
	})
}

// applied is a record that has been applied, and what it stated.
type applied struct {
	event    event.Event
	position uint64
	changes  []pipeline.SegmentChange
}

func (w *world) describe(ids []string) string {
	s := ""
	for _, id := range ids {
		s += id + ": " + w.members[id].text + "\n"
	}
	for i := range w.events {
		e := &w.events[i]
		s += fmt.Sprintf("%s %s %s occurred %s %s%s%v\n", e.Accepted, e.Type, e.Name, e.Occurred, e.Properties, e.Traits, e.Consent)
	}
	return s
}

func offset(t event.Instant, zone *time.Location) int {
	_, seconds := t.Time().In(zone).Zone()
	return seconds
}
