package clv

import (
	"math"
	"testing"
)

// The chances of at least n purchases are those of the other functions: of at least one, and summed up the mean and the
// mean of N(N-1).
func TestAtLeast(t *testing.T) {
	for _, counts := range []Counts{published, CDNOW().Counts, pareto, WithOwnRate{pareto, 0.3}, WithOwnRate{published, 1}} {
		within := 1e-9
		if counts.Name() == NameParetoNBD {
			within = 1e-3
		}
		for _, p := range []Purchases{{0, 0, 38.86, 0}, {2, 30.43, 38.86, 0}, {10, 38, 38.86, 0}, {40, 2, 60, 0}, {1, 0.1, 0.2, 0}} {
			for _, weeks := range []float64{0.5, 39} {
				var sum, pairs float64
				before := 1.0
				for n := 1.0; n < 4000; n++ {
					v := counts.AtLeast(p, weeks, n)
					if !(v >= 0 && v <= before*(1+1e-12)) {
						t.Fatalf("%T of %v: at least %v: %v, one less: %v", counts, p, n, v, before)
					}
					before = v
					sum, pairs = sum+v, pairs+2*(n-1)*v
					if v < 1e-13 {
						break
					}
				}
				for name, v := range map[string][2]float64{
					"any": {counts.AtLeast(p, weeks, 1), counts.Active(p, weeks)}, "mean": {sum, counts.Expected(p, weeks)}, "pairs": {pairs, counts.pairs(p, weeks)},
				} {
					if math.Abs(v[0]-v[1]) > within*(1+v[1]) {
						t.Errorf("%T %s of %v in %v weeks: %v, want %v", counts, name, p, weeks, v[0], v[1])
					}
				}
				m := Median(counts, p, weeks)
				if counts.AtLeast(p, weeks, m+1) > 0.5 || m > 0 && counts.AtLeast(p, weeks, m) <= 0.5 {
					t.Errorf("%T: %v is not the median of %v in %v weeks", counts, m, p, weeks)
				}
			}
		}
	}
}

// A share of the own rate lies between the model and the rate, is kept with the model, and none changes nothing.
func TestWithOwnRate(t *testing.T) {
	p, model := Purchases{10, 20, 40, 30}, CDNOW()
	half := model
	half.Counts = WithOwnRate{model.Counts, 0.5}
	if got, want := half.Counts.Expected(p, 8), (model.Counts.Expected(p, 8)+2)/2; relative(got, want) > 1e-12 {
		t.Errorf("half of 2 and the model: %v, want %v", got, want)
	}
	if got, want := half.Counts.Discounted(p, 8, 1e-9), half.Counts.Expected(p, 8); relative(got, want) > 1e-6 {
		t.Errorf("nearly without a discount: %v, want %v", got, want)
	}
	if half.Alive(p) != model.Alive(p) {
		t.Errorf("alive: %v, want %v", half.Alive(p), model.Alive(p))
	}
	data, err := half.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var read Model
	if err := read.UnmarshalJSON(data); err != nil || read != half {
		t.Errorf("%s: read %+v, want %+v: %v", data, read, half, err)
	}
	half.CountsError[0][0] = 0.01
	if e := half.Outlook(p, 8).Purchases; !(e.StdError > 0 && e.StdError < 2) || math.Abs(e.Mean-half.Counts.Expected(p, 8)) > 1e-12 {
		t.Errorf("the outlook is %+v", e)
	}
	half.Counts = WithOwnRate{model.Counts, 1.5}
	if err := half.Validate(); err == nil {
		t.Error("a share of 1.5: no error")
	}
}
