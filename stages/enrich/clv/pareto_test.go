package clv

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// oddsGone is the integral by the double-exponential rule in t_x + (T-t_x) w: it shares nothing with the code under test.
func oddsGone(m ParetoNBD, p Purchases) (ln float64) {
	span := p.AgeWeeks - p.LastWeek
	const h = 1.0 / 256
	h0 := math.Inf(-1) // the largest logarithm, to scale by
	var logs [1 + 2*256*5]float64
	for i := range logs {
		s := float64(i-256*5) * h
		q := math.Pi / 2 * math.Sinh(s)
		w := 1 / (1 + math.Exp(-2*q))
		// y - t_x = span*w without a loss where w is near 0
		y := span * w
		left := span / (1 + math.Exp(2*q)) // T - y
		dw := math.Log(math.Cosh(s)) - 2*math.Log(math.Cosh(q))
		if math.Abs(q) > 300 {
			dw = math.Log(math.Cosh(s)) - 2*(math.Abs(q)-math.Ln2)
		}
		a, b := m.Alpha+p.LastWeek+y, m.Beta+p.LastWeek+y
		logs[i] = math.Log(m.S) - math.Log(b) + (m.R+p.Repeats)*math.Log1p(left/a) + m.S*math.Log1p(left/b) + dw
		h0 = max(h0, logs[i])
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - h0)
	}
	return h0 + math.Log(sum*h*span*math.Pi/4)
}

// The hypergeometric series, the integral and an independent quadrature agree.
func TestOddsGoneAgainstQuadrature(t *testing.T) {
	worst := 0.0
	for _, alpha := range []float64{0.05, 1, 10.578, 11.67, 300} {
		for _, beta := range []float64{0.05, 1, 11.67, 300} {
			for _, r := range []float64{0.1, 0.553, 1, 12.5} {
				for _, s := range []float64{0.05, 0.606, 1, 9} {
					for _, p := range []Purchases{at(0, 0, 38.86), at(2, 30.43, 38.86), at(26, 30.86, 31), at(7, 1, 77), at(100, 90, 100)} {
						m := ParetoNBD{R: r, Alpha: alpha, S: s, Beta: beta}
						want := oddsGone(m, p)
						for way, got := range map[string]float64{"chosen": m.logOddsGone(p), "integral": m.oddsFromIntegral(p)} {
							d := math.Abs(got - want) // of a logarithm: relative of the odds
							worst = max(worst, d)
							if !(d < 1e-10) {
								t.Errorf("%s: odds of %+v, %v: got %v, want %v (%.1e)", way, m, p, got, want, d)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("largest relative difference %.1e", worst)
}

// Within the ranges: more silence makes leaving likelier, the expectation grows with the horizon, is at least the chance
// of one purchase and at most what nobody who stays would exceed.
func TestParetoNBDLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		param := rapid.Custom(func(t *rapid.T) float64 { return math.Exp(rapid.Float64Range(-4.6, 7).Draw(t, "ln")) })
		m := ParetoNBD{param.Draw(t, "r"), param.Draw(t, "alpha"), param.Draw(t, "s"), param.Draw(t, "beta")}
		age := rapid.Float64Range(0, 500).Draw(t, "T")
		p := Purchases{Repeats: float64(rapid.IntRange(0, 300).Draw(t, "x")), LastWeek: age * rapid.Float64Range(0, 1).Draw(t, "share"), AgeWeeks: age}
		weeks := rapid.Float64Range(0.01, 1000).Draw(t, "weeks")
		n, longer, any := m.Expected(p, weeks), m.Expected(p, weeks*1.5), m.Active(p, weeks)
		if longer < n*(1-1e-10) {
			t.Errorf("%v in %v weeks, %v in %v", n, weeks, longer, weeks*1.5)
		}
		if n < any-1e-11*m.Alive(p) {
			t.Errorf("expected %v, but any %v", n, any)
		}
		if most := m.Alive(p) * m.rate(p) * weeks; n > most*(1+1e-12) {
			t.Errorf("expected %v, at most %v", n, most)
		}
		later := p
		later.AgeWeeks += weeks
		if before, after := m.Alive(p), m.Alive(later); after > before*(1+1e-9) {
			t.Errorf("alive %v, and after %v weeks of silence %v", before, weeks, after)
		}
	})
}
