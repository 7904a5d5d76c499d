package enrich_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
)

func configured(t testing.TB, change func(*enrich.Config)) *enrich.Stage {
	t.Helper()
	cfg := enrich.DefaultConfig()
	change(&cfg)
	st, err := enrich.New(cfg, enrich.DefaultModels(), enrich.Asked{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// wakeAt runs what the profile owes up to an instant.
func wakeAt(t testing.TB, st *enrich.Stage, p *profile.Profile, at event.Instant) {
	t.Helper()
	if _, err := (&pipeline.Chain{Stages: []pipeline.Stage{st}}).Apply(p, &event.Event{Type: event.Wake, Accepted: at}, p.Applied+1); err != nil {
		t.Fatal(err)
	}
}

// The stages of life begin and end to the millisecond, without an event.
func TestLifecycle(t *testing.T) {
	st := stage(t)
	p := apply(t, st, track("Product Viewed", start, ""))
	if stage, until := p.Lifecycle(); stage != profile.Visitor || until != 0 {
		t.Errorf("before an order: %s until %s", stage, until)
	}
	e := order(start, "5")
	again := order(start.Add(20*day), "5")
	p = apply(t, st, e, again)
	for _, tt := range []struct {
		at    event.Instant
		want  profile.Lifecycle
		until event.Instant
	}{
		{start.Add(30*day) - 1, profile.Newcomer, start.Add(30 * day)},
		{start.Add(30 * day), profile.Active, start.Add(110 * day)},
		{start.Add(110*day) - 1, profile.Active, start.Add(110 * day)},
		{start.Add(110 * day), profile.AtRisk, start.Add(200 * day)},
		{start.Add(200*day) - 1, profile.AtRisk, start.Add(200 * day)},
		{start.Add(200 * day), profile.Lapsed, 0},
	} {
		wakeAt(t, st, p, tt.at)
		if stage, until := p.Lifecycle(); stage != tt.want || until != tt.until {
			t.Errorf("at %s: %s until %s, want %s until %s", tt.at, stage, until, tt.want, tt.until)
		}
	}
	back := order(start.Add(300*day), "5")
	if _, err := (&pipeline.Chain{Stages: []pipeline.Stage{st}}).Apply(p, &back, 99); err != nil {
		t.Fatal(err)
	}
	if stage, until := p.Lifecycle(); stage != profile.Active || until != start.Add(390*day) {
		t.Errorf("who comes back is %s until %s", stage, until)
	}
}

func tiers(window int) func(*enrich.Config) {
	return func(c *enrich.Config) {
		c.Loyalty = enrich.Loyalty{WindowDays: window, Tiers: []enrich.Tier{{Name: "member"}, {Name: "silver", Spent: 100}, {Name: "gold", Spent: 100, PurchaseDays: 3}}}
	}
}

func TestTiers(t *testing.T) {
	refund := func(at event.Instant, amount string) event.Event {
		return track(event.OrderRefunded, at, `{"revenue":`+amount+`}`)
	}
	for _, tt := range []struct {
		name   string
		events []event.Event
		want   string
	}{
		{"nothing bought", []event.Event{track("x", start, "")}, "member"},
		{"not enough", []event.Event{order(start, "99.99")}, "member"},
		{"enough", []event.Event{order(start, "99.99"), order(start, "0.01")}, "silver"},
		{"often enough", []event.Event{order(start, "90"), order(start.Add(day), "9"), order(start.Add(2*day), "1")}, "gold"},
		{"often and not enough", []event.Event{order(start, "1"), order(start.Add(day), "1"), order(start.Add(2*day), "1")}, "member"},
		{"gave it back", []event.Event{order(start, "150"), refund(start.Add(day), "50.01")}, "member"},
	} {
		p := apply(t, configured(t, tiers(0)), tt.events...)
		if tier, until := p.Tier(); tier != tt.want || until != 0 && p.Standing.Lifecycle == profile.Visitor {
			t.Errorf("%s: tier %q until %s, want %q", tt.name, tier, until, tt.want)
		}
	}
	if tier, _ := apply(t, stage(t), order(start, "1000")).Tier(); tier != "" {
		t.Errorf("without a table: tier %q", tier)
	}
}

// A window of ten days: what was bought on the 1st counts up to the end of the 10th.
func TestTierEndsWithItsWindow(t *testing.T) {
	st := configured(t, func(c *enrich.Config) {
		tiers(10)(c)
		c.Lifecycle = enrich.Lifecycle{NewDays: 3650, AtRiskDays: 3649, LapsedDays: 3650} // out of the way
	})
	p := apply(t, st, order(start.Add(23*time.Hour), "60"), order(start.Add(30*time.Hour), "60"), track(event.OrderRefunded, start.Add(3*day), `{"total":20}`))
	ends := start.Add(10 * day)
	if tier, until := p.Tier(); tier != "silver" || until != ends {
		t.Errorf("tier %q until %s, want silver until %s", tier, until, ends)
	}
	wakeAt(t, st, p, ends-1)
	if tier, _ := p.Tier(); tier != "silver" {
		t.Errorf("a millisecond before: %q", tier)
	}
	wakeAt(t, st, p, ends)
	if tier, until := p.Tier(); tier != "member" || until == ends {
		t.Errorf("then: %q until %s", tier, until)
	}
}

// Up to the instant at which it is said to change the standing is the same, and then another.
func TestStandingChangesWhenItSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := enrich.DefaultConfig()
		cfg.Lifecycle = enrich.Lifecycle{NewDays: rapid.IntRange(1, 60).Draw(t, "new"), AtRiskDays: rapid.IntRange(1, 60).Draw(t, "at risk")}
		cfg.Lifecycle.LapsedDays = cfg.Lifecycle.AtRiskDays + rapid.IntRange(1, 60).Draw(t, "lapsed")
		cfg.Loyalty = enrich.Loyalty{WindowDays: rapid.IntRange(0, 40).Draw(t, "window"), Tiers: []enrich.Tier{{Name: "a", Spent: 20}, {Name: "b", Spent: 50}, {Name: "c", Spent: 50, PurchaseDays: 4}}}
		st, err := enrich.New(cfg, enrich.DefaultModels(), enrich.Asked{})
		if err != nil {
			t.Fatal(err)
		}
		c, p := &pipeline.Chain{Stages: []pipeline.Stage{st}}, profile.New("p1")
		at := start
		for i := range rapid.IntRange(1, 12).Draw(t, "orders") {
			at = at.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "hours")) * time.Hour)
			e := order(at, fmt.Sprint(rapid.IntRange(1, 30).Draw(t, "revenue")))
			if rapid.IntRange(0, 4).Draw(t, "refund") == 0 {
				e.Name = event.OrderRefunded
			}
			if _, err := c.Apply(p, &e, uint64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		// again is the standing of a copy at a later instant, without anything that happened between.
		again := func(at event.Instant) profile.Standing {
			q, err := profile.Decode(profile.Encode(p))
			if err != nil {
				t.Fatal(err)
			}
			q.Scores.Next, q.Standing.Until = 0, at // nothing owed before
			if _, err := c.Apply(q, &event.Event{Type: event.Wake, Accepted: at}, q.Applied+1); err != nil {
				t.Fatal(err)
			}
			return q.Standing
		}
		before := p.Standing
		if before.Until == 0 {
			if after := again(p.Now.Add(2000 * day)); after.Lifecycle != before.Lifecycle || after.Tier != before.Tier {
				t.Fatalf("%+v never changes, and is %+v years later", before, after)
			}
			return
		}
		if same := again(before.Until - 1); before.Until-1 > p.Now && same != before {
			t.Fatalf("%+v; a millisecond before its end %+v", before, same)
		}
		if after := again(before.Until); after.Lifecycle == before.Lifecycle && after.Tier == before.Tier {
			t.Fatalf("%+v; at its end %+v", before, after)
		}
	})
}

