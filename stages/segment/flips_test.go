package segment

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
)

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

// A total is compared with a number that another event changes, one that is new to the profile and comes before it there.
func TestTotalAgainstANumber(t *testing.T) {
	p := profile.New("u1")
	c := chain(1, scoring{}, stage(t, Definition{ID: "more", When: `total("D") > customer.orders`}))
	got := run(t, c, p, track("A", 0, 0, ""), track("C", 1, 1, ""), track("D", 2, 2, ""), track("B", 3, 3, ""), track("D", 4, 4, ""))
	want := []string{"+more at 2ms (event)", "-more at 3ms (event)", "+more at 4ms (event)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
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
