package clv

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// The confidence is that of customers drawn by the models' own story, as long as few leave for good.
func TestConfidenceAgainstSimulation(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	for _, counts := range []Counts{MBGNBD{.525, 6.183, .891, 1.614}, published, pareto} {
		for _, p := range []Purchases{{2, 30.43, 38.86, 22.35}, {0, 0, 5, 0}, {10, 38, 38.86, 40}} {
			m := Model{Counts: counts, Spend: GammaGamma{P: 6.25, Q: 8, V: 40}, Margin: 1} // with four moments, so that the draws settle
			alive := counts.Alive(p)
			k, scale := counts.Parameters()[0]+p.Repeats, counts.Parameters()[1]+p.AgeWeeks
			q, v := m.Spend.posterior(p)
			var sum, square float64
			const draws = 400_000
			for range draws {
				if r.Float64() < alive {
					value := gamma(r, k) / scale * m.Spend.P * v / gamma(r, q)
					sum, square = sum+value, square+value*value
				}
			}
			if got, want := m.Confidence(p, alive), sum*sum/draws/square; relative(got, want) > 0.02 {
				t.Errorf("%s, %v: got %.4f, drawn %.4f", counts.Name(), p, got, want)
			}
		}
	}
}

func TestConfidenceLaws(t *testing.T) {
	m := CDNOW()
	rapid.Check(t, func(t *rapid.T) {
		p := Purchases{rapid.Float64Range(0, 1e9).Draw(t, "x"), rapid.Float64Range(0, 1e6).Draw(t, "tx"), rapid.Float64Range(0, 1e6).Draw(t, "T"), rapid.Float64Range(0, 1e9).Draw(t, "spend")}
		alive := rapid.Float64Range(0, 1).Draw(t, "alive")
		got := m.Confidence(p, alive)
		if !(got >= 0 && got <= alive) {
			t.Fatalf("%v of %v alive", got, alive)
		}
		more := p
		more.Repeats++
		if next := m.Confidence(more, alive); next < got {
			t.Fatalf("one purchase more: %v after %v", next, got)
		}
	})
	m.Spend.Q = 1.5 // no variance without a repeat
	if got := m.Confidence(Purchases{}, 1); got != 0 {
		t.Errorf("of a spend without a variance: %v", got)
	}
	mixed := CDNOW()
	mixed.Counts = WithOwnRate{mixed.Counts, 0.5}
	p := Purchases{2, 30.43, 38.86, 22.35}
	if got, want := mixed.Confidence(p, 0.5), CDNOW().Confidence(p, 0.5); got != want || math.IsNaN(got) {
		t.Errorf("with their own rate %v, want %v", got, want)
	}
	// By hand: k = .525+2, q = 3.74+2*6.25.
	if got, want := CDNOW().Confidence(p, 0.5), 0.5*(2.525/3.525)*(14.24/15.24); relative(got, want) > 1e-12 {
		t.Errorf("got %v, want %v", got, want)
	}
}