// What a merge leaves due is judged at the next step: scores and standing of both together.
func TestMergedProfilesAreJudgedAnew(t *testing.T) {
	st := configured(t, tiers(0))
	whole := apply(t, st, order(start, "60"), order(start.Add(day), "60"), order(start.Add(2*day), "60"))
	winner, loser := apply(t, st, order(start, "60"), order(start.Add(2*day), "60")), apply(t, st, order(start.Add(day), "60"))
	profile.Merge(winner, loser)
	wakeAt(t, st, winner, winner.Now)
	if winner.Scores.CLV != whole.Scores.CLV || winner.Standing != whole.Standing || winner.Standing.Tier != "gold" {
		t.Errorf("scores %+v and standing %+v, want %+v and %+v", winner.Scores, winner.Standing, whole.Scores, whole.Standing)
	}
}

func TestLifecycleAndTiersAreChecked(t *testing.T) {
	for want, change := range map[string]func(*enrich.Config){
		"lifecycle.new_days: 0: want 1 to 3650":              func(c *enrich.Config) { c.Lifecycle.NewDays = 0 },
		"lifecycle.at_risk_days: 4000":                       func(c *enrich.Config) { c.Lifecycle.AtRiskDays = 4000 },
		"lifecycle.lapsed_days: 90: want more than":          func(c *enrich.Config) { c.Lifecycle.LapsedDays = 90 },
		"loyalty.window_days: -1":                            func(c *enrich.Config) { c.Loyalty.WindowDays = -1 },
		`loyalty.tiers[0].name: "Gold Club": want`:           func(c *enrich.Config) { c.Loyalty.Tiers = []enrich.Tier{{Name: "Gold Club"}} },
		`loyalty.tiers[1].name: "a" stands there twice`:      func(c *enrich.Config) { c.Loyalty.Tiers = []enrich.Tier{{Name: "a"}, {Name: "a", Spent: 1}} },
		"loyalty.tiers[0].spent: -1":                         func(c *enrich.Config) { c.Loyalty.Tiers = []enrich.Tier{{Name: "a", Spent: -1}} },
		"loyalty.tiers[0].purchase_days: -1":                 func(c *enrich.Config) { c.Loyalty.Tiers = []enrich.Tier{{Name: "a", PurchaseDays: -1}} },
		`loyalty.tiers[1]: asks for no more than "a" before`: func(c *enrich.Config) { c.Loyalty.Tiers = []enrich.Tier{{Name: "a", Spent: 5}, {Name: "b", Spent: 4}} },
		"loyalty.tiers: has 21 lines":                        func(c *enrich.Config) { c.Loyalty.Tiers = make([]enrich.Tier, 21) },
	} {
		cfg := enrich.DefaultConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
