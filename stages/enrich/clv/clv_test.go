package clv

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// printed reports whether got rounds to want at the digits that were published.
func printed(got, want float64, digits int) bool {
	return math.Abs(got-want) <= 0.5000001*math.Pow10(-digits)
}

func relative(got, want float64) float64 { return math.Abs(got-want) / math.Abs(want) }

// The published parameters of the CDNOW sample (r, alpha, a, b and r, alpha, s, beta).
var (
	published = BGNBD{R: .243, Alpha: 4.414, A: .793, B: 2.426}
	pareto    = ParetoNBD{R: .5533972, Alpha: 10.5780188, S: .6062487, Beta: 11.6716446}
)

// at is a customer of the CDNOW calibration period without spend.
func at(x, tx, age float64) Purchases { return Purchases{Repeats: x, LastWeek: tx, AgeWeeks: age} }

func TestBGNBDPublished(t *testing.T) {
	m := BGNBD{R: .2425945, Alpha: 4.4136019, A: .7929199, B: 2.4258881} // the fit that the sheet's values rest on
	for _, c := range []struct {
		name string
		got  float64
		want float64
	}{
		{"E[Y(39)] of customer 1, Hardie's sheet", m.Expected(at(2, 30.43, 38.86), 39), 1.226},
		{"E[X(1 day)]", m.Expected(Purchases{}, 1.0/7), .0078},
		{"E[X(1)]", m.Expected(Purchases{}, 1), .0532},
		{"E[X(3)]", m.Expected(Purchases{}, 3), .1506},
		{"E[X(31.8571)]", m.Expected(Purchases{}, 31.8571), 1.0405},
		{"E[X(32)]", m.Expected(Purchases{}, 32), 1.0437},
		{"E[X(78)]", m.Expected(Purchases{}, 78), 1.8576},
	} {
		if !printed(c.got, c.want, 3) { // the sheet's agreement with the models is stated to three decimals
			t.Errorf("%s: got %.6f, want %v", c.name, c.got, c.want)
		}
	}
}

// The values of R's BTYD at r .243, alpha 4.414, a .793, b 2.426.
func TestBGNBDEqualsR(t *testing.T) {
	m := published
	for _, c := range []struct {
		p    Purchases
		want float64
	}{
		{at(23, 39, 39), .968555454221},
	} {
		if got := m.Alive(c.p); relative(got, c.want) > 1e-9 {
			t.Errorf("Alive(%v): got %.12f, want %.12f", c.p, got, c.want)
		}
	}
	for i, want := range []float64{.70562685, .68709113, .66386618, .63654564} {
		if got := m.Alive(at(float64(5+i), 30, 39)); !printed(got, want, 8) {
			t.Errorf("Alive(%d, 30, 39): got %.9f, want %.8f", 5+i, got, want)
		}
	}
	for _, c := range []struct {
		p    Purchases
		want float64
	}{
		{at(0, 0, 38.86), .195098052011},
		{at(1, 10, 38.86), .419819500188},
		{at(2, 30.43, 38.86), 1.226028174767},
		{at(5, 20, 38.86), 1.093670114069},
		{at(10, 38, 38.86), 6.705874952828},
		{at(26, 30.86, 38.86), 2.549962574361},
	} {
		if got := m.Expected(c.p, 39); relative(got, c.want) > 1e-9 {
			t.Errorf("Expected(%v, 39): got %.12f, want %.12f", c.p, got, c.want)
		}
	}
}

func TestSpendPublished(t *testing.T) {
	m := CDNOW().Spend
	for _, c := range []struct{ x, mean, want float64 }{{2, 22.35, 24.65}, {1, 11.77, 18.91}, {0, 0, 35.17}} {
		got := m.Spend(Purchases{Repeats: c.x, MeanSpend: c.mean, AgeWeeks: 38.86})
		// Note 025 prints values computed with p, q, v of more digits than it prints.
		if math.Abs(got-c.want) > 0.06 {
			t.Errorf("Spend(%v, %v): got %.4f, want %v", c.x, c.mean, got, c.want)
		}
		fine := GammaGamma{P: 6.24957, Q: 3.74422, V: 15.44352}.Spend(Purchases{Repeats: c.x, MeanSpend: c.mean, AgeWeeks: 38.86})
		if math.Abs(fine-c.want) > 0.01 {
			t.Errorf("Spend(%v, %v) at the fitted parameters: got %.4f, want %v", c.x, c.mean, fine, c.want)
		}
	}
}

func TestActive(t *testing.T) {
	m, modified := published, CDNOW().Counts
	p := at(2, 30.43, 38.86)
	want := m.Alive(p) * (1 - math.Pow((4.414+38.86)/(4.414+38.86+4), 2.243))
	if got := m.Active(p, 4); relative(got, want) > 1e-13 {
		t.Errorf("BG/NBD: got %v, want %v", got, want)
	}
	want = modified.Alive(p) * (1 - math.Pow((6.183+38.86)/(6.183+38.86+4), 2.525))
	if got := modified.Active(p, 4); relative(got, want) > 1e-13 {
		t.Errorf("MBG/NBD: got %v, want %v", got, want)
	}
}

