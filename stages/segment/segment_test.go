package segment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
)

const hour = event.Instant(3_600_000)

var start = event.At(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))

func stage(t testing.TB, defs ...Definition) *Stage {
	t.Helper()
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(defs, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func chain(version uint64, stages ...pipeline.Stage) *pipeline.Chain {
	return &pipeline.Chain{Stages: stages, Version: version, Definitions: fmt.Sprintf("hash-%d", version)}
}

// enrich does with traits, counts and consent what segments look at; siblings can't be imported.
type enrich struct{}

func (enrich) Name() string { return "enrich" }
func (enrich) Apply(s *pipeline.Step) {
	if s.Event == nil {
		return
	}
	p := s.Profile
	if name := s.Event.CountName(); name != "" {
		p.Happens(name).Count++
	}
	s.Event.Traits.Fields(func(name string, v event.Value) bool {
		if p.Traits == nil {
			p.Traits = map[string]profile.Trait{}
		}
		p.Traits[name] = profile.Trait{Value: event.Object(v.Raw()), At: s.Event.Occurred}
		return true
	})
	for channel, granted := range s.Event.Consent {
		if p.Consents == nil {
			p.Consents = map[string]profile.Consent{}
		}
		p.Consents[channel] = profile.Consent{Granted: granted, At: s.Event.Occurred}
	}
}
func (enrich) Due(*profile.Profile) event.Instant { return 0 }

// run applies events, each accepted at its own instant, and gives the flips as text.
func run(t testing.TB, c *pipeline.Chain, p *profile.Profile, events ...event.Event) []string {
	t.Helper()
	var flips []string
	for _, e := range events {
		r, err := c.Apply(p, &e, p.Applied+1)
		if err != nil {
			t.Fatal(err)
		}
		flips = append(flips, texts(r.Facts.Changes)...)
	}
	return flips
}

func texts(changes []pipeline.SegmentChange) []string {
	var flips []string
	for _, c := range changes {
		sign := map[bool]string{true: "+", false: "-"}[c.Entered]
		flips = append(flips, fmt.Sprintf("%s%s at %s (%s)", sign, c.Segment, c.At.Sub(start), c.Reason))
	}
	return flips
}

func track(name string, occurred, accepted event.Instant, properties string) event.Event {
	return event.Event{Type: event.Track, Name: name, Occurred: start + occurred, Accepted: start + accepted, Properties: event.Object(properties)}
}

func wake(at event.Instant) event.Event {
	return event.Event{Type: event.Wake, Occurred: start + at, Accepted: start + at}
}

var hot = Definition{ID: "hot-sneaker-fans", When: `count("Product Viewed", {"category": "sneakers"}, "24h") >= 2 && !did("Order Completed", "7d")`}

func TestFlips(t *testing.T) {
	sneakers := `{"category":"sneakers"}`
	for _, k := range []struct {
		name   string
		defs   []Definition
		events []event.Event
		want   []string
	}{
		{
			name: "two views, then the window closes",
			defs: []Definition{hot},
			events: []event.Event{
				track("Product Viewed", 0, 0, sneakers), track("Product Viewed", hour, hour, sneakers),
				wake(24*hour - 1), wake(24 * hour),
			},
			want: []string{"+hot-sneaker-fans at 1h0m0s (event)", "-hot-sneaker-fans at 24h0m0s (time)"},
		},
		{
			name: "a late wake-up states the flip at its own instant",
			defs: []Definition{hot},
			events: []event.Event{
				track("Product Viewed", 0, 0, sneakers), track("Product Viewed", hour, hour, sneakers), wake(90 * hour),
			},
			want: []string{"+hot-sneaker-fans at 1h0m0s (event)", "-hot-sneaker-fans at 24h0m0s (time)"},
		},
		{
			name: "a later event runs first what is owed",
			defs: []Definition{hot},
			events: []event.Event{
				track("Product Viewed", 0, 0, sneakers), track("Product Viewed", hour, hour, sneakers),
				track("Product Viewed", 24*hour, 24*hour, sneakers),
			},
			want: []string{
				"+hot-sneaker-fans at 1h0m0s (event)", "-hot-sneaker-fans at 24h0m0s (time)", "+hot-sneaker-fans at 24h0m0s (event)",
			},
		},
		{
			name: "another category doesn't count, and an order ends it",
			defs: []Definition{hot},
			events: []event.Event{
				track("Product Viewed", 0, 0, sneakers), track("Product Viewed", hour, hour, `{"category":"hats"}`),
				track("Product Viewed", 2*hour, 2*hour, sneakers), track("Order Completed", 3*hour, 3*hour, ""), wake(400 * hour),
			},
			want: []string{"+hot-sneaker-fans at 2h0m0s (event)", "-hot-sneaker-fans at 3h0m0s (event)"},
		},
		{
			name: "a late event falls into the window of its own time",
			defs: []Definition{{ID: "viewed", When: `did("Product Viewed", "24h")`}},
			events: []event.Event{
				track("Product Viewed", 0, 30*hour, ""), track("Product Viewed", 10*hour, 31*hour, ""), wake(50 * hour),
			},
			want: []string{"+viewed at 31h0m0s (event)", "-viewed at 34h0m0s (time)"},
		},
		{
			name: "pages and screens have names of their own",
			defs: []Definition{{ID: "home", When: `did("page:Home", "1h")`}, {ID: "app", When: `ever("screen:Home") || did("Home", "1h")`}},
			events: []event.Event{
				{Type: event.Page, Name: "Home", Occurred: start, Accepted: start}, {Type: event.Screen, Name: "Home", Occurred: start + 1, Accepted: start + 1},
			},
			want: []string{"+home at 0s (event)", "+app at 1ms (event)"},
		},
		{
			name: "a coming event counts from its own time",
			defs: []Definition{{ID: "viewed", When: `did("Product Viewed", "24h")`}},
			events: []event.Event{
				track("Product Viewed", 2*hour, 0, ""), wake(hour), wake(40 * hour),
			},
			want: []string{"+viewed at 2h0m0s (time)", "-viewed at 26h0m0s (time)"},
		},
		{
			name: "an import changes state and says so",
			defs: []Definition{{ID: "viewed", When: `did("Product Viewed", "24h")`}},
			events: []event.Event{
				{Type: event.Track, Name: "Product Viewed", Occurred: start - hour, Accepted: start, Historical: true}, wake(40 * hour),
			},
			want: []string{"+viewed at 0s (historical)", "-viewed at 23h0m0s (time)"},
		},
		{
			name: "not doing something is true for who is new, and again after the window",
			defs: []Definition{{ID: "quiet", When: `!did("Order Completed", "7d")`}},
			events: []event.Event{
				track("Page Seen", 0, 0, ""), track("Order Completed", hour, hour, ""), wake(1000 * hour),
			},
			want: []string{"+quiet at 0s (event)", "-quiet at 1h0m0s (event)", "+quiet at 169h0m0s (time)"},
		},
		{
			name: "traits, consent and counts, in the order of the definitions",
			defs: []Definition{
				{ID: "z-pro", When: `trait("plan") == "pro"`}, {ID: "reachable", When: `consent("email")`}, {ID: "a-known", When: `ever("Signed Up")`},
			},
			events: []event.Event{
				{Type: event.Track, Name: "Signed Up", Accepted: start, Occurred: start, Traits: event.Object(`{"plan":"pro"}`), Consent: map[string]bool{"email": true}},
				{Type: event.Identify, Accepted: start + 1, Occurred: start + 1, Traits: event.Object(`{"plan":"free"}`)},
				{Type: event.Track, Name: "Unsubscribed", Accepted: start + 2, Occurred: start + 2, Consent: map[string]bool{"email": false}},
			},
			want: []string{
				"+z-pro at 0s (event)", "+reachable at 0s (event)", "+a-known at 0s (event)", "-z-pro at 1ms (event)", "-reachable at 2ms (event)",
			},
		},
	} {
		t.Run(k.name, func(t *testing.T) {
			p := profile.New("u1")
			got := run(t, chain(1, enrich{}, stage(t, k.defs...)), p, k.events...)
			if diff := cmp.Diff(k.want, got); diff != "" {
				t.Error(diff)
			}
			for id, m := range p.Segments {
				if !m.In && m.Until == 0 || m.In == (m.Since == 0) || m.Until != 0 && m.Until <= p.Now {
					t.Errorf("%s: membership %+v is not worth keeping", id, m)
				}
			}
		})
	}
}

// A score is a step: at its tick enrich has computed the next one, and the membership follows at that instant.
func TestScoreTick(t *testing.T) {
	tick := &ticking{every: 24 * hour}
	p := profile.New("u1")
	c := chain(1, tick, stage(t, Definition{ID: "worth", When: `customer.clv >= 20`}))
	got := run(t, c, p, track("A", 0, 0, ""), wake(100*hour))
	want := []string{"+worth at 0s (event)", "-worth at 48h0m0s (time)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if m := p.Segments["worth"]; m.In || m.Until != p.Scores.Next {
		t.Errorf("membership %+v, next tick %d", m, p.Scores.Next)
	}
}

// A score changes at an event as well, long before it is due.
func TestScoreAtAnEvent(t *testing.T) {
	tick := &ticking{every: 24 * hour}
	p := profile.New("u1")
	c := chain(1, tick, stage(t, Definition{ID: "worth", When: `customer.clv >= 20 && customer.alive >= 0`}))
	if got := run(t, c, p, track("A", 0, 0, ""), track("Halve", hour, hour, ""), track("Halve", 2*hour, 2*hour, "")); !slices.Equal(got,
		[]string{"+worth at 0s (event)", "-worth at 2h0m0s (event)"}) {
		t.Errorf("got %v", got)
	}
}

// A chain without versions still asks everything of who is new.
func TestFirstRecordAsksEverything(t *testing.T) {
	p := profile.New("u1")
	got := run(t, chain(0, stage(t, Definition{ID: "all", When: "true"})), p, track("A", 0, 0, ""), track("A", 1, 1, ""))
	if !slices.Equal(got, []string{"+all at 0s (event)"}) {
		t.Errorf("got %v", got)
	}
}

// ticking halves a score of 40 with each step that is due, and at each Halve.
type ticking struct{ every event.Instant }

func (*ticking) Name() string { return "ticking" }
func (k *ticking) Apply(s *pipeline.Step) {
	sc := &s.Profile.Scores
	switch {
	case sc.Next == 0:
		sc.CLV, sc.Next = 40*event.MoneyUnit, s.Now+k.every
	case sc.Next <= s.Now, s.Event != nil && s.Event.Name == "Halve":
		sc.CLV, sc.Next = sc.CLV/2, s.Now+k.every
	}
}
func (*ticking) Due(p *profile.Profile) event.Instant { return p.Scores.Next }

func TestNewDefinitions(t *testing.T) {
	p := profile.New("u1")
	one := chain(1, enrich{}, stage(t,
		Definition{ID: "b", When: `did("A", "24h")`}, Definition{ID: "a", When: `did("A", "48h")`},
		Definition{ID: "d", When: "true"}, Definition{ID: "e", When: "true"}, Definition{ID: "c", When: "true"}, Definition{ID: "f", When: "true"},
		Definition{ID: "kept", When: `did("A", "24h")`}, Definition{ID: "coming", When: `!did("A", "24h")`}))
	run(t, one, p, track("A", 0, 0, ""))
	windows := len(p.Windows)
	two := chain(2, enrich{}, stage(t,
		Definition{ID: "new", When: `ever("A")`}, Definition{ID: "kept", When: `did("A", "24h")`}))
	got := run(t, two, p, track("Other", hour, hour, ""))
	want := []string{"+new at 1h0m0s (definitions)"} // fires nothing: a new segment must not mail its members
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		want = append(want, "-"+id+" at 1h0m0s (definitions)")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if windows != 2 || len(p.Windows) != 1 || len(p.Segments) != 2 || p.Definitions != 2 {
		t.Errorf("windows %d then %v, segments %v, definitions %d: want no trace of what is gone", windows, p.Windows, p.Segments, p.Definitions)
	}
	if p.Segments["kept"].Since != start {
		t.Errorf("since %s, want it unbroken", p.Segments["kept"].Since)
	}
	// By no segments at all, everything is left at the due instant, and nothing stays due.
	if got := run(t, chain(3, stage(t)), p, wake(30*hour)); !slices.Equal(got, []string{"-kept at 24h0m0s (definitions)", "-new at 24h0m0s (definitions)"}) {
		t.Errorf("got %v", got)
	}
	if len(p.Segments) != 0 {
		t.Errorf("still holds %v", p.Segments)
	}
}

func TestNewRefuses(t *testing.T) {
	c, err := rule.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	_, err = New([]Definition{
		{ID: "Hot Fans", When: "true"}, {ID: "ok", When: "true"}, {ID: "ok", When: "true"}, {ID: "empty"},
		{ID: "wrong", When: "ever(\"A\") &&\n evr(\"B\")"}, {ID: "nested", When: `in_segment("oh")`}, {ID: strings.Repeat("x", 64), When: "true"},
	}, c)
	if err == nil {
		t.Fatal("want errors")
	}
	for _, want := range []string{
		`segment "Hot Fans": id: "Hot Fans" is no segment id`, `such as "hot-fans"`, `segment "ok": id: is defined twice`, `segment "empty": when: is empty`,
		`segment "wrong": when: 2:2: the function evr() is unknown (did you mean ever?)`, `segment "nested": when: 1:12: the segment "oh" is unknown (did you mean ok?)`, `segment "xxxx`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	var e *rule.Error
	if !errors.As(err, &e) || e.Line != 2 {
		t.Errorf("no *rule.Error inside: %+v", e)
	}
	if n := len(rule.Errors(err)); n != 2 {
		t.Errorf("%d mistakes of rules inside, want 2", n)
	}
	for id, valid := range map[string]bool{"a": true, "0-a": true, "a-": true, "": false, "-a": false, "a_b": false, "A": false, "é": false, strings.Repeat("x", 63): true} {
		if err := (Definition{ID: id, When: "true"}).Validate(); (err == nil) != valid {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

var lawDefinitions = []Definition{
	{ID: "two-views", When: `count("View", {"color": "red"}, "6h") >= 2 && !did("Order", "10h")`},
	{ID: "few", When: `count("View", "8h") < 3`},
	{ID: "exactly", When: `count("View", "5h") == 2 || count("Order", "3h") == 1`},
	{ID: "quiet", When: `!did("View", "12h") && !did("Order", "12h")`},
	{ID: "buyers", When: `ever("Order") || trait("vip") == true`},
	{ID: "many", When: `count("View", "20h") != 4`},
}

func drawEvents(t *rapid.T) []event.Event {
	var events []event.Event
	var now event.Instant
	for range rapid.IntRange(1, 25).Draw(t, "events") {
		now += event.Instant(rapid.IntRange(0, 6).Draw(t, "pause")) * hour / 2
		e := track(rapid.SampledFrom([]string{"View", "View", "Order", "Other"}).Draw(t, "name"),
			now+event.Instant(rapid.IntRange(-30, 6).Draw(t, "offset"))*hour/2, now,
			fmt.Sprintf(`{"color":%q}`, rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color")))
		if rapid.IntRange(0, 9).Draw(t, "identify") == 0 {
			e.Type, e.Name, e.Traits = event.Identify, "", event.Object(fmt.Sprintf(`{"vip":%v}`, rapid.Bool().Draw(t, "vip")))
		}
		events = append(events, e)
	}
	return events
}

// Wake-ups are hints: none of them, some late ones or very many give the same flips, and the flips are what an
// evaluation of all events finds at each instant.
func TestWakeUpsDoNotDecide(t *testing.T) {
	s := stage(t, lawDefinitions...)
	c := chain(1, enrich{}, s)
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		end := events[len(events)-1].Accepted - start + 60*hour
		apply := func(wakes []event.Instant) (flips []string, state []byte) {
			all := slices.Clone(events)
			for _, w := range wakes {
				all = append(all, wake(w))
			}
			all = append(all, wake(end))
			slices.SortStableFunc(all, func(a, b event.Event) int { return int(a.Accepted - b.Accepted) })
			p := profile.New("u1")
			for i := range all {
				r, err := c.Apply(p, &all[i], uint64(i+1))
				if err != nil {
					t.Fatal(err)
				}
				flips = append(flips, texts(r.Facts.Changes)...)
				if due := s.Due(p); due != 0 && due <= p.Now {
					t.Fatalf("still due at %d after %d", due, p.Now)
				}
			}
			p.Applied = 0 // differs by the wake-ups themselves
			data := profile.Encode(p)
			return flips, data
		}
		var wakes []event.Instant
		for range rapid.IntRange(0, 20).Draw(t, "wakes") {
			wakes = append(wakes, event.Instant(rapid.IntRange(0, int(end/hour)*4).Draw(t, "wake"))*hour/4)
		}
		want, state := apply(nil)
		again, same := apply(nil)
		got, other := apply(wakes)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("with wake-ups at %v:\n%s", wakes, diff)
		}
		if !slices.Equal(want, again) || string(state) != string(same) || string(state) != string(other) {
			t.Fatal("the same log gave another state")
		}
	})
}

// The final memberships are the same for any order of arrival, and what a profile holds is bounded.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	s := stage(t, lawDefinitions...)
	c := chain(1, enrich{}, s)
	rapid.Check(t, func(t *rapid.T) {
		events := drawEvents(t)
		for i := range events { // distinct times, and traits that the test's enrich would take in order of arrival
			events[i].Occurred += event.Instant(i)
			events[i].Traits = nil
		}
		last := events[len(events)-1].Accepted
		state := func(order []event.Event) (in []string, windows map[uint64][]event.Instant, later []string) {
			p := profile.New("u1")
			for i := range order {
				e := order[i]
				e.Accepted = last + event.Instant(i)
				if _, err := c.Apply(p, &e, uint64(i+1)); err != nil {
					t.Fatal(err)
				}
				for id, times := range p.Windows {
					if len(times) > 5+rule.MaxAhead {
						t.Fatalf("leaf %d holds %d times", id, len(times))
					}
				}
			}
			w := wake(last + hour - start)
			if _, err := c.Apply(p, &w, uint64(len(order)+1)); err != nil {
				t.Fatal(err)
			}
			s.set.Leaves().Expire(p)
			in = p.Memberships()
			data := profile.Encode(p)
			p, err := profile.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			w = wake(last + 100*hour - start)
			r, err := c.Apply(p, &w, uint64(len(order)+2))
			if err != nil {
				t.Fatal(err)
			}
			later = texts(r.Facts.Changes)
			p, _ = profile.Decode(data)
			return in, p.Windows, later
		}
		in, windows, later := state(events)
		otherIn, otherWindows, otherLater := state(rapid.Permutation(events).Draw(t, "order"))
		if diff := cmp.Diff(in, otherIn); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(later, otherLater); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(windows, otherWindows); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A busy customer's profile stays as small as the definitions need.
func TestStateIsBounded(t *testing.T) {
	s := stage(t, lawDefinitions...)
	c := chain(1, s)
	p := profile.New("u1")
	for i := range event.Instant(5000) {
		e := track("View", i*hour/60, i*hour/60, `{"color":"red"}`)
		if _, err := c.Apply(p, &e, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for _, times := range p.Windows {
		total += len(times)
	}
	if total == 0 || total > 2+3+3+5+1 {
		t.Errorf("holds %d times: %v", total, p.Windows)
	}
	w := wake(10_000 * hour)
	if _, err := c.Apply(p, &w, p.Applied+1); err != nil {
		t.Fatal(err)
	}
	// The last flip is that of "many", when the fourth newest view leaves its window; after that nothing is due.
	if len(p.Windows) != 1 || total == 0 {
		t.Errorf("holds %v long after the last event", p.Windows)
	}
}

// Segments that don't listen cost nothing: compare the two.
func BenchmarkApply(b *testing.B) {
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			defs := []Definition{hot}
			for i := range others {
				defs = append(defs, Definition{
					ID:   fmt.Sprintf("other-%d", i),
					When: fmt.Sprintf(`did("Other %d", "24h") && trait("t%d") == "x" && consent("email") && customer.orders > 5`, i, i),
				})
			}
			s := stage(b, defs...)
			p := profile.New("u1")
			p.Applied = 1
			e := track("Product Viewed", 0, 0, `{"category":"sneakers"}`)
			step := &pipeline.Step{Event: &e, Profile: p, Version: 1}
			b.ReportAllocs()
			for b.Loop() {
				e.Occurred += 1000
				p.Now = e.Occurred
				step.Now, step.Changes, step.Before.Profile = p.Now, step.Changes[:0], *p
				s.Apply(step)
			}
			if !p.In(hot.ID) {
				b.Fatal("not in the segment: the benchmark measures nothing")
			}
		})
	}
}
