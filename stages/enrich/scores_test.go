package enrich_test

import (
	"math"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
	"attune/stages/enrich/clv"
)

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