// A customer who never came back: BG/NBD can't tell, MBG/NBD can.
func TestAliveWithoutRepeat(t *testing.T) {
	p := at(0, 0, 104)
	if got := published.Alive(p); got != 1 {
		t.Errorf("BG/NBD: got %v, want 1", got)
	}
	m := CDNOW().Counts.(MBGNBD)
	want := 1 / (1 + m.A/m.B*math.Pow((m.Alpha+104)/m.Alpha, m.R))
	if got := m.Alive(p); relative(got, want) > 1e-13 || got > 0.3 {
		t.Errorf("MBG/NBD: got %v, want %v", got, want)
	}
	// Before the first purchase is over, the chance to have left is a/(a+b).
	if got, want := m.Alive(Purchases{}), m.B/(m.A+m.B); relative(got, want) > 1e-15 {
		t.Errorf("MBG/NBD at age 0: got %v, want %v", got, want)
	}
}

// The values of R's BTYD, and what others publish of it.
func TestParetoNBDPublished(t *testing.T) {
	for _, c := range []struct {
		p    Purchases
		want float64
	}{
		{at(0, 0, 38.86), .107088488414},
		{at(1, 10, 38.86), .406442649867},
		{at(2, 30.43, 38.86), 1.455174082757},
		{at(5, 20, 38.86), 1.331259608177},
		{at(10, 38, 38.86), 6.841409425036},
		{at(26, 30.86, 38.86), 4.832819100080},
	} {
		if got := pareto.Expected(c.p, 39); relative(got, c.want) > 1e-9 {
			t.Errorf("Expected(%v, 39): got %.12f, want %.12f", c.p, got, c.want)
		}
	}
	m := ParetoNBD{R: .5629966, Alpha: 12.5590370, S: .4081095, Beta: 10.5148048}
	// R computed 1.86418333207 with parameters of more digits than it printed; Simpson's rule and the incomplete gamma
	// function, both with these, agree on the rest.
	if got := m.Discounted(at(7, 35, 77.86), 1e6, .0027); relative(got, 1.86418333207) > 1e-8 || relative(got, 1.864183328071) > 1e-12 {
		t.Errorf("DERT: got %.12f, want 1.864183328071", got)
	}
	m = ParetoNBD{R: .5534, Alpha: 10.5802, S: .6061, Beta: 11.6562}
	if got := m.Alive(at(26, 30.86, 31)); !printed(got, .9979, 4) {
		t.Errorf("Alive(26, 30.86, 31): got %.5f, want .9979", got)
	}
	if got := pareto.Expected(at(26, 30.86, 31), 52); math.Abs(got-25.46) > 0.02 {
		t.Errorf("Expected(26, 30.86, 31; 52): got %.4f, want 25.46", got)
	}
	// Where a straightforward evaluation overflows.
	m = ParetoNBD{R: .5143, Alpha: 2.8845, S: .2856, Beta: 14.1087}
	for _, p := range []Purchases{at(221, 103.42857, 103.57143), at(1000, 9.9e3, 1e4), at(1000, 1, 1e4)} {
		alive, expected := m.Alive(p), m.Expected(p, 1e4)
		if !(alive >= 0 && alive <= 1) || !(expected >= 0) || math.IsInf(expected, 0) {
			t.Errorf("%v: alive %v, expected %v", p, alive, expected)
		}
	}
}

// Undiscounted value is the product of its parts; discounting agrees with a fine grid of the expectation.
func TestValue(t *testing.T) {
	for _, counts := range []Counts{published, CDNOW().Counts, pareto} {
		for _, p := range []Purchases{
			{}, at(0, 0, 38.86), {2, 30.43, 38.86, 22.35}, {1, 1.71, 38.86, 11.77}, {26, 30.86, 31, 40}, {3, 2, 2.1, 80}, {0, 0, 500, 0},
		} {
			for _, weeks := range []float64{4, 13, 52, 156} {
				m := Model{Counts: counts, Spend: CDNOW().Spend, Margin: 0.4}
				if got, want := m.Value(p, weeks), counts.Expected(p, weeks)*m.Spend.Spend(p)*0.4; relative(got, want) > 1e-14 {
					t.Errorf("%s.Value(%v, %v): got %v, want %v", counts.Name(), p, weeks, got, want)
				}
				for _, d := range []float64{0.0005, 0.0027, 0.02} {
					m.Discount = d
					want, before := 0.0, 0.0
					const grid = 20000
					for i := 1.0; i <= grid; i++ {
						v := i / grid
						now := counts.Expected(p, weeks*v*v)
						want += (now - before) * math.Exp(-d*weeks*(v*v-v/grid+0.5/grid/grid))
						before = now
					}
					want *= m.Spend.Spend(p) * 0.4
					limit := 1e-5
					if d*weeks > 0.5 {
						limit = 2e-4
					}
					if got := m.Value(p, weeks); relative(got, want) > limit {
						t.Errorf("%s.Value(%v, %v) at %v a week: got %v, want %v (%.1e)", counts.Name(), p, weeks, d, got, want, relative(got, want))
					}
				}
			}
		}
	}
}

