package enrich_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich"
	"attune/stages/enrich/propensity"
)

// histories are made-up customers' events: who looks at products in the morning of a day buys within it more often.
func histories(customers int, seed uint64) [][]event.Event {
	r := rand.New(rand.NewPCG(seed, 5))
	all := make([][]event.Event, customers)
	for c := range all {
		keen := r.Float64()
		for d := r.IntN(20); d < 120; d += 1 + r.IntN(9) {
			at := start.Add(time.Duration(d)*day + time.Duration(r.IntN(36_000_000))*time.Millisecond)
			add := func(name, properties string) {
				e := track(name, at, properties)
				e.Profile = fmt.Sprintf("p%03d", c)
				all[c] = append(all[c], e)
				at = at.Add(time.Duration(1+r.IntN(3_600_000)) * time.Millisecond)
			}
			add("Product Viewed", fmt.Sprintf(`{"product_id":"i%d","category":"c%d","price":%d}`, r.IntN(30), r.IntN(4), 5+r.IntN(60)))
			if r.Float64() < keen {
				add("Product Added", `{"product_id":"a","category":"c1","price":9.5,"quantity":2}`)
				if r.Float64() < keen {
					add("Order Completed", fmt.Sprintf(`{"revenue":%d.25,"coupon":"","products":[{"product_id":"a","category":"c1","price":9.5}]}`, 10+r.IntN(50)))
				}
			}
		}
	}
	return all
}

func gathered(t testing.TB, all [][]event.Event, of []enrich.Propensity, end event.Instant, share float64) *enrich.Examples {
	t.Helper()
	x, err := enrich.NewExamples(of, end, share)
	if err != nil {
		t.Fatal(err)
	}
	for _, events := range all {
		for i := range events {
			x.Take(&events[i])
		}
	}
	return x
}

// A model scores a customer who is served as it scores the row that training had of the same moment, and the labels are
// what came after.
func TestTrainingSeesWhatServingScores(t *testing.T) {
	all := histories(120, 1)
	of := []enrich.Propensity{{Name: "purchase", Event: "Order Completed", Within: 7 * day}, {Name: "add", Event: "Product Added", Within: 3 * day}}
	end := start.Add(121 * day)
	x := gathered(t, all, of, end, 1)
	cfg, models := enrich.DefaultConfig(), enrich.DefaultModels()
	cfg.Propensities = of
	matured := make([][]propensity.Matured, len(of))
	for i, p := range of {
		matured[i] = x.Matured(i)
		trained, err := enrich.TrainPropensity(p, matured[i])
		if err != nil {
			t.Fatal(err)
		}
		models.Propensities = append(models.Propensities, trained.Model)
		if c := trained.Card; !(c.Holdout.LogLoss < c.Constant.LogLoss && c.Holdout.Rows > 100 && c.Examples == len(matured[i]) && c.HoldoutSince > c.First) {
			t.Errorf("%s: the card is %+v", p.Name, c)
		}
	}
	st, err := enrich.New(cfg, models, enrich.Asked{})
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]map[event.Instant]profile.Propensities{}
	for _, events := range all {
		p := profile.New(events[0].Profile)
		c := &pipeline.Chain{Stages: []pipeline.Stage{st}}
		served[p.ID] = map[event.Instant]profile.Propensities{}
		for i := range events {
			if _, err := c.Apply(p, &events[i], uint64(i+1)); err != nil {
				t.Fatal(err)
			}
			served[p.ID][p.Now] = p.Propensities
		}
	}
	compared := 0
	for i, p := range of {
		for _, m := range matured[i] {
			at, isEvent := served[m.Customer][m.At]
			if !isEvent {
				continue
			}
			compared++
			j := slices.IndexFunc(at.Scores, func(s profile.Propensity) bool { return s.Name == p.Name })
			score := models.Propensities[i].Score(m.Row)
			want := profile.Propensity{Name: p.Name, Value: round4(score.Probability), Confidence: round4(score.Confidence)}
			if diff := cmp.Diff(want, at.Scores[j]); diff != "" {
				t.Fatalf("%s of %s at %s (-trained +served):\n%s", p.Name, m.Customer, m.At, diff)
			}
			if got := happens(all, m.Customer, p, m.At); got != m.Label {
				t.Fatalf("%s of %s at %s: label %v, want %v", p.Name, m.Customer, m.At, m.Label, got)
			}
			if m.At.Add(p.Within) > end {
				t.Fatalf("%s of %s at %s has not matured", p.Name, m.Customer, m.At)
			}
		}
	}
	if compared < 2000 {
		t.Errorf("only %d moments were compared", compared)
	}
}

func happens(all [][]event.Event, customer string, p enrich.Propensity, at event.Instant) bool {
	for _, events := range all {
		for _, e := range events {
			if e.Profile == customer && e.Name == p.Event && e.Occurred > at && e.Occurred <= at.Add(p.Within) {
				return true
			}
		}
	}
	return false
}

