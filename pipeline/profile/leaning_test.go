package profile_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

const (
	halfLife = event.Instant(profile.HalfLife / time.Millisecond)
	start    = event.Instant(1_772_409_600_000) // 2026-03-02, a Monday, 00:00 UTC
)

func weight(at event.Instant) profile.Decayed {
	return profile.Decay(&event.Event{Occurred: at, Accepted: math.MaxInt64})
}

func TestWeightsDouble(t *testing.T) {
	for _, at := range []event.Instant{start, start - 12_345_678_901, -86_400_000, start + 999} {
		if got := float64(weight(at+halfLife) / weight(at)); math.Abs(got-2) > 1e-14 {
			t.Errorf("a half-life after %s an event weighs %v as much, want 2", at, got)
		}
		third := halfLife / 3
		if got, want := float64(weight(at+third)/weight(at)), math.Exp2(1.0/3); math.Abs(got-want) > 1e-14 {
			t.Errorf("a third of one later it weighs %v as much, want %v", got, want)
		}
	}
	for _, at := range []event.Instant{math.MinInt64, math.MaxInt64} {
		if w := float64(weight(at)); !(w > 0) || math.IsInf(w*1e6, 0) {
			t.Errorf("at the end of time an event weighs %v", w)
		}
	}
	ahead := profile.Decay(&event.Event{Occurred: start + 50*halfLife, Accepted: start})
	if ahead != weight(start) {
		t.Error("an event from the future outweighs those of now")
	}
}

// The power is the same function at every millisecond: it rises, also where one half-life ends.
func TestWeightsRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := event.Instant(rapid.Int64Range(0, 200).Draw(t, "half-lives"))*halfLife/2 + 1_577_836_800_000 + event.Instant(rapid.Int64Range(-3, 3).Draw(t, "ms"))
		if !(weight(at) < weight(at+1)) {
			t.Fatalf("the weight at %d is not below that a millisecond later", at)
		}
	})
}

func TestAffinity(t *testing.T) {
	p := profile.New("p")
	if got := p.Affinity(profile.Category, "sneakers"); got != 0 || p.StyleGroup() != "" {
		t.Errorf("of nobody: affinity %v, style group %q", got, p.StyleGroup())
	}
	p.Lean(profile.Category, "boots", weight(start-halfLife).Times(4)) // two now
	p.Lean(profile.Category, "sneakers", weight(start).Times(5))
	p.Lean(profile.Category, "hats", weight(start))
	for name, want := range map[string]float64{"sneakers": 0.625, "boots": 0.25, "hats": 0.125, "gloves": 0} {
		if got := p.Affinity(profile.Category, name); got != want {
			t.Errorf("affinity to %s is %v, want %v", name, got, want)
		}
	}
	if name, share := p.Favourite(profile.Category); name != "sneakers" || share != 0.625 || p.StyleGroup() != name {
		t.Errorf("favourite %q (%v), style group %q", name, share, p.StyleGroup())
	}
	if name, share := p.Favourite(profile.Brand); name != "" || share != 0 {
		t.Errorf("favourite brand of who has none: %q, %v", name, share)
	}
}

func TestStyleConfidence(t *testing.T) {
	p := profile.New("p")
	p.Lean(profile.Category, "boots", weight(start).Times(5))
	c, until := p.StyleConfidence(start) // 5 of 5 and 5 more
	if c != 0.5 {
		t.Fatalf("confidence %v, want 0.5", c)
	}
	// 5/(5+5g) < 0.5 as soon as g > 1: a millisecond later; then 0.49, until g > 51/49.
	if until != start+1 {
		t.Errorf("it holds until %s, want a millisecond", until)
	}
	c, until = p.StyleConfidence(start + 1)
	if want := start + event.Instant(math.Log2(51.0/49)*float64(halfLife)); c != 0.49 || until < want || until > want+2 {
		t.Errorf("then it is %v until %s, want 0.49 until %s", c, until, want)
	}
	if c, until := p.StyleConfidence(start + 30*halfLife); c != 0 || until != 0 {
		t.Errorf("after two and a half years it is %v until %d", c, until)
	}
	p.Lean(profile.Category, "hats", weight(start).Times(5))
	if c, _ := p.StyleConfidence(start); c != 0.33 || p.StyleGroup() != "boots" {
		t.Errorf("divided between two: %q with %v", p.StyleGroup(), c)
	}
}