func TestValidate(t *testing.T) {
	if err := CDNOW().Validate(); err != nil {
		t.Error(err)
	}
	broken := published
	broken.A = 0
	m := CDNOW()
	m.Counts, m.Spend.Q, m.Margin, m.Discount = broken, 1, math.NaN(), -1
	err := m.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"bgnbd.a is 0", "gammagamma.q is 1", "model.margin is NaN", "model.discount is -1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if err := (MBGNBD{R: 1, Alpha: 1, A: 1, B: math.Inf(1)}).Validate(); err == nil || !strings.Contains(err.Error(), "mbgnbd.b") {
		t.Errorf("got %v", err)
	}
	if err := (ParetoNBD{R: 1, Alpha: 1, S: 1e6, Beta: 1}).Validate(); err == nil || !strings.Contains(err.Error(), "paretonbd.s") {
		t.Errorf("got %v", err)
	}
	if err := (Model{}).Validate(); err == nil || !strings.Contains(err.Error(), "no counts") {
		t.Errorf("got %v", err)
	}
}

func TestModelAsJSON(t *testing.T) {
	for _, counts := range []Counts{published, CDNOW().Counts, pareto} {
		want := CDNOW()
		want.Counts, want.Discount = counts, 0.0027
		want.CountsError[1][2], want.SpendError[0][0] = 0.5, 0.25
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Model
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s became %+v, want %+v", data, got, want)
		}
	}
	for _, text := range []string{`{}`, `{"bgnbd":{},"mbgnbd":{}}`, `{"mbgnbd":7}`} {
		if err := json.Unmarshal([]byte(text), &Model{}); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
	if _, err := NewCounts("nbd", [4]float64{}); err == nil {
		t.Error("nbd: no error")
	}
}

func TestAllocations(t *testing.T) {
	p := Purchases{2, 30.43, 38.86, 22.35}
	for _, counts := range []Counts{published, CDNOW().Counts, pareto} {
		m := CDNOW()
		m.Counts, m.Discount = counts, 0.0027
		var sink float64
		if n := testing.AllocsPerRun(100, func() {
			sink += m.Value(p, 52) + m.Alive(p) + counts.Expected(p, 39) + counts.Expected(Purchases{}, 1e5) + counts.Active(p, 4)
		}); n != 0 {
			t.Errorf("%s: %v allocations", counts.Name(), n)
		}
	}
}

// customers is a mixture like CDNOW's: most without a repeat, young and old.
func customers() []Purchases {
	return []Purchases{
		{0, 0, 27, 0}, {0, 0, 38.86, 0}, {0, 0, 33, 0}, {1, 1.71, 38.86, 11.77}, {2, 30.43, 38.86, 22.35},
		{1, 10, 30, 50}, {5, 20, 38.86, 35}, {10, 38, 38.86, 20}, {26, 30.86, 31, 40}, {0, 0, 30, 0},
	}
}

func BenchmarkValue(b *testing.B) {
	for _, counts := range []Counts{CDNOW().Counts, published, pareto} {
		for _, discount := range []float64{0, 0.0027} {
			for _, set := range []struct {
				name string
				of   []Purchases
			}{{"mixture", customers()}, {"new", []Purchases{{AgeWeeks: 0.01}}}} {
				b.Run(fmt.Sprintf("%s/discount=%v/%s", counts.Name(), discount, set.name), func(b *testing.B) {
					m := Model{Counts: counts, Spend: CDNOW().Spend, Margin: 1, Discount: discount}
					b.ReportAllocs()
					var sum float64
					for i := 0; b.Loop(); i++ {
						sum += m.Value(set.of[i%len(set.of)], 52)
					}
					_ = sum
				})
			}
		}
	}
}

func BenchmarkAlive(b *testing.B) {
	for _, counts := range []Counts{CDNOW().Counts, published, pareto} {
		b.Run(counts.Name(), func(b *testing.B) {
			p := customers()
			b.ReportAllocs()
			var sum float64
			for i := 0; b.Loop(); i++ {
				sum += counts.Alive(p[i%len(p)])
			}
			_ = sum
		})
	}
}

func BenchmarkOutlook(b *testing.B) {
	m, p := CDNOW(), customers()
	b.ReportAllocs()
	var sum float64
	for i := 0; b.Loop(); i++ {
		sum += m.Outlook(p[i%len(p)], 52).Value.Spread
	}
	_ = sum
}
