package enrich_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
)

const day = 24 * time.Hour

// start is a Monday, 00:00 UTC.
var start = event.At(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))

func stage(t testing.TB, asked ...string) *enrich.Stage {
	t.Helper()
	st, err := enrich.New(enrich.DefaultConfig(), enrich.DefaultModels(), enrich.Asked{Totals: asked})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// apply runs the events through the chain in the order given and returns the profile.
func apply(t testing.TB, st *enrich.Stage, events ...event.Event) *profile.Profile {
	t.Helper()
	c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
	p := profile.New("p1")
	for i := range events {
		if _, err := c.Apply(p, &events[i], uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func track(name string, at event.Instant, properties string) event.Event {
	return event.Event{Type: event.Track, Name: name, Profile: "p1", Occurred: at, Accepted: at, Properties: event.Object(properties)}
}

func order(at event.Instant, revenue string) event.Event {
	return track(event.OrderCompleted, at, `{"revenue":`+revenue+`}`)
}

func money(t testing.TB, s string) event.Money {
	t.Helper()
	m, err := event.ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAmount(t *testing.T) {
	tests := []struct{ name, properties, revenue, refunded string }{
		{"revenue", `{"revenue":12.5,"total":14,"products":[{"price":9}]}`, "12.50", "12.50"},
		{"revenue as text", `{"revenue":" 12.50 "}`, "12.50", "12.50"},
		{"total without revenue", `{"total":14,"products":[{"price":9}]}`, "14", "14"},
		{"total where revenue is unreadable", `{"revenue":"€ 12","total":"14.00"}`, "14", "14"},
		{"total where revenue is null", `{"revenue":null,"total":14}`, "14", "14"},
		{"products", `{"products":[{"price":2.55,"quantity":6},{"price":"3.39","quantity":2}]}`, "22.08", "22.08"},
		{"products, one each where no quantity is given", `{"products":[{"price":1.10},{"price":2.20,"quantity":null}]}`, "3.30", "3.30"},
		{"products sold by weight", `{"products":[{"price":0.3333,"quantity":1.5}]}`, "0.5", "0.5"},
		{"a line without price adds nothing", `{"products":[{"quantity":3},{"price":2},{"price":"?","quantity":2},7]}`, "2", "2"},
		{"a line with an unreadable quantity adds nothing", `{"products":[{"price":5,"quantity":"many"},{"price":2}]}`, "2", "2"},
		{"a discount line", `{"products":[{"price":10,"quantity":2},{"price":-2.5,"quantity":1}]}`, "17.50", "17.50"},
		{"free", `{"revenue":0,"total":5}`, "0", "0"},
		{"nothing", `{}`, "0", "0"},
		{"no properties", ``, "0", "0"},
		{"no amount readable", `{"revenue":"a","total":true,"products":"none"}`, "0", "0"},
		{"negative, as refunds are often written", `{"revenue":-12.5}`, "0", "12.50"},
		{"returned products", `{"products":[{"price":2.5,"quantity":-2}]}`, "0", "5"},
		{"beyond four decimals", `{"revenue":0.00005}`, "0.0001", "0.0001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := apply(t, stage(t), track(event.OrderCompleted, start, tt.properties), track(event.OrderRefunded, start+1, tt.properties))
			want := profile.Orders{
				Count: 1, Revenue: money(t, tt.revenue), Refunds: 1, Refunded: money(t, tt.refunded), First: start, Last: start,
				Days:       []profile.Day{{Day: int32(start / 86_400_000), Spent: money(t, tt.revenue)}},
				RefundDays: []profile.Day{{Day: int32(start / 86_400_000), Spent: money(t, tt.refunded)}},
				Currencies: []profile.Currency{{Orders: 1, Refunds: 1, Revenue: money(t, tt.revenue), Refunded: money(t, tt.refunded)}},
			}
			if diff := cmp.Diff(want, p.Orders); diff != "" {
				t.Errorf("orders (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAmountsNeverWrapAround(t *testing.T) {
	huge := `{"products":[{"price":900000000000000,"quantity":900000000000000},{"price":900000000000000,"quantity":2}]}`
	p := apply(t, stage(t), track(event.OrderCompleted, start, huge), track(event.OrderCompleted, start+1, huge), track(event.OrderRefunded, start+2, huge))
	if p.Orders.Revenue != math.MaxInt64 || p.Orders.Days[0].Spent != math.MaxInt64 || p.Orders.Refunded != math.MaxInt64 {
		t.Errorf("orders %+v, want the largest amounts there are", p.Orders)
	}
	if p.Scores.CLV < 0 {
		t.Errorf("CLV %s", p.Scores.CLV)
	}
}

func TestPurchaseDays(t *testing.T) {
	midnight := start.Add(3 * day)
	p := apply(t, stage(t),
		order(midnight, "4"), order(midnight-1, "2"), order(start, "1"), order(midnight.Add(day), "8"), order(midnight.Add(12*time.Hour), "0.50"))
	first := int32(start / 86_400_000)
	want := []profile.Day{{Day: first, Spent: 10_000}, {Day: first + 2, Spent: 20_000}, {Day: first + 3, Spent: 45_000}, {Day: first + 4, Spent: 80_000}}
	if diff := cmp.Diff(want, p.Orders.Days); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
	if p.Orders.First != start || p.Orders.Last != midnight.Add(day) || p.Orders.Count != 5 {
		t.Errorf("orders %+v", p.Orders)
	}
}

func TestDaysBefore1970(t *testing.T) {
	p := apply(t, stage(t), order(-1, "1"), order(-86_400_000, "2"), order(-86_400_001, "4"), order(1, "8"))
	want := []profile.Day{{Day: -2, Spent: 40_000}, {Day: -1, Spent: 30_000}, {Day: 0, Spent: 80_000}}
	if diff := cmp.Diff(want, p.Orders.Days); diff != "" {
		t.Errorf("days (-want +got):\n%s", diff)
	}
}

func TestPurchaseDaysAreBounded(t *testing.T) {
	var events []event.Event
	for i := range profile.MaxDays + 5 {
		events = append(events, order(start.Add(time.Duration(i)*day), "1"))
	}
	forward := apply(t, stage(t), events...)
	slices.Reverse(events)
	backward := apply(t, stage(t), events...)
	if diff := cmp.Diff(forward.Orders, backward.Orders); diff != "" {
		t.Errorf("orders, forward and backward:\n%s", diff)
	}
	days := forward.Orders.Days
	if len(days) != profile.MaxDays || days[0].Day != int32(start/86_400_000)+5 || forward.Orders.Count != profile.MaxDays+5 {
		t.Errorf("%d days from %d, %d orders", len(days), days[0].Day, forward.Orders.Count)
	}
}

func TestCounts(t *testing.T) {
	e := func(typ event.Type, name string) event.Event {
		return event.Event{Type: typ, Name: name, Occurred: start, Accepted: start}
	}
	p := apply(t, stage(t),
		e(event.Track, "Product Viewed"), e(event.Track, "Product Viewed"), e(event.Page, "Home"), e(event.Page, ""),
		e(event.Screen, "Home"), e(event.Identify, ""), e(event.Group, "g1"), e(event.Alias, ""), e(event.Track, ""),
		e(event.Delivery, "accepted"), e(event.Track, strings.Repeat("x", 300)))
	want := map[string]uint64{"Product Viewed": 2, "page:Home": 1, "page:": 1, "screen:Home": 1}
	got := map[string]uint64{}
	for _, a := range p.Activities {
		got[a.Name] = a.Count
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestNamesAreBounded(t *testing.T) {
	st := stage(t, "zz asked")
	var events []event.Event
	for i := range 3 * profile.MaxNames {
		name := fmt.Sprintf("event %03d", i)
		e := track(name, start+event.Instant(i), "")
		e.Traits = event.Object(fmt.Sprintf(`{%q:%d}`, name, i))
		e.Consent = map[string]bool{name: true}
		events = append(events, e, e)
	}
	events = append(events, track("zz asked", start, ""), track("zz asked", start, ""), order(start, "1"))
	want := apply(t, st, events...)
	if n := len(want.Activities); n != profile.MaxNames+2 {
		t.Errorf("%d counts, want %d and the two that are asked for", n, profile.MaxNames)
	}
	if want.Count("zz asked") != 2 || want.Count(event.OrderCompleted) != 1 || want.Count("event 199") != 2 || want.Count("event 200") != 0 {
		t.Errorf("activities %v", want.Activities)
	}
	if len(want.Traits) != profile.MaxNames || len(want.Consents) != profile.MaxNames {
		t.Errorf("%d traits and %d consents, want %d", len(want.Traits), len(want.Consents), profile.MaxNames)
	}
	slices.Reverse(events)
	got := apply(t, st, events...)
	if diff := cmp.Diff(behaviour(want), behaviour(got), cmp.Comparer(near)); diff != "" {
		t.Errorf("what is kept depends on the order of arrival:\n%s", diff)
	}
}

func TestTraits(t *testing.T) {
	said := func(typ event.Type, at event.Instant, traits string) event.Event {
		return event.Event{Type: typ, Occurred: at, Accepted: start + 100, Traits: event.Object(traits)}
	}
	p := apply(t, stage(t),
		said(event.Identify, start+2, `{"plan":"pro","seats":5,"gone":1}`),
		said(event.Identify, start+1, `{"plan":"free","country":"AT"}`), // arrives late
		said(event.Group, start+3, `{"industry":{"code":7},"gone":null}`),
		said(event.Identify, start+2, `{"plan":"basic","seats":40}`), // the same instant: the larger text
		said(event.Identify, start+4, `{"country":"`+strings.Repeat("x", enrich.MaxTraitSize)+`"}`),
		said(event.Delivery, start+9, `{"plan":"no"}`))
	want := map[string]profile.Trait{
		"plan": {Value: event.Object(`"pro"`), At: start + 2}, "seats": {Value: event.Object(`5`), At: start + 2}, "industry": {Value: event.Object(`{"code":7}`), At: start + 3},
		"gone": {Value: event.Object(`null`), At: start + 3}, "country": {Value: event.Object(`null`), At: start + 4},
	}
	if diff := cmp.Diff(want, p.Traits); diff != "" {
		t.Errorf("traits (-want +got):\n%s", diff)
	}
}

func TestConsents(t *testing.T) {
	says := func(typ event.Type, at event.Instant, consent map[string]bool) event.Event {
		return event.Event{Type: typ, Name: "x", Occurred: at, Accepted: start + 100, Consent: consent}
	}
	yes, no := map[string]bool{"email": true}, map[string]bool{"email": false}
	tests := []struct {
		name   string
		events []event.Event
		want   map[string]profile.Consent
	}{
		{"never said", []event.Event{says(event.Track, start, nil)}, nil},
		{"granted", []event.Event{says(event.Track, start, yes)}, map[string]profile.Consent{"email": {Granted: true, At: start}}},
		{"withdrawn later", []event.Event{says(event.Track, start, yes), says(event.Track, start+1, no)}, map[string]profile.Consent{"email": {Granted: false, At: start + 1}}},
		{"withdrawn earlier, arrives later", []event.Event{says(event.Track, start+1, yes), says(event.Track, start, no)}, map[string]profile.Consent{"email": {Granted: true, At: start + 1}}},
		{"both at one instant", []event.Event{says(event.Track, start, no), says(event.Track, start, yes)}, map[string]profile.Consent{"email": {Granted: false, At: start}}},
		{"both at one instant, the other way round", []event.Event{says(event.Track, start, yes), says(event.Track, start, no)}, map[string]profile.Consent{"email": {Granted: false, At: start}}},
		{"withdrawn by the mailbox provider", []event.Event{says(event.Track, start, yes), says(event.Delivery, start+1, no)}, map[string]profile.Consent{"email": {Granted: false, At: start + 1}}},
		{"two channels", []event.Event{says(event.Track, start, map[string]bool{"email": true, "sms": false})}, map[string]profile.Consent{"email": {Granted: true, At: start}, "sms": {Granted: false, At: start}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, apply(t, stage(t), tt.events...).Consents); diff != "" {
				t.Errorf("consents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDeliveriesAreNotBehaviour(t *testing.T) {
	want := apply(t, stage(t), order(start, "10"))
	delivery := track(event.OrderCompleted, start.Add(time.Hour), `{"revenue":5,"outcome":"accepted"}`)
	delivery.Type = event.Delivery
	got := apply(t, stage(t), order(start, "10"), delivery)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(profile.Profile{}, "Now", "Applied")); diff != "" {
		t.Errorf("a delivery changed (-want +got):\n%s", diff)
	}
}

// behaviour is what must not depend on the order of arrival.
func behaviour(p *profile.Profile) profile.Profile {
	return profile.Profile{
		ID: p.ID, First: p.First, Last: p.Last, Traits: p.Traits, Consents: p.Consents, Activities: p.Activities, Orders: p.Orders,
		Leanings: p.Leanings, Viewed: p.Viewed, Cart: p.Cart, Zone: p.Zone,
	}
}

// near compares sums that decay: to nine digits.
func near(a, b profile.Decayed) bool {
	return math.Abs(float64(a-b)) <= 1e-9*max(math.Abs(float64(a)), math.Abs(float64(b)))
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	st := stage(t)
	rapid.Check(t, func(t *rapid.T) {
		// Far fewer instants than events: ties are the interesting case.
		occurred := rapid.Custom(func(t *rapid.T) event.Instant {
			return start.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "halfdays")) * 12 * time.Hour)
		})
		one := rapid.Custom(func(t *rapid.T) event.Event {
			e := event.Event{
				Type:     rapid.SampledFrom([]event.Type{event.Track, event.Track, event.Track, event.Identify, event.Page, event.Group, event.Delivery}).Draw(t, "type"),
				Name:     rapid.SampledFrom([]string{event.OrderCompleted, event.OrderRefunded, "Product Viewed", "b"}).Draw(t, "name"),
				Occurred: occurred.Draw(t, "occurred"), Accepted: start.Add(30 * day),
				Historical: rapid.Bool().Draw(t, "historical"),
				Properties: event.Object(rapid.SampledFrom([]string{`{"revenue":1.25}`, `{"total":"7"}`, `{"products":[{"price":1.1,"quantity":3}]}`, `{}`, `{"revenue":-3}`, `{"revenue":900000000000000}`}).Draw(t, "properties")),
				Traits:     event.Object(rapid.SampledFrom([]string{``, `{"a":1}`, `{"a":2,"b":"x"}`, `{"a":null}`, `{"b":"y","a":{"c":1}}`}).Draw(t, "traits")),
			}
			if rapid.Bool().Draw(t, "says") {
				e.Consent = map[string]bool{rapid.SampledFrom([]string{"email", "sms"}).Draw(t, "channel"): rapid.Bool().Draw(t, "granted")}
			}
			return e
		})
		events := rapid.SliceOfN(one, 1, 15).Draw(t, "events")
		shuffled := rapid.Permutation(events).Draw(t, "shuffled")
		c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
		run := func(events []event.Event) *profile.Profile {
			p := profile.New("p1")
			for i := range events {
				if _, err := c.Apply(p, &events[i], uint64(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			return p
		}
		want, got := run(events), run(shuffled)
		if diff := cmp.Diff(behaviour(want), behaviour(got), cmp.Comparer(near)); diff != "" {
			t.Fatalf("in another order (-want +got):\n%s", diff)
		}
		// All are accepted at one instant: then the scores and the standing, which depend on the clock, are the same as well.
		if want.Scores.CLV != got.Scores.CLV || want.Scores.Alive != got.Scores.Alive || want.Standing != got.Standing {
			t.Fatalf("scores %+v and %+v, standing %+v and %+v", want.Scores, got.Scores, want.Standing, got.Standing)
		}
	})
}

func TestScores(t *testing.T) {
	// Orders on day 0 (10), 7 (20) and 21 (30, in two); scored on day 35, at noon.
	p := apply(t, stage(t), order(start, "10"), order(start.Add(7*day), "20"), order(start.Add(21*day), "12.50"),
		order(start.Add(21*day+time.Hour), "17.50"), track("Product Viewed", start.Add(35*day+12*time.Hour), ""))
	past := clv.Purchases{Repeats: 2, LastWeek: 3, AgeWeeks: 5, MeanSpend: 25}
	model := clv.CDNOW()
	if got, want := p.Scores.CLV.Float(), model.Value(past, 52); math.Abs(got-want) > 0.005 || got == 0 {
		t.Errorf("CLV %v, want %v rounded to hundredths", got, want)
	}
	if p.Scores.CLV%100 != 0 {
		t.Errorf("CLV %s is not rounded to hundredths", p.Scores.CLV)
	}
	if got, want := p.Scores.Alive, model.Alive(past); math.Abs(got-want) > 0.00005 || got == 0 {
		t.Errorf("alive %v, want %v rounded to four decimals", got, want)
	}
	if got, want := p.Scores.Confidence, model.Confidence(past, model.Alive(past)); math.Abs(got-want) > 0.00005 || got == 0 {
		t.Errorf("confidence %v, want %v rounded to four decimals", got, want)
	}
	if p.Scores.Scored != p.Now || p.Scores.Next != p.Now.Add(day) {
		t.Errorf("scored %s, next %s at %s", p.Scores.Scored, p.Scores.Next, p.Now)
	}
}

func TestScoresFollowTheConfig(t *testing.T) {
	events := []event.Event{order(start, "10"), order(start.Add(7*day), "20")}
	of := func(weeks, margin float64) float64 {
		cfg := enrich.DefaultConfig()
		cfg.HorizonWeeks, cfg.Margin = weeks, margin
		st, err := enrich.New(cfg, enrich.DefaultModels(), enrich.Asked{})
		if err != nil {
			t.Fatal(err)
		}
		return apply(t, st, events...).Scores.CLV.Float()
	}
	full, half, short := of(52, 1), of(52, 0.5), of(26, 1)
	if math.Abs(half-full/2) > 0.01 || short >= full || short <= 0 {
		t.Errorf("CLV %v; with half the margin %v; for half the time %v", full, half, short)
	}
}

func TestNobodyWithoutPurchaseIsScored(t *testing.T) {
	p := apply(t, stage(t), track("Product Viewed", start, ""), track(event.OrderRefunded, start, `{"total":3}`))
	if p.Scores != (profile.Scores{}) {
		t.Errorf("scores %+v, want none", p.Scores)
	}
}

// Between two events the scores are steps of a day, whoever wakes the profile and when.
func TestScoresAreRecomputedDaily(t *testing.T) {
	st := stage(t)
	c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
	p := profile.New("p1")
	first, second := order(start, "100"), order(start.Add(10*day), "80")
	for i, e := range []*event.Event{&first, &second} {
		if _, err := c.Apply(p, e, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	before := p.Scores
	wake := func(at event.Instant) {
		t.Helper()
		if _, err := c.Apply(p, &event.Event{Type: event.Wake, Accepted: at}, 9); err != nil {
			t.Fatal(err)
		}
	}
	wake(before.Next - 1)
	if p.Scores != before {
		t.Errorf("a millisecond early: %+v, want %+v", p.Scores, before)
	}
	wake(before.Next)
	if p.Scores.Scored != before.Next || p.Scores.Alive >= before.Alive || p.Scores.Next != before.Next.Add(day) {
		t.Errorf("after a day: %+v, before: %+v", p.Scores, before)
	}
	wake(before.Next.Add(6*day + time.Hour)) // six days at once
	if p.Scores.Scored != before.Next.Add(6*day) {
		t.Errorf("after a week: scored %s, want %s", p.Scores.Scored, before.Next.Add(6*day))
	}
}

func TestTheDailyTickEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []event.Event
		within time.Duration
	}{
		{"one small order", []event.Event{order(start, "5")}, 9 * 365 * day},
		{"a free one", []event.Event{order(start, "0")}, 30 * 365 * day},
		{"two", []event.Event{order(start, "20"), order(start.Add(14*day), "30")}, 20 * 365 * day},
		{"many", []event.Event{order(start, "20"), order(start.Add(3*day), "30"), order(start.Add(6*day), "30"), order(start.Add(9*day), "30")}, 4 * 365 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := stage(t)
			p := apply(t, st, tt.events...)
			c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
			p.Applied = 1 // of a profile without any record a wake-up is ignored
			last := p.Now.Add(tt.within)
			for steps := 2; p.Scores.Next != 0; steps++ {
				if p.Scores.Next > last {
					t.Fatalf("still ticking after %s: %+v", tt.within, p.Scores)
				}
				if _, err := c.Apply(p, &event.Event{Type: event.Wake, Accepted: p.Scores.Next}, uint64(steps)); err != nil {
					t.Fatal(err)
				}
			}
			if p.Scores.CLV >= event.MoneyUnit {
				t.Errorf("ended at a value of %s", p.Scores.CLV)
			}
			if len(p.Orders.Days) > 1 && p.Scores.Alive >= 0.01 {
				t.Errorf("ended while alive with %v", p.Scores.Alive)
			}
			t.Logf("ended %s after the last order: %+v", p.Now.Sub(p.Orders.Last), p.Scores)
			e := track("Product Viewed", p.Now.Add(time.Hour), "")
			if _, err := c.Apply(p, &e, 1<<40); err != nil {
				t.Fatal(err)
			}
			if p.Scores.Scored != p.Now { // the next event scores again
				t.Errorf("scored %s at %s", p.Scores.Scored, p.Now)
			}
		})
	}
}

// An import says when things occurred, the clock when they were accepted: the value is that of today.
func TestHistoricalPurchasesAreValuedAsOfNow(t *testing.T) {
	e := order(start, "50")
	e.Historical, e.Accepted = true, start.Add(70*day)
	again := order(start.Add(7*day), "50")
	again.Historical, again.Accepted = true, start.Add(70*day)
	p := apply(t, stage(t), e, again)
	want := clv.CDNOW().Alive(clv.Purchases{Repeats: 1, LastWeek: 1, AgeWeeks: 10, MeanSpend: 50})
	if math.Abs(p.Scores.Alive-want) > 0.00005 {
		t.Errorf("alive %v, want %v", p.Scores.Alive, want)
	}
	if p.Scores.Next != start.Add(71*day) {
		t.Errorf("next %s, want a day after the import", p.Scores.Next)
	}
}

func TestAnOrderFromTheFutureCountsAsNow(t *testing.T) {
	e := order(start.Add(10*day), "50")
	e.Accepted = start
	p := apply(t, stage(t), order(start, "50"), e)
	want := clv.CDNOW().Value(clv.Purchases{Repeats: 1, LastWeek: 10.0 / 7, AgeWeeks: 10.0 / 7, MeanSpend: 50}, 52)
	if got := p.Scores.CLV.Float(); math.Abs(got-want) > 0.005 {
		t.Errorf("CLV %v, want %v", got, want)
	}
}

func TestConfig(t *testing.T) {
	if err := enrich.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		cfg  enrich.Config
		want []string
	}{
		{enrich.Config{}, []string{"horizon_weeks: 0: want 1 to 520", "margin: 0: want more than 0"}},
		{enrich.Config{HorizonWeeks: 521, Margin: 1}, []string{"horizon_weeks: 521"}},
		{enrich.Config{HorizonWeeks: math.NaN(), Margin: math.NaN()}, []string{"horizon_weeks: NaN", "margin: NaN"}},
		{enrich.Config{HorizonWeeks: 52, Margin: 1.5}, []string{"margin: 1.5"}},
	} {
		_, err := enrich.New(tt.cfg, enrich.DefaultModels(), enrich.Asked{})
		if err == nil {
			t.Errorf("%+v: no error", tt.cfg)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %q does not say %q", tt.cfg, err, want)
			}
		}
	}
}

// Nothing of the event's memory stays in the profile.
func TestTraitsAreCopied(t *testing.T) {
	traits := event.Object(`{"plan":"pro"}`)
	p := apply(t, stage(t), event.Event{Type: event.Identify, Occurred: start, Accepted: start, Traits: traits})
	copy(traits, strings.Repeat("#", len(traits)))
	if got := string(p.Traits["plan"].Value); got != `"pro"` {
		t.Errorf("trait %s", got)
	}
}

func BenchmarkApply(b *testing.B) {
	st := stage(b)
	c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
	p := profile.New("p1")
	for i := range 20 {
		e := order(start.Add(time.Duration(i)*7*day), "20")
		if _, err := c.Apply(p, &e, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	e := track("Product Viewed", p.Now, `{"category":"sneakers"}`)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := c.Apply(p, &e, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
}
