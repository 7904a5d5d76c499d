package drift_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"attune/stages/enrich/drift"
)

func normals(r *rand.Rand, n int, mean, deviation float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = mean + deviation*r.NormFloat64()
	}
	return out
}

func TestPSI(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	reference := drift.NewReference("x", normals(r, 10_000, 0, 1))
	if err := reference.Validate(); err != nil || len(reference.Cuts) != drift.Bins-1 {
		t.Fatalf("%+v: %v", reference, err)
	}
	for _, c := range []struct {
		name     string
		values   []float64
		from, to float64
		alarm    bool
	}{
		{"the same", normals(r, 5000, 0, 1), 0, 0.01, false},
		{"a little further", normals(r, 5000, 0.3, 1), 0.06, 0.12, false},
		{"further", normals(r, 5000, 1, 1), 0.7, 1.3, true},
		{"wider", normals(r, 5000, 0, 2), 0.3, 0.8, true},
		{"further, of few", normals(r, 30, 1, 1), 0.2, 3, false},
		{"missing", append(normals(r, 2500, 0, 1), missing(2500)...), 2, 6, true},
		{"none at all", nil, 0, 0, false},
	} {
		if f := reference.PSI(c.values); f.Value < c.from || f.Value > c.to || f.Alarm != c.alarm || f.Values != len(c.values) {
			t.Errorf("%s: got %+v, want %v to %v, alarm %v", c.name, f, c.from, c.to, c.alarm)
		}
	}
}

func missing(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// By hand, of two bins of equal size then and of a quarter and three quarters now; the halves hardly count.
func TestPSIByHand(t *testing.T) {
	then, now := make([]float64, 100_000), make([]float64, 100_000)
	for i := range then {
		then[i], now[i] = float64(i%2), min(float64(i%4), 1)
	}
	want := 0.25*math.Log(1.5) - 0.25*math.Log(0.5)
	if f := drift.NewReference("x", then).PSI(now); math.Abs(f.Value-want) > 1e-4 {
		t.Errorf("got %v, want %v", f.Value, want)
	}
}

// Whatever the values: shares sum up, the index is finite and not below zero, and what has not changed is no alarm.
func TestPSILaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOf(rapid.OneOf(rapid.Float64(), rapid.Just(0.0), rapid.Just(math.NaN()), rapid.Just(math.Inf(1)))).Draw(t, "then")
		other := rapid.SliceOf(rapid.OneOf(rapid.Float64(), rapid.Just(0.0), rapid.Just(math.NaN()))).Draw(t, "now")
		reference := drift.NewReference("x", values)
		if err := reference.Validate(); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, n := range reference.Counts {
			sum += n
		}
		f, same := reference.PSI(other), reference.PSI(values)
		if sum != float64(len(values)) || !(f.Value >= 0) || math.IsInf(f.Value, 0) || same.Value > 1e-12 || same.Alarm {
			t.Errorf("%+v: %+v, of itself %+v", reference, f, same)
		}
	})
}

// Whether nothing changes, and with which delay a change of the mean is told, in either direction.
func TestPageHinkley(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := drift.NewPageHinkley()
		for i, x := range normals(r, 20_000, 0.4, 0.5) {
			if p.Add(x) {
				t.Errorf("seed %d: an alarm at the value %d, though nothing changed: %+v", seed, i, p.Finding())
				break
			}
		}
		for _, shift := range []float64{0.2, -0.2} {
			p := drift.NewPageHinkley()
			for _, x := range normals(r, 3000, 0.4, 0.5) {
				p.Add(x)
			}
			delay := 0
			for _, x := range normals(r, 2000, 0.4+shift, 0.5) {
				if delay++; p.Add(x) {
					break
				}
			}
			if f := p.Finding(); !f.Alarm || f.Value*shift < 0 || delay > 600 {
				t.Errorf("seed %d: a shift of %v: %+v after %d values", seed, shift, f, delay)
			}
		}
	}
}

func TestPageHinkleyOfConstants(t *testing.T) {
	p := drift.NewPageHinkley()
	for range 1000 {
		if p.Add(1) || p.Add(math.NaN()) {
			t.Fatalf("always the same: %+v", p.Finding())
		}
	}
	if !p.Add(1.5) {
		t.Errorf("never anything but 1, then 1.5: %+v", p.Finding())
	}
}

