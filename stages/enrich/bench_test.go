package enrich_test

import (
	"math/rand/v2"
	"testing"

	"attune/stages/enrich/clv"
	"attune/stages/enrich/propensity"
)

// What a customer costs to score: P(alive), value and propensity, of which the last reads twelve columns.
func BenchmarkScores(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	names := make([]string, 12)
	examples := make([]propensity.Example, 4000)
	for i := range examples {
		for range names {
			examples[i].Row = append(examples[i].Row, propensity.Number(r.NormFloat64()))
		}
		examples[i].Label = r.Float64() < 0.2
	}
	likely, err := propensity.Train(names, examples)
	if err != nil {
		b.Fatal(err)
	}
	value := clv.CDNOW()
	customers := []clv.Purchases{
		{AgeWeeks: 27}, {AgeWeeks: 38.86}, {AgeWeeks: 33}, {Repeats: 1, LastWeek: 1.71, AgeWeeks: 38.86, MeanSpend: 11.77},
		{Repeats: 2, LastWeek: 30.43, AgeWeeks: 38.86, MeanSpend: 22.35}, {Repeats: 10, LastWeek: 38, AgeWeeks: 38.86, MeanSpend: 20},
	}
	b.ReportAllocs()
	sum := 0.0
	for i := 0; b.Loop(); i++ {
		p := customers[i%len(customers)]
		sum += value.Alive(p) + value.Value(p, 52) + likely.Score(examples[i%len(examples)].Row).Probability
	}
	_ = sum
}
