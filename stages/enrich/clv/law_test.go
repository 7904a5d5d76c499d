package clv

import (
	"math"
	"runtime"
	"testing"

	"pgregory.net/rapid"
)

func TestElementary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(-690, 690).Draw(t, "x")
		if got, want := exp(x), math.Exp(x); relative(got, want) > 4e-16*(1+math.Abs(x)/100) {
			t.Errorf("exp(%v): got %v, want %v", x, got, want)
		}
		small := rapid.Float64Range(-1, 1).Draw(t, "small")
		if got, want := expm1(small), math.Expm1(small); math.Abs(got-want) > 8e-16*math.Abs(want) {
			t.Errorf("expm1(%v): got %v, want %v", small, got, want)
		}
		y := rapid.Float64Range(1e-300, 1e300).Draw(t, "y")
		if got, want := log(y), math.Log(y); math.Abs(got-want) > 4e-16*math.Abs(want) {
			t.Errorf("log(%v): got %v, want %v", y, got, want)
		}
		near := 1 + small/2
		if got, want := log(near), math.Log(near); math.Abs(got-want) > 6e-16*math.Abs(want) {
			t.Errorf("log(%v): got %v, want %v", near, got, want)
		}
		z := math.Exp(rapid.Float64Range(-45, 45).Draw(t, "ln z"))
		if got, want := log1p(z), math.Log1p(z); math.Abs(got-want) > 6e-16*math.Abs(want) {
			t.Errorf("log1p(%v): got %v, want %v", z, got, want)
		}
	})
	if exp(0) != 1 || log(1) != 0 || log1p(0) != 0 || expm1(0) != 0 {
		t.Error("not exact at the origin")
	}
}

// hyper is the mean of (1-(1+pu)^-k)/p over Beta(a, b): the Euler integral of the 2F1 that the models are written
// with. It shares nothing with the code under test: math's functions and the double-exponential rule.
func hyper(k, scale, a, b, t float64) float64 {
	u := t / scale
	const h = 1.0 / 64
	var num, den float64
	top := a*math.Log(a/(a+b)) + b*math.Log(b/(a+b))
	for i := -64 * 8; i <= 64*8; i++ {
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
						f := BGNBD{R: r, Alpha: 4.414, A: a, B: b}.conditional(Purchases{Repeats: x, AgeWeeks: c.age})
						got, want := f.expected(c.t), hyper(f.k, f.scale, f.a, f.b, c.t)
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
		counts := BGNBD{draw("r"), draw("alpha"), draw("a"), draw("b")}
		m := Model{counts, GammaGamma{draw("p"), draw("q"), draw("v")}, draw("margin"), draw("discount")}
		p := Purchases{draw("x"), draw("t_x"), draw("T"), draw("zbar")}
		weeks := draw("weeks")
		for name, v := range map[string]float64{
			"Value": m.Value(p, weeks), "Expected": m.Expected(p, weeks), "Spend": m.GammaGamma.Spend(p),
			"MBG Expected": MBGNBD(counts).Expected(p, weeks),
		} {
			if !(v >= 0) || math.IsInf(v, 0) {
				t.Errorf("%s is %v", name, v)
			}
		}
		for name, v := range map[string]float64{
			"Alive": m.Alive(p), "Active": counts.Active(p, weeks),
			"MBG Alive": MBGNBD(counts).Alive(p), "MBG Active": MBGNBD(counts).Active(p, weeks),
		} {
			if !(v >= 0 && v <= 1) {
				t.Errorf("%s is %v", name, v)
			}
		}
	})
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
		f := m.bounded().conditional(p.bounded())
		// The quadrature's own digits: it was seen to lose up to 1.1e-8 where a and b are above 1,000.
		if got, want := f.expected(weeks), hyper(f.k, f.scale, f.a, f.b, weeks); !(relative(got, want) < 1e-7) {
			t.Errorf("expected(%v) of %+v: got %v, want %v (%.1e)", weeks, f, got, want, relative(got, want))
		}
	})
}

// The bits of a spread of results, summed up: the same on every platform.
func TestSameBitsEverywhere(t *testing.T) {
	var h uint64 = 14695981039346656037
	mix := func(v float64) { h = (h ^ math.Float64bits(v)) * 1099511628211 }
	m, modified := CDNOW(), CDNOWModified()
	for _, d := range []float64{0, 0.0027} {
		m.Discount = d
		for x := 0.0; x < 40; x += 3 {
			for age := 0.25; age < 300; age *= 1.7 {
				for share := 0.0; share <= 1; share += 0.25 {
					p := Purchases{x, age * share, age, 7.77 + x}
					for _, weeks := range []float64{0.5, 4, 52, 5000} {
						mix(m.Value(p, weeks))
						mix(m.Alive(p))
						mix(modified.Expected(p, weeks))
						mix(modified.Active(p, weeks))
					}
				}
			}
		}
	}
	const want = 0x1c356e04c8c1eba3
	if h != want {
		t.Errorf("on %s: got %#x, want %#x", runtime.GOARCH, h, uint64(want))
	}
}
