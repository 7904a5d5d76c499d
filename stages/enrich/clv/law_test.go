package clv

import (
	"math"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

// euler is the mean of (1-(1+pu)^-k)/p over Beta(a, b): the Euler integral of the 2F1 that the models are written
// with. It shares nothing with the code under test: math's functions and the double-exponential rule.
func euler(k, scale, a, b, t float64) float64 {
	u := t / scale
	const perUnit = 256 // the peak is narrow where a and b are large
	const h = 1.0 / perUnit
	var num, den float64
	top := a*math.Log(a/(a+b)) + b*math.Log(b/(a+b))
	for i := -perUnit * 8; i <= perUnit*8; i++ {
		s := float64(i) * h
		y := math.Pi / 2 * math.Sinh(s)
		lp, lq := -math.Log1p(math.Exp(-2*y)), -math.Log1p(math.Exp(2*y))
		if y < -300 {
			lp = 2 * y
		}
		if y > 300 {
			lq = -2 * y
		}
		w := math.Cosh(s) * math.Exp(a*lp+b*lq-top)
		p := math.Exp(lp)
		g := k * u
		if p > 1e-290 {
			g = -math.Expm1(-k*math.Log1p(p*u)) / p
		}
		num += w * g
		den += w
	}
	return num / den
}

// The series, its fallback and an independent quadrature agree, also at a = 1, for many purchases and long horizons.
func TestExpectedAgainstQuadrature(t *testing.T) {
	worst := 0.0
	for _, a := range []float64{0.1, 0.793, 1 - 1e-9, 1, 1 + 1e-9, 1.5, 2, 5, 40} {
		for _, b := range []float64{0.3, 2.426, 30} {
			for _, r := range []float64{0.243, 1, 12.5} {
				for _, x := range []float64{0, 1, 26, 1000} {
					for _, c := range []struct{ age, t float64 }{{0, 52}, {38.86, 39}, {38.86, 0.1}, {5, 1e4}} {
						f := BGNBD{R: r, Alpha: 4.414, A: a, B: b}.future(Purchases{Repeats: x, AgeWeeks: c.age})
						got, want := f.expected(c.t), euler(f.k, f.scale, f.a, f.b, c.t)
						d := relative(got, want)
						worst = max(worst, d)
						if !(d < 1e-10) {
							t.Errorf("expected(%v) of %+v: got %v, want %v (%.1e)", c.t, f, got, want, d)
						}
						if alone := f.integral(c.t); !(relative(alone, want) < 1e-10) {
							t.Errorf("integral(%v) of %+v: got %v, want %v", c.t, f, alone, want)
						}
					}
				}
			}
		}
	}
	t.Logf("largest relative difference %.1e", worst)
}

var anyFloat = rapid.Custom(func(t *rapid.T) float64 {
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]float64{
			0, 1, -1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 1e-4, 1e5,
		}).Draw(t, "special")
	case 1:
		return rapid.Float64().Draw(t, "any")
	default:
		return math.Exp(rapid.Float64Range(-10, 14).Draw(t, "log"))
	}
})

// No input, not even NaN or an infinity, gives NaN, an infinity, a probability outside [0, 1] or a negative amount.
func TestAlwaysFinite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) float64 { return anyFloat.Draw(t, name) }
		v := [4]float64{draw("1"), draw("2"), draw("3"), draw("4")}
		p := Purchases{draw("x"), draw("t_x"), draw("T"), draw("zbar")}
		weeks, rate := draw("weeks"), draw("rate")
		for _, name := range []string{NameBGNBD, NameMBGNBD, NameParetoNBD} {
			counts, err := NewCounts(name, v)
			if err != nil {
				t.Fatal(err)
			}
			m := Model{Counts: counts, Spend: GammaGamma{draw("p"), draw("q"), draw("v")}, Margin: draw("margin"), Discount: draw("discount")}
			for i := range m.CountsError {
				m.CountsError[i][i] = 1
			}
			own, n := WithOwnRate{counts, draw("share")}, draw("n")
			amounts := map[string]float64{
				"own Expected": own.Expected(p, weeks), "own Discounted": own.Discounted(p, weeks, rate), "own pairs": own.pairs(p, weeks),
				"Value": m.Value(p, weeks), "Expected": counts.Expected(p, weeks), "Spend": m.Spend.Spend(p),
				"Discounted": counts.Discounted(p, weeks, rate), "pairs": counts.pairs(p, weeks),
			}
			o := m.Outlook(p, weeks)
			for part, e := range map[string]Estimate{"Outlook.Alive": o.Alive, "Outlook.Purchases": o.Purchases, "Outlook.Value": o.Value} {
				amounts[part+".Mean"], amounts[part+".StdError"], amounts[part+".Spread"] = e.Mean, e.StdError, e.Spread
			}
			for part, v := range amounts {
				if !(v >= 0) || math.IsInf(v, 0) {
					t.Errorf("%s: %s is %v", name, part, v)
				}
			}
			for part, v := range map[string]float64{
				"Alive": m.Alive(p), "Active": counts.Active(p, weeks), "AtLeast": counts.AtLeast(p, weeks, n),
				"own Active": own.Active(p, weeks), "own AtLeast": own.AtLeast(p, weeks, n),
			} {
				if !(v >= 0 && v <= 1) {
					t.Errorf("%s: %s is %v", name, part, v)
				}
			}
		}
	})
}

