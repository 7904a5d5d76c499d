package profile_test

import (
	ordered "cmp"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// deed is one thing that a customer does, and that may have been done under any of their profiles.
type deed func(p *profile.Profile)

// deeds draws distinct things at distinct instants, within the bounds.
func deeds(t *rapid.T) []deed {
	all := make([]deed, rapid.IntRange(0, 60).Draw(t, "deeds"))
	for i := range all {
		at := start - event.Instant(i)*43_200_000 - event.Instant(rapid.IntRange(0, 43_199_999).Draw(t, "ms"))
		name := fmt.Sprintf("n%d", rapid.IntRange(0, 4).Draw(t, "name"))
		amount := event.Money(rapid.IntRange(0, 1_000_000).Draw(t, "amount"))
		currency := rapid.SampledFrom([]string{"", "EUR", "GBP"}).Draw(t, "currency")
		kind := rapid.IntRange(0, 8).Draw(t, "kind")
		all[i] = func(p *profile.Profile) {
			p.First, p.Last = min(at, ordered.Or(p.First, at)), max(p.Last, at)
			p.Happens(name).At(at, amount)
			switch kind {
			case 0:
				p.Order(at, amount, currency)
			case 1:
				p.Orders.Returned(at, amount, currency)
			case 2:
				p.View(name, at)
			case 3:
				p.ChangeCart(profile.CartChange{At: at, Product: name, Quantity: int64(amount%5) - 1, Price: amount})
			case 4:
				p.Lean(profile.Category, name, weight(at))
			case 5:
				keep(&p.Traits, name, profile.Trait{Value: event.Object(fmt.Sprint(amount)), At: at}, func(old profile.Trait) bool { return old.At < at })
			case 6:
				keep(&p.Consents, name, profile.Consent{Granted: amount%2 == 0, At: at}, func(old profile.Consent) bool { return old.At < at })
			case 7:
				if p.Zone.Name == "" || p.Zone.At < at {
					p.Zone = profile.Zone{Name: name, At: at}
				}
			case 8:
				keep(&p.Windows, uint64(amount%3), nil, func([]event.Instant) bool { return false })
				times := append(slices.Clone(p.Windows[uint64(amount%3)]), at)
				slices.SortFunc(times, func(a, b event.Instant) int { return int(b - a) })
				p.Windows[uint64(amount%3)] = times
			}
		}
	}
	return all
}

func byTwo(a, b event.Instant, x, y string) int {
	return ordered.Or(ordered.Compare(a, b), ordered.Compare(x, y))
}

func keep[K comparable, V any](m *map[K]V, key K, v V, newer func(old V) bool) {
	if *m == nil {
		*m = map[K]V{}
	}
	if old, ok := (*m)[key]; !ok || newer(old) {
		(*m)[key] = v
	}
}

func done(id string, all []deed) *profile.Profile {
	p := profile.New(id)
	for _, do := range all {
		do(p)
	}
	return p
}

// likewise compares sums that decay to nine digits, and all else exactly.
func likewise() cmp.Options {
	return cmp.Options{
		cmpopts.EquateEmpty(),
		cmp.Comparer(near),
		cmpopts.IgnoreFields(profile.Profile{}, "ID", "Applied", "Armed", "Scores", "Standing", "Merged"),
	}
}

// However what one person did is divided among profiles, and in whatever order these are merged, the winner is as if all
// of it had been done there.
func TestMergeIsAsIfAllWereOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := deeds(t)
		want := done("whole", all)
		parts := make([]*profile.Profile, rapid.IntRange(2, 5).Draw(t, "profiles"))
		for i := range parts {
			parts[i] = profile.New(fmt.Sprint(i))
		}
		for _, do := range all {
			do(parts[rapid.IntRange(0, len(parts)-1).Draw(t, "profile")])
		}
		parts = rapid.Permutation(parts).Draw(t, "order")
		for len(parts) > 1 { // any two of them
			i := rapid.IntRange(1, len(parts)-1).Draw(t, "loser")
			profile.Merge(parts[i-1], parts[i])
			parts = slices.Delete(parts, i, i+1)
		}
		if diff := cmp.Diff(want, parts[0], likewise()); diff != "" {
			t.Fatalf("merged (-as one +merged):\n%s", diff)
		}
	})
}

