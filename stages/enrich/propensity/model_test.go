package propensity_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"attune/stages/enrich/propensity"
)

// drawn are examples whose true probability is known: a wave of one number, a code, and the two together; the last
// columns have nothing to do with it, and some values are missing.
func drawn(n int, seed uint64) (names []string, examples []propensity.Example, truth []float64) {
	r := rand.New(rand.NewPCG(seed, 3))
	for range n {
		a, b, code := r.NormFloat64(), r.NormFloat64(), []string{"x", "y", "z"}[r.IntN(3)]
		z := -2 + 1.2*math.Sin(2*a)
		if code == "y" {
			z++
		}
		if a > 0 && code == "z" {
			z += 2
		}
		p := 1 / (1 + math.Exp(-z))
		row := propensity.Row{propensity.Number(a), propensity.Text(code), propensity.Number(b), propensity.Missing()}
		if r.Float64() < 0.1 {
			row[2] = propensity.Missing()
		}
		examples = append(examples, propensity.Example{Row: row, Label: r.Float64() < p})
		truth = append(truth, p)
	}
	return []string{"wave", "code", "noise", "empty"}, examples, truth
}

// The scores are near the true probabilities, the pair that belongs together is found, and the intervals hold what they say.
func TestKnownTruth(t *testing.T) {
	names, examples, _ := drawn(8000, 1)
	m, err := propensity.Train(names, examples)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, x := range m.Crosses {
		found = found || x == [2]int{0, 1}
	}
	if !found {
		t.Errorf("the crosses %v lack wave and code", m.Crosses)
	}
	_, fresh, truth := drawn(4000, 2)
	var scores []float64
	var labels []bool
	wrong, within := 0.0, 0
	for i, e := range fresh {
		s := m.Score(e.Row)
		if !(s.Low <= s.Probability && s.Probability <= s.High && s.Confidence >= 0 && s.Confidence <= 1) {
			t.Fatalf("score %+v", s)
		}
		if s.Low <= truth[i] && truth[i] <= s.High {
			within++
		}
		wrong += math.Abs(s.Probability-truth[i]) / float64(len(fresh))
		scores, labels = append(scores, s.Probability), append(labels, e.Label)
	}
	best := propensity.Judge(truth, labels)
	got := propensity.Judge(scores, labels)
	t.Logf("got %+v\nbest possible %+v\nmean error %.4f, %.3f within the intervals", got, best, wrong, float64(within)/float64(len(fresh)))
	if got.AUC < best.AUC-0.015 || got.LogLoss > best.LogLoss*1.03 || got.ECE > best.ECE+0.01 || wrong > 0.035 {
		t.Errorf("got %+v, the truth has %+v; mean error %v", got, best, wrong)
	}
	if share := float64(within) / float64(len(fresh)); share < 0.7 || share > 0.99 {
		t.Errorf("%.3f of the true probabilities lie within the intervals of 90 %%", share)
	}
	// Fewer rows, less confidence.
	few, err := propensity.Train(names, examples[:800])
	if err != nil {
		t.Fatal(err)
	}
	if a, b := few.Score(fresh[0].Row).Confidence, m.Score(fresh[0].Row).Confidence; a >= b {
		t.Errorf("confidence %v after 800 rows, %v after 8000", a, b)
	}
}

func TestModelAsJSON(t *testing.T) {
	names, examples, _ := drawn(500, 1)
	m, err := propensity.Train(names, examples)
	if err != nil {
		t.Fatal(err)
	}
	again, err := propensity.Train(names, examples)
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("the same examples gave two models (%v)", err)
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := propensity.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range examples {
		if m.Score(e.Row) != decoded.Score(e.Row) {
			t.Fatalf("%+v scores %+v, and after decoding %+v", e.Row, m.Score(e.Row), decoded.Score(e.Row))
		}
	}
	var broken map[string]any
	for field, value := range map[string]any{"weights": []float64{1}, "crosses": [][2]int{{0, 99}}, "columns": 7} {
		broken = map[string]any{}
		if err := json.Unmarshal(data, &broken); err != nil {
			t.Fatal(err)
		}
		broken[field] = value
		text, _ := json.Marshal(broken)
		if _, err := propensity.Decode(text); err == nil {
			t.Errorf("broken %s: no error", field)
		}
	}
}

func TestTrainRefuses(t *testing.T) {
	names, examples, _ := drawn(100, 1)
	if _, err := propensity.Train(names, examples[:20]); !errors.Is(err, propensity.ErrTooFew) {
		t.Errorf("got %v", err)
	}
	for i := range examples {
		examples[i].Label = true
	}
	if _, err := propensity.Train(names, examples); !errors.Is(err, propensity.ErrOneSided) {
		t.Errorf("got %v", err)
	}
	if _, err := propensity.Train(names[:2], examples); err == nil || !strings.Contains(err.Error(), "4 values for 2 columns") {
		t.Errorf("got %v", err)
	}
	if _, err := propensity.Train(nil, examples); err == nil {
		t.Error("no columns: no error")
	}
}

func TestJudge(t *testing.T) {
	got := propensity.Judge([]float64{0.1, 0.4, 0.4, 0.8}, []bool{false, false, true, true})
	if math.Abs(got.AUC-0.875) > 1e-15 || math.Abs(got.Brier-(0.01+0.16+0.36+0.04)/4) > 1e-15 {
		t.Errorf("got %+v", got)
	}
	want := -(math.Log(0.9) + math.Log(0.6) + math.Log(0.4) + math.Log(0.8)) / 4
	if math.Abs(got.LogLoss-want) > 1e-15 || math.Abs(got.Entropy-want/math.Ln2) > 1e-15 || math.Abs(got.ECE-(0.1+0.2+0.2)/4) > 1e-15 {
		t.Errorf("got %+v", got)
	}
	if one := propensity.Judge([]float64{0, 1}, []bool{true, true}); one.AUC != 0.5 || math.IsInf(one.LogLoss, 0) {
		t.Errorf("got %+v", one)
	}
	if none := propensity.Judge(nil, nil); none != (propensity.Judgement{}) {
		t.Errorf("got %+v", none)
	}
}

func TestNoAllocations(t *testing.T) {
	names, examples, _ := drawn(500, 1)
	m, err := propensity.Train(names, examples)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	if n := testing.AllocsPerRun(100, func() { sum += m.Score(examples[0].Row).Probability }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkScore(b *testing.B) {
	names, examples := shoppers(b)
	m, err := propensity.Train(names, examples)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	sum := 0.0
	for i := 0; b.Loop(); i++ {
		sum += m.Score(examples[i%1000].Row).Probability
	}
	_ = sum
}