// What holds, holds up to the millisecond before until, and no longer.
func TestStyleConfidenceEndsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := profile.New("p")
		for i := range rapid.IntRange(1, 6).Draw(t, "things") {
			at := start - event.Instant(rapid.Int64Range(0, 400).Draw(t, "days"))*86_400_000
			p.Lean(profile.Category, fmt.Sprintf("c%d", i%3), weight(at).Times(float64(rapid.IntRange(1, 40).Draw(t, "weight"))))
		}
		now := start + event.Instant(rapid.Int64Range(0, 100*86_400_000).Draw(t, "now"))
		c, until := p.StyleConfidence(now)
		if until == 0 {
			if c != 0 {
				t.Fatalf("confidence %v never ends", c)
			}
			return
		}
		if before, same := p.StyleConfidence(until - 1); until <= now || before != c || same != until {
			t.Fatalf("%v until %d; a millisecond before that it is %v until %d", c, until, before, same)
		}
		if after, _ := p.StyleConfidence(until); math.Round((c-after)*100) < 1 {
			t.Fatalf("at its end the confidence is %v, and it was %v", after, c)
		}
		least := rapid.Float64Range(0.001, 0.999).Draw(t, "least")
		if ok, until := p.StyleConfident(least, now); ok {
			before, same := p.StyleConfident(least, until-1)
			after, never := p.StyleConfident(least, until)
			if !before || same != until || after || never != 0 {
				t.Fatalf("at least %v until %d: %v until %d before it, %v at it", least, until, before, same, after)
			}
		} else if until != 0 {
			t.Fatalf("what does not hold ends at %d", until)
		}
	})
}

// Beyond the bound the same names stay whatever came first, and shares count what did not stay.
func TestLeaningsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var names []string
		for i := range profile.MaxLeanings + 40 {
			names = append(names, fmt.Sprintf("category %d", i), fmt.Sprintf("category %d", i))
		}
		names = append(names, strings.Repeat("long ", 40))
		var kept [2]profile.Leaning
		for i, order := range [][]string{names, rapid.Permutation(names).Draw(t, "order")} {
			for _, name := range order {
				kept[i].Add(name, profile.Decayed(1+len(name)))
			}
		}
		same := slices.EqualFunc(kept[0].Weights, kept[1].Weights, func(a, b profile.Weight) bool { return a.Name == b.Name && near(a.Sum, b.Sum) })
		if !same || !near(kept[0].Rest, kept[1].Rest) || len(kept[0].Weights) != profile.MaxLeanings {
			t.Fatalf("kept %d names of one order, %d of another; rest %v and %v", len(kept[0].Weights), len(kept[1].Weights), kept[0].Rest, kept[1].Rest)
		}
		p := profile.New("p")
		p.Leanings[profile.Brand] = kept[0]
		all := 0.0
		for _, w := range kept[0].Weights {
			all += p.Affinity(profile.Brand, w.Name)
		}
		if all > 0.7 { // 64 of 105 names, and a long one
			t.Fatalf("the kept names share %v: those that went count too", all)
		}
	})
}

func near(a, b profile.Decayed) bool {
	return math.Abs(float64(a-b)) <= 1e-9*max(math.Abs(float64(a)), math.Abs(float64(b)))
}

func TestPriceBands(t *testing.T) {
	for price, want := range map[string]string{
		"0": "0-1", "0.9999": "0-1", "1": "1-2", "2": "2-5", "4.99": "2-5", "5": "5-10", "10": "10-20", "19.99": "10-20", "20": "20-50",
		"99.99": "50-100", "100": "100-200", "499999": "200000-500000", "500000": "500000+", "900000000000": "500000+", "-1": "",
	} {
		m, err := event.ParseMoney(price)
		if err != nil {
			t.Fatal(err)
		}
		if got := profile.PriceBand(m); got != want {
			t.Errorf("%s is in the band %q, want %q", price, got, want)
		}
	}
}

func TestSendHour(t *testing.T) {
	p := profile.New("p")
	if _, _, ok := p.SendHour(0); ok {
		t.Error("nobody has an hour")
	}
	for _, e := range []struct {
		hour event.Instant
		n    float64
	}{{8, 3}, {9, 3}, {20, 4}} {
		at := start + e.hour*3_600_000 + 59_000
		if got, want := profile.HourName(at), fmt.Sprintf("%02d", e.hour); got != want {
			t.Errorf("the hour of %s is %q, want %q", at, got, want)
		}
		p.Lean(profile.Hour, profile.HourName(at), weight(start).Times(e.n))
	}
	// At eight: 3/2 + 3/4; at twenty: 4/2. Of ten altogether.
	for ahead, want := range map[time.Duration]int{0: 8, time.Hour: 9, -9 * time.Hour: 23, 16 * time.Hour: 0, 5*time.Hour + 30*time.Minute: 14, 5*time.Hour + 15*time.Minute: 13} {
		if hour, share, ok := p.SendHour(ahead); !ok || hour != want || share != 0.225 {
			t.Errorf("%s ahead: at %d with %v, want %d with 0.225", ahead, hour, share, want)
		}
	}
	for at, want := range map[event.Instant]string{-1: "23", -3_600_000: "23", -3_600_001: "22", 0: "00", -86_400_000: "00"} {
		if got := profile.HourName(at); got != want {
			t.Errorf("the hour of %d ms is %q, want %q", at, got, want)
		}
	}
}