func TestMergeIsCommutative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *profile.Profile {
			p := done("p", deeds(t))
			any := profiles().Draw(t, name)
			for i, w := range any.Waits { // what a profile holds
				any.Waits[i].Campaign = fmt.Sprint(w.Campaign, i)
			}
			for id, m := range any.Segments {
				if !m.In {
					any.Segments[id] = profile.Membership{Until: m.Until}
				}
			}
			for i := range any.Sends {
				any.Sends[i].Decision = fmt.Sprint(name, i)
			}
			slices.SortFunc(any.Waits, func(a, b profile.Wait) int { return byTwo(a.Due, b.Due, a.Campaign, b.Campaign) })
			slices.SortFunc(any.Sends, func(a, b profile.Send) int { return byTwo(a.At, b.At, a.Decision, b.Decision) })
			p.Segments, p.Waits, p.Sends, p.Now = any.Segments, any.Waits, any.Sends, any.Now
			return p
		}
		encode := func(p *profile.Profile) []byte { return profile.Encode(p) }
		a, b := draw("a"), draw("b")
		before := encode(b)
		ab, ba := again(t, a), again(t, b)
		profile.Merge(ab, b)
		profile.Merge(ba, a)
		if diff := cmp.Diff(ab, ba, likewise()); diff != "" {
			t.Fatalf("the other way round (-a takes b +b takes a):\n%s", diff)
		}
		if !slices.Equal(before, encode(b)) {
			t.Fatal("the loser has changed")
		}
		ab.Happens("later").At(1, 1) // and neither changes through the other
		for i := range ab.Windows {
			ab.Windows[i] = append(ab.Windows[i], 1)
			ab.Windows[i][0]++
		}
		for i := range ab.Cart {
			ab.Cart[i].Quantity++
		}
		ab.Orders.Returned(start, 1, "")
		if !slices.Equal(before, encode(b)) {
			t.Fatal("the loser has changed with the winner")
		}
	})
}

