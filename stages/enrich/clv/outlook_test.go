package clv

import (
	"math"
	"math/rand/v2"
	"testing"
)

// gamma draws from the gamma distribution (shape, rate 1) by Marsaglia and Tsang's method.
func gamma(r *rand.Rand, shape float64) float64 {
	if shape < 1 {
		return gamma(r, shape+1) * math.Pow(r.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	for {
		x := r.NormFloat64()
		v := math.Pow(1+x/math.Sqrt(9*d), 3)
		if v > 0 && math.Log(r.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v
		}
	}
}

// next draws what a customer who is alive buys within weeks, by the story of each model.
func next(r *rand.Rand, counts Counts, p Purchases, weeks float64) (n float64) {
	switch m := counts.(type) {
	case ParetoNBD:
		rate := gamma(r, m.R+p.Repeats) / (m.Alpha + p.AgeWeeks)
		until := min(weeks, r.ExpFloat64()/(gamma(r, m.S)/(m.Beta+p.AgeWeeks)))
		for t := r.ExpFloat64() / rate; t < until; t += r.ExpFloat64() / rate {
			n++
		}
	case BGNBD:
		return leaving(r, m.future(p), weeks)
	case MBGNBD:
		return leaving(r, m.future(p), weeks)
	}
	return n
}

func leaving(r *rand.Rand, f future, weeks float64) (n float64) {
	rate, a, b := gamma(r, f.k)/f.scale, gamma(r, f.a), gamma(r, f.b)
	for t := r.ExpFloat64() / rate; t < weeks; t += r.ExpFloat64() / rate {
		n++
		if r.Float64() < a/(a+b) {
			break
		}
	}
	return n
}

// The mean and the spread of purchases and value are those of customers drawn by the models' own story.
func TestSpreadAgainstSimulation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, counts := range []Counts{published, CDNOW().Counts, pareto} {
		for _, p := range []Purchases{{2, 30.43, 38.86, 22.35}, {0, 0, 38.86, 0}, {10, 38, 38.86, 40}} {
			m := Model{Counts: counts, Spend: GammaGamma{P: 6.25, Q: 8, V: 40}, Margin: 1} // with four moments, so that the draws settle
			o := m.Outlook(p, 39)
			alive := counts.Alive(p)
			const draws = 200_000
			var n, square, money, moneySquare float64
			for range draws {
				if r.Float64() > alive {
					continue
				}
				k := next(r, counts, p, 39)
				spent := 0.0
				if k > 0 {
					q, v := m.Spend.posterior(p)
					spent = gamma(r, k*m.Spend.P) / (gamma(r, q) / v)
				}
				n, square, money, moneySquare = n+k, square+k*k, money+spent, moneySquare+spent*spent
			}
			for _, c := range []struct {
				name      string
				got, want float64
			}{
				{"purchases", o.Purchases.Mean, n / draws},
				{"their spread", o.Purchases.Spread, math.Sqrt(square/draws - n/draws*n/draws)},
				{"value", o.Value.Mean, money / draws},
				{"its spread", o.Value.Spread, math.Sqrt(moneySquare/draws - money/draws*money/draws)},
			} {
				if relative(c.got, c.want) > 0.03 {
					t.Errorf("%s, %v: %s: got %.4f, drawn %.4f", counts.Name(), p, c.name, c.got, c.want)
				}
			}
		}
	}
}

// The standard error is the slope by a parameter times how far that is known.
func TestStdError(t *testing.T) {
	p := Purchases{2, 30.43, 38.86, 22.35}
	m := CDNOW()
	if o := m.Outlook(p, 52); o.Value.StdError != 0 || o.Purchases.StdError != 0 || o.Alive.StdError != 0 {
		t.Errorf("without a covariance: %+v", o)
	}
	m.CountsError[1][1] = 0.04 // alpha is known to 20 %
	up := m
	c := m.Counts.(MBGNBD)
	c.Alpha *= 1.001
	up.Counts = c
	want := math.Abs(up.Value(p, 52)-m.Value(p, 52)) / math.Log(1.001) * 0.2
	if got := m.Outlook(p, 52).Value.StdError; relative(got, want) > 1e-3 {
		t.Errorf("got %v, want %v", got, want)
	}
	m.SpendError[2][2] = 0.01
	spend := m.Spend
	spend.V *= 1.001
	more := m.Counts.Expected(p, 52) * math.Abs(spend.Spend(p)-m.Spend.Spend(p)) / math.Log(1.001) * 0.1
	if got := m.Outlook(p, 52).Value.StdError; relative(got, math.Hypot(want, more)) > 1e-3 {
		t.Errorf("got %v, want %v", got, math.Hypot(want, more))
	}
}
