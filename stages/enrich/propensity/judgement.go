package propensity

import (
	"cmp"
	"math"
	"slices"
)

// Judgement says how good scores are.
type Judgement struct {
	Rows      int     `json:"rows"`
	Positives int     `json:"positives"`
	AUC       float64 `json:"auc"`      // how often a positive has the larger score of a pair; 0.5 is chance
	LogLoss   float64 `json:"log_loss"` // mean, natural logarithm
	Brier     float64 `json:"brier"`    // mean squared error
	ECE       float64 `json:"ece"`      // mean distance of score and share of positives, over 15 bins of equal width
	Entropy   float64 `json:"entropy"`  // the log loss as a share of that of the base rate: below 1 something was learned
}

// Judge compares scores with labels.
func Judge(scores []float64, labels []bool) Judgement {
	const bins = 15
	j := Judgement{Rows: len(scores)}
	if len(scores) == 0 {
		return j
	}
	n := float64(len(scores))
	var sum, positive [bins]float64
	for i, p := range scores {
		y := 0.0
		if labels[i] {
			y = 1
			j.Positives++
		}
		q := min(max(p, 1e-15), 1-1e-15)
		j.LogLoss -= (y*math.Log(q) + (1-y)*math.Log(1-q)) / n
		j.Brier += (p - y) * (p - y) / n
		b := min(int(p*bins), bins-1)
		sum[b] += p
		positive[b] += y
	}
	for b := range sum {
		j.ECE += math.Abs(sum[b]-positive[b]) / n
	}
	if base := float64(j.Positives) / n; base > 0 && base < 1 {
		j.Entropy = j.LogLoss / -(base*math.Log(base) + (1-base)*math.Log(1-base))
	}
	j.AUC = auc(scores, labels, j.Positives)
	return j
}

// auc is by ranks; equal scores share their rank. It is 0.5 where all labels are the same.
func auc(scores []float64, labels []bool, positives int) float64 {
	negatives := len(scores) - positives
	if positives == 0 || negatives == 0 {
		return 0.5
	}
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
	ranks := 0.0
	for i := 0; i < len(order); {
		end := i
		for end < len(order) && scores[order[end]] == scores[order[i]] {
			end++
		}
		for k := i; k < end; k++ {
			if labels[order[k]] {
				ranks += float64(i+end+1) / 2
			}
		}
		i = end
	}
	p := float64(positives)
	return (ranks - p*(p+1)/2) / (p * float64(negatives))
}

// CrossValidate judges models by rows that they were not learned from: each of so many groups is scored by a model of the
// others.
func CrossValidate(names []string, examples []Example, groups int) (Judgement, error) {
	fold := Folds(examples, groups)
	scores, labels := make([]float64, len(examples)), make([]bool, len(examples))
	for k := range groups {
		var rest []Example
		for i, e := range examples {
			if fold[i] != k {
				rest = append(rest, e)
			}
		}
		m, err := Train(names, rest)
		if err != nil {
			return Judgement{}, err
		}
		for i, e := range examples {
			if fold[i] == k {
				scores[i], labels[i] = m.Score(e.Row).Probability, e.Label
			}
		}
	}
	return Judge(scores, labels), nil
}