// again is a copy that shares nothing.
func again(t *rapid.T, p *profile.Profile) *profile.Profile {
	c, err := profile.Decode(profile.Encode(p))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMerge(t *testing.T) {
	winner := &profile.Profile{
		ID: "w", Now: 100, Applied: 7, Armed: 300, Definitions: 4,
		Awaits:   []profile.Await{{Loser: "l", Until: 900}, {Loser: "k", Until: 140}, {Loser: "n", Until: 800}},
		Segments: map[string]profile.Membership{"both": {In: true, Since: 50, Until: 400}, "mine": {In: true, Since: 60}, "soon": {Until: 500}},
		Waits:    []profile.Wait{{Campaign: "cart", Key: "1", Due: 200, Cause: "old"}, {Campaign: "cart", Key: "2", Due: 210}},
		Sends:    []profile.Send{{Decision: "d1", At: 10}, {Decision: "d3", At: 30}},
		Scores:   profile.Scores{CLV: 5, Next: 600},
		Kept:     map[uint64]*profile.Kept{1: {Entries: []profile.Entry{{At: 90, Number: 5}, {At: 70, Number: 7}}, Count: 2, Sum: profile.Sum{Low: 1<<64 - 1}}, 2: {Count: 1}},
	}
	loser := &profile.Profile{
		ID: "l", Now: 150, Applied: 9, Armed: 250, Definitions: 4,
		Awaits: []profile.Await{{Loser: "n", Until: 700}, {Loser: "m", Until: 600}, {Loser: "w", Until: 600}}, Merged: []profile.Merged{{ID: "j", At: 30}},
		Segments: map[string]profile.Membership{"both": {In: true, Since: 40, Until: 700}, "theirs": {In: true, Since: 20}, "soon": {Until: 450}},
		Waits:    []profile.Wait{{Campaign: "cart", Key: "1", Due: 220, Cause: "new"}},
		Sends:    []profile.Send{{Decision: "d2", At: 20}},
		Kept:     map[uint64]*profile.Kept{1: {Entries: []profile.Entry{{At: 80, Number: 6}}, Count: 3, Sum: profile.Sum{High: -1, Low: 2}}, 3: {Count: 9}},
	}
	loser.Order(90, 10, "EUR")
	profile.Merge(winner, loser)
	want := &profile.Profile{
		ID: "w", Now: 150, Applied: 7, Armed: 300,
		Awaits: []profile.Await{{Loser: "m", Until: 600}, {Loser: "n", Until: 800}}, Merged: []profile.Merged{{ID: "j", At: 30}, {ID: "l", At: 150}},
		Segments: map[string]profile.Membership{"both": {In: true, Since: 40, Until: 400}, "mine": {In: true, Since: 60}, "theirs": {In: true, Since: 20}, "soon": {Until: 450}},
		Waits:    []profile.Wait{{Campaign: "cart", Key: "2", Due: 210}, {Campaign: "cart", Key: "1", Due: 220, Cause: "new"}},
		Sends:    []profile.Send{{Decision: "d1", At: 10}, {Decision: "d2", At: 20}, {Decision: "d3", At: 30}},
		Scores:   profile.Scores{Next: 150}, Standing: profile.Standing{Until: 150},
		Kept: map[uint64]*profile.Kept{
			1: {Entries: []profile.Entry{{At: 90, Number: 5}, {At: 80, Number: 6}, {At: 70, Number: 7}}, Count: 5, Sum: profile.Sum{Low: 1}}, // a carry
			2: {Count: 1}, 3: {Count: 9},
		},
		SegmentsDue: 400,
	}
	want.Order(90, 10, "EUR")
	if diff := cmp.Diff(want, winner); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
}

// large is as large as a profile gets.
func large(seed int) *profile.Profile {
	p := profile.New("p")
	p.Traits, p.Windows = map[string]profile.Trait{}, map[uint64][]event.Instant{}
	for i := range profile.MaxNames {
		name := fmt.Sprintf("name %d", i*2+seed%2)
		p.Happens(name).At(start, 10)
		p.Traits[name] = profile.Trait{Value: event.Object(`"some value"`), At: start}
		for _, d := range profile.Dimensions() {
			p.Lean(d, name, weight(start))
		}
		p.View(name, start+event.Instant(i))
		p.Waits = append(p.Waits, profile.Wait{Campaign: name, Due: start + event.Instant(i)})
	}
	for i := range profile.MaxDays {
		p.Order(start-event.Instant(i)*86_400_000, 100, "GBP")
	}
	for i := range profile.MaxCart {
		p.ChangeCart(profile.CartChange{At: start + 1 + event.Instant(i), Product: "p", Quantity: 1})
	}
	for leaf := range uint64(20) {
		for i := range 1000 {
			p.Windows[leaf] = append(p.Windows[leaf], start-event.Instant(2*i+seed))
		}
	}
	return p
}

func BenchmarkMerge(b *testing.B) {
	winner, loser := profile.Encode(large(0)), large(1)
	b.ReportMetric(float64(len(winner)), "bytes/profile")
	for b.Loop() {
		b.StopTimer()
		w, err := profile.Decode(winner)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		profile.Merge(w, loser)
	}
}

// Waits that both halves have held are those that the whole customer would have had, or decided.
func TestMergedWaits(t *testing.T) {
	t.Parallel()
	wait := func(cause string, since, due event.Instant) profile.Wait {
		return profile.Wait{Campaign: "c", Cause: cause, Since: since, Due: due, Held: true}
	}
	for name, test := range map[string]struct {
		winner, loser []profile.Wait
		want          string
	}{
		"at once, each":                       {[]profile.Wait{wait("a", 10, 10), wait("c", 30, 30)}, []profile.Wait{wait("b", 20, 20)}, "[a b c]"},
		"at once, at the same instant":        {[]profile.Wait{wait("a", 10, 10)}, []profile.Wait{wait("b", 10, 10)}, "[a b]"},
		"the later one, before the other due": {[]profile.Wait{wait("a", 10, 110)}, []profile.Wait{wait("b", 20, 120)}, "[b]"},
		"both, after the other was due":       {[]profile.Wait{wait("b", 110, 210)}, []profile.Wait{wait("a", 10, 110)}, "[a b]"},
		"one of the flips":                    {[]profile.Wait{wait("b", 0, 20)}, []profile.Wait{wait("a", 0, 10)}, "[b]"},
	} {
		for _, swapped := range []bool{false, true} {
			w, l := profile.New("w"), profile.New("l")
			if w.Waits, l.Waits = test.winner, test.loser; swapped {
				w.Waits, l.Waits = test.loser, test.winner
			}
			profile.Merge(w, l)
			var causes []string
			for _, x := range w.Waits {
				causes = append(causes, x.Cause)
			}
			if got := fmt.Sprint(causes); got != test.want {
				t.Errorf("%s: %s, want %s", name, got, test.want)
			}
		}
	}
}