func TestVolume(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	shop := func(today float64) []float64 {
		days := make([]float64, drift.VolumeDays)
		for i := range days {
			days[i] = math.Round(1000 + 30*r.NormFloat64())
			if i%7 == 0 || i%7 == 1 { // the weekend, today included
				days[i] /= 3
			}
		}
		days[0] = today
		return days
	}
	few := make([]float64, drift.VolumeDays)
	wild := make([]float64, drift.VolumeDays)
	for i := range few {
		few[i], wild[i] = float64(i%3), math.Exp(5+2*r.NormFloat64())
	}
	wild[0] = 900
	none := make([]float64, drift.VolumeDays)
	none[0] = 500
	for _, c := range []struct {
		name  string
		days  []float64
		alarm bool
	}{
		{"a weekend as usual", shop(330), false},
		{"a weekend like a weekday", shop(1000), true},
		{"nothing", shop(0), true},
		{"two thirds", shop(220), false},
		{"too short a time", shop(0)[:20], false},
		{"few, anyhow", few, false},
		{"wild, anyhow", wild, false},
		{"for the first time", none, true},
	} {
		if f := drift.Volume(c.days); f.Alarm != c.alarm || math.IsNaN(f.Value) {
			t.Errorf("%s: got %+v, want alarm %v", c.name, f, c.alarm)
		}
	}
}

func TestNullRate(t *testing.T) {
	for _, c := range []struct {
		missing, values, missingBefore, before float64
		value                                  float64
		alarm                                  bool
	}{
		{10, 1000, 300, 30_000, 0, false},
		{200, 1000, 300, 30_000, 0.19, true},
		{0, 1000, 15_000, 30_000, -0.5, true},
		{40, 1000, 300, 30_000, 0.03, false}, // beyond chance, and nothing to wake somebody for
		{3, 10, 300, 30_000, 0.29, false},    // of too few
		{0, 0, 300, 30_000, 0, false},
		{5, 10, 0, 0, 0, false},
	} {
		if f := drift.NullRate(c.missing, c.values, c.missingBefore, c.before); math.Abs(f.Value-c.value) > 1e-9 || f.Alarm != c.alarm {
			t.Errorf("%+v: got %+v", c, f)
		}
	}
}

// Probabilities that are right raise no alarm, however few there are; wrong ones do, if there are enough of them.
func TestCalibration(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	judge := func(n int, shift, before float64) drift.Finding {
		probabilities, happened := make([]float64, n), make([]bool, n)
		for i := range n {
			probabilities[i] = r.Float64() * 0.6
			happened[i] = r.Float64() < probabilities[i]+shift
		}
		return drift.Calibration(probabilities, happened, before)
	}
	for n := 1; n < 3000; n += 10 {
		if f := judge(n, 0, 0); f.Alarm || f.Values != n || f.Value > 1 {
			t.Fatalf("%d right ones: %+v", n, f)
		}
	}
	for _, c := range []struct {
		n             int
		shift, before float64
		alarm         bool
	}{{2000, 0.2, 0, true}, {2000, 0.2, 0.2, false}, {2000, 0.03, 0, false}, {90, 0.4, 0, false}} {
		if f := judge(c.n, c.shift, c.before); f.Alarm != c.alarm {
			t.Errorf("%+v: %+v", c, f)
		}
	}
	// Bins 3 (0.2 to 0.267) and 13 (0.867 to 0.933) by hand.
	f := drift.Calibration([]float64{0.2, 0.25, 0.9, 0.9}, []bool{false, true, true, true}, 0.01)
	v := []float64{0.2*0.8 + 0.25*0.75, 2 * 0.9 * 0.1}
	threshold := 0.01 + (math.Sqrt(2*v[0]/math.Pi)+math.Sqrt(2*v[1]/math.Pi)+3.719016485455709*math.Sqrt((v[0]+v[1])*(1-2/math.Pi)))/4
	if math.Abs(f.Value-(0.55+0.2)/4) > 1e-12 || math.Abs(f.Threshold-threshold) > 1e-12 {
		t.Errorf("by hand: %+v, want the threshold %v", f, threshold)
	}
	if f := drift.Calibration([]float64{0, 1, 1}, []bool{false, true, true}, 0); f.Value != 0 || f.Threshold != 0.05 {
		t.Errorf("certain ones: %+v", f)
	}
	if f := drift.Calibration(nil, nil, 0.2); f.Value != 0 || f.Alarm {
		t.Errorf("none: %+v", f)
	}
}
