package propensity_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"attune/pipeline/event"
	"attune/stages/enrich/propensity"
)

func TestMaturing(t *testing.T) {
	m := propensity.NewMaturing(100)
	row := propensity.Row{propensity.Number(1)}
	m.Observe("a", 10, row)
	m.Observe("a", 50, row)
	m.Observe("b", 20, row)
	row[0] = propensity.Number(2) // the caller may use its row again
	if got := m.Happened("a", 50); len(got) != 1 || got[0].At != 10 || !got[0].Label || got[0].Row[0] != propensity.Number(1) {
		t.Errorf("at the event: %+v", got)
	}
	if got := m.Happened("c", 50); len(got) != 0 {
		t.Errorf("of someone else: %+v", got)
	}
	if got := m.Until(119); len(got) != 0 {
		t.Errorf("too early: %+v", got)
	}
	if got := m.Until(120); len(got) != 1 || got[0].Customer != "b" || got[0].Label {
		t.Errorf("at the end of the horizon: %+v", got)
	}
	if got := m.Happened("a", 151); len(got) != 0 { // too late for the row of 50
		t.Errorf("after the horizon: %+v", got)
	}
	if got := m.Until(1000); len(got) != 1 || got[0].At != 50 || m.Waiting() != 0 {
		t.Errorf("at last: %+v, %d waiting", got, m.Waiting())
	}
}

// Whatever comes when, each row matures once, and with the label that the whole history gives.
func TestMaturingEqualsTheWholeHistory(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		m := propensity.NewMaturing(30)
		observed, happened := map[string][]event.Instant{}, map[string][]event.Instant{}
		got := map[string]bool{}
		take := func(matured []propensity.Matured) {
			for _, x := range matured {
				key := fmt.Sprint(x.Customer, x.At)
				if _, twice := got[key]; twice {
					t.Fatalf("%s matured twice", key)
				}
				got[key] = x.Label
			}
		}
		for now := event.Instant(1); now < 200; now++ {
			who := fmt.Sprint(r.IntN(3))
			switch r.IntN(12) {
			case 0:
				take(m.Happened(who, now))
				happened[who] = append(happened[who], now)
			case 1:
				m.Observe(who, now, propensity.Row{})
				observed[who] = append(observed[who], now)
			case 2:
				take(m.Until(now))
			}
		}
		take(m.Until(1000))
		for who, moments := range observed {
			for _, at := range moments {
				want := false
				for _, h := range happened[who] {
					want = want || h > at && h <= at+30
				}
				if label, ok := got[fmt.Sprint(who, at)]; !ok || label != want {
					t.Fatalf("%s at %d: matured %v as %v, want %v", who, at, ok, label, want)
				}
			}
		}
	}
}