// Here the factor of the series' sum is below the smallest number.
func TestExpectedWhereTheSeriesOverflows(t *testing.T) {
	f := BGNBD{R: 2.718281828459045, Alpha: 0.6065306597126334, A: 624.8427387029609, B: 2.718281828459045}.future(at(5, .015625, .015625))
	if got, want := f.expected(1.3125), euler(f.k, f.scale, f.a, f.b, 1.3125); !(relative(got, want) < 1e-10) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Within the ranges: the expectation grows with the horizon, is at least the chance of one purchase, and is near the
// independent quadrature.
func TestExpectedLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		param := rapid.Custom(func(t *rapid.T) float64 { return math.Exp(rapid.Float64Range(-4.6, 7).Draw(t, "ln")) })
		m := BGNBD{param.Draw(t, "r"), param.Draw(t, "alpha"), param.Draw(t, "a"), param.Draw(t, "b")}
		age := rapid.Float64Range(0, 500).Draw(t, "T")
		p := Purchases{Repeats: float64(rapid.IntRange(0, 300).Draw(t, "x")), LastWeek: age * rapid.Float64Range(0, 1).Draw(t, "share"), AgeWeeks: age}
		weeks := rapid.Float64Range(0.01, 1000).Draw(t, "weeks")
		n, longer, any := m.Expected(p, weeks), m.Expected(p, weeks*1.5), m.Active(p, weeks)
		if longer < n*(1-1e-10) {
			t.Errorf("%v in %v weeks, %v in %v", n, weeks, longer, weeks*1.5)
		}
		if n < any*(1-1e-10) {
			t.Errorf("expected %v, but any %v", n, any)
		}
		f := m.bounded().future(p.bounded())
		if got, want := f.expected(weeks), euler(f.k, f.scale, f.a, f.b, weeks); !(relative(got, want) < 1e-10) {
			t.Errorf("expected(%v) of %+v: got %v, want %v (%.1e)", weeks, f, got, want, relative(got, want))
		}
	})
}

// The bits of a spread of results, summed up: the same on every platform.
func TestSameBitsEverywhere(t *testing.T) {
	var h uint64 = 14695981039346656037
	mix := func(v float64) { h = (h ^ math.Float64bits(v)) * 1099511628211 }
	for _, counts := range []Counts{CDNOW().Counts, published, pareto} {
		m := CDNOW()
		m.Counts = counts
		for _, d := range []float64{0, 0.0027} {
			m.Discount = d
			for x := 0.0; x < 40; x += 3 {
				for age := 0.25; age < 300; age *= 1.7 {
					for share := 0.0; share <= 1; share += 0.25 {
						p := Purchases{x, age * share, age, 7.77 + x}
						for _, weeks := range []float64{0.5, 4, 52, 5000} {
							mix(m.Value(p, weeks))
							mix(m.Alive(p))
							mix(counts.Active(p, weeks))
						}
					}
				}
			}
		}
	}
	const want = 0x7cf04cc296e0689e
	if h != want {
		t.Errorf("on %s: got %#x, want %#x", runtime.GOARCH, h, uint64(want))
	}
}