func round4(v float64) float64 { return float64(int64(v*1e4+0.5)) / 1e4 }

// After an event moments of silence follow, each twice as far as the one before, until the next event; a share of them is
// a part of all.
func TestMomentsOfACustomer(t *testing.T) {
	of := []enrich.Propensity{{Name: "purchase", Event: "Order Completed", Within: day}}
	events := [][]event.Event{{track("Product Viewed", start, `{}`), order(start.Add(5*day), "1"), order(start.Add(5*day), "2")}}
	var got []string
	for _, m := range gathered(t, events, of, start.Add(40*day), 1).Matured(0) {
		got = append(got, fmt.Sprint(int64(m.At-start)/3_600_000, m.Label))
	}
	want := "0 false,24 false,48 false,96 true,120 false,144 false,168 false,216 false,312 false,504 false,888 false"
	if strings.Join(got, ",") != want {
		t.Errorf("moments in hours\n got %s\nwant %s", strings.Join(got, ","), want)
	}
	all := histories(60, 2)
	whole := gathered(t, all, of, start.Add(121*day), 1).Matured(0)
	part := gathered(t, all, of, start.Add(121*day), 0.25).Matured(0)
	if share := float64(len(part)) / float64(len(whole)); share < 0.2 || share > 0.3 {
		t.Errorf("a quarter is %v of %d", share, len(whole))
	}
}

// Recent are those who did something in the last 28 days, as they were at their latest event; From leaves the moments before
// it out of the examples, and nobody out of the recent ones.
func TestRecentCustomers(t *testing.T) {
	of := []enrich.Propensity{{Name: "purchase", Event: "Order Completed", Within: day}}
	all := histories(80, 4)
	end := start.Add(121 * day)
	x, err := enrich.NewExamples(of, end, 1)
	if err != nil {
		t.Fatal(err)
	}
	x.From(start.Add(100 * day))
	latest := map[string]event.Instant{}
	for _, events := range all {
		for i := range events {
			x.Take(&events[i])
			if at := events[i].Occurred; at <= end && at > end.Add(-28*day) {
				latest[events[i].Profile] = max(latest[events[i].Profile], at)
			}
		}
	}
	whole := gathered(t, all, of, end, 1)
	rows := map[string]propensity.Row{}
	for _, m := range whole.Matured(0) {
		rows[fmt.Sprint(m.Customer, m.At)] = m.Row
	}
	got, compared := map[string]event.Instant{}, 0
	for _, m := range x.Recent(0) {
		got[m.Customer] = m.At
		if row := rows[fmt.Sprint(m.Customer, m.At)]; row != nil {
			compared++
			if diff := cmp.Diff(fmt.Sprint(row), fmt.Sprint(m.Row)); diff != "" {
				t.Errorf("%s (-example +recent): %s", m.Customer, diff)
			}
		}
	}
	if diff := cmp.Diff(latest, got); diff != "" || compared < 50 {
		t.Errorf("%d compared; latest events (-want +got): %s", compared, diff)
	}
	late := 0
	for _, m := range whole.Matured(0) {
		if m.At >= start.Add(100*day) {
			late++
		}
	}
	if n := len(x.Matured(0)); n != late || n == 0 {
		t.Errorf("from the hundredth day on there are %d examples, want %d", n, late)
	}
}

// Of many customers a bounded part is kept, whichever their ids are.
func TestRecentCustomersAreBounded(t *testing.T) {
	x, err := enrich.NewExamples([]enrich.Propensity{{Name: "purchase", Event: "Order Completed", Within: day}}, start.Add(day), 0.001)
	if err != nil {
		t.Fatal(err)
	}
	const customers = 50_000
	for c := range customers {
		e := track("Product Viewed", start, `{}`)
		e.Profile = fmt.Sprintf("p%05d", c)
		x.Take(&e)
	}
	late := 0
	recent := x.Recent(0)
	for _, m := range recent {
		if m.Customer >= fmt.Sprintf("p%05d", customers/2) {
			late++
		}
	}
	if n := len(recent); n < 10_000 || n > 20_000 || late < n*45/100 || late > n*55/100 {
		t.Errorf("%d customers are kept, %d of the second half", n, late)
	}
}

func TestTooLittleToLearnFrom(t *testing.T) {
	of := enrich.Propensity{Name: "purchase", Event: "Order Completed", Within: 30 * day}
	for name, matured := range map[string][]propensity.Matured{
		"nothing":         nil,
		"a short while":   gathered(t, histories(30, 3), []enrich.Propensity{of}, start.Add(35*day), 1).Matured(0),
		"nobody ever did": gathered(t, histories(30, 3), []enrich.Propensity{{Name: "x", Event: "Never", Within: day}}, start.Add(121*day), 1).Matured(0),
	} {
		if _, err := enrich.TrainPropensity(of, matured); err == nil || !strings.Contains(err.Error(), "too little") && !strings.Contains(err.Error(), "too few") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
