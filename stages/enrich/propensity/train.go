package propensity

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"attune/pipeline/portable"
)

// Errors of Train.
var (
	ErrOneSided = errors.New("all labels are the same: nothing can be learned from them")
	ErrTooFew   = errors.New("there are too few rows")
)

const (
	leastExamples = 50 // below it Train refuses
	mostCrosses   = 24
	folds         = 5 // of the rows, to calibrate by
)

// Train learns a model of the named columns. The same examples in the same order give the same model.
func Train(names []string, examples []Example) (*Model, error) {
	if len(names) == 0 || len(names) > maxColumns {
		return nil, fmt.Errorf("propensity: %d columns: want 1 to %d", len(names), maxColumns)
	}
	positive := 0
	for i, e := range examples {
		if len(e.Row) != len(names) {
			return nil, fmt.Errorf("propensity: row %d has %d values for %d columns", i+1, len(e.Row), len(names))
		}
		if e.Label {
			positive++
		}
	}
	if len(examples) < leastExamples {
		return nil, fmt.Errorf("propensity: %w: %d, want at least %d", ErrTooFew, len(examples), leastExamples)
	}
	if positive == 0 || positive == len(examples) {
		return nil, fmt.Errorf("propensity: %w", ErrOneSided)
	}
	m := learn(names, examples)
	m.calibrate(names, examples)
	return m, nil
}

// learn is Train without the calibration.
func learn(names []string, examples []Example) *Model {
	m := &Model{Slope: 1}
	for i, name := range names {
		m.Columns = append(m.Columns, newColumn(name, examples, i))
	}
	order := shuffled(len(examples))
	m.fit(examples, order)
	m.Crosses = m.tellingPairs(examples)
	if len(m.Crosses) > 0 {
		m.fit(examples, order)
	}
	return m
}

// fit learns the weights anew.
func (m *Model) fit(examples []Example, order []int) {
	f := newFTRL(m.size())
	var active []int32
	for range passes {
		for _, i := range order {
			active = m.active(examples[i].Row, active)
			f.learn(active, examples[i].Label)
		}
	}
	m.Bias = f.bias()
	m.Weights, m.Variance = make([]float64, m.size()), make([]float64, m.size())
	for i := range m.Weights {
		m.Weights[i] = f.weight(int32(i))
		m.Variance[i] = 1 / (l2 + f.information[i]/passes)
	}
}

// tellingPairs are the pairs of columns whose coarse bins together tell what the columns apart do not: the score test of a
// weight for each cell beside the model so far, less what chance alone would give.
func (m *Model) tellingPairs(examples []Example) [][2]int {
	n := len(m.Columns)
	coarse := make([][]int8, len(examples))
	missed, bends := make([]float64, len(examples)), make([]float64, len(examples))
	for i, e := range examples {
		z, _ := m.sum(e.Row)
		p := portable.Logistic(z)
		missed[i], bends[i] = -p, p*(1-p)
		if e.Label {
			missed[i]++
		}
		coarse[i] = make([]int8, n)
		for c := range m.Columns {
			coarse[i][c] = int8(m.Columns[c].Coarse[m.Columns[c].bin(e.Row[c])])
		}
	}
	type pair struct {
		columns [2]int
		gain    float64
	}
	var pairs []pair
	for a := range n {
		for b := a + 1; b < n; b++ {
			var sum, information [crossBins]float64
			for i := range examples {
				cell := int(coarse[i][a])*coarseBins + int(coarse[i][b])
				sum[cell] += missed[i]
				information[cell] += bends[i]
			}
			gain := 0.0
			for cell := range sum {
				if information[cell] > 0 {
					gain += sum[cell]*sum[cell]/(information[cell]+l2) - crossCost
				}
			}
			if gain > 0 {
				pairs = append(pairs, pair{[2]int{a, b}, gain})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(b.gain, a.gain) })
	var out [][2]int
	for _, p := range pairs[:min(len(pairs), mostCrosses)] {
		out = append(out, p.columns)
	}
	return out
}

// crossCost is what a cell must gain; chance alone gains 1.
const crossCost = 1.2

// calibrate finds Slope and Shift on rows that were not learned from, and how far models differ that saw other rows.
func (m *Model) calibrate(names []string, examples []Example) {
	fold := Folds(examples, folds)
	odds, sum, square := make([]float64, len(examples)), make([]float64, len(examples)), make([]float64, len(examples))
	for k := range folds {
		var rest []Example
		for i, e := range examples {
			if fold[i] != k {
				rest = append(rest, e)
			}
		}
		part := learn(names, rest)
		for i, e := range examples {
			z, _ := part.sum(e.Row)
			sum[i], square[i] = sum[i]+z, square[i]+z*z
			if fold[i] == k {
				odds[i] = z
			}
		}
	}
	m.Slope, m.Shift = platt(odds, examples)
	// The jackknife's variance of a score, on the average, sets the scale of the sums of the weights' variances.
	var differs, said float64
	for i, e := range examples {
		_, variance := m.sum(e.Row)
		said += variance
		differs += (folds - 1.0) / folds * (square[i] - sum[i]*sum[i]/folds)
	}
	m.Spread = max(differs/said, 0)
}

// platt is the slope and shift of the log odds with the largest likelihood, by Newton's method. A weak pull to 1 and 0
// keeps it finite where the rows can be told apart without a mistake.
func platt(odds []float64, examples []Example) (slope, shift float64) {
	slope = 1
	const pull = 4.0
	for range 30 {
		ga, gb := pull*(slope-1), pull/4*shift
		haa, hab, hbb := pull, 0.0, pull/4
		for i, z := range odds {
			p := 1 / (1 + math.Exp(-slope*z-shift))
			d := p
			if examples[i].Label {
				d--
			}
			w := p * (1 - p)
			ga, gb = ga+d*z, gb+d
			haa, hab, hbb = haa+w*z*z, hab+w*z, hbb+w
		}
		det := haa*hbb - hab*hab
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		slope, shift = slope-min(max(da, -1), 1), shift-min(max(db, -1), 1)
		if abs(da)+abs(db) < 1e-10 {
			break
		}
	}
	return max(slope, 0), shift
}

// Folds deals the examples out into so many groups with the same share of positives, by a hash of their place.
func Folds(examples []Example, groups int) []int {
	out := make([]int, len(examples))
	var dealt [2]int
	for _, i := range shuffled(len(examples)) {
		label := 0
		if examples[i].Label {
			label = 1
		}
		out[i] = dealt[label] % groups
		dealt[label]++
	}
	return out
}

// shuffled is an order of n things without a pattern, the same each time.
func shuffled(n int) []int {
	keys, order := make([]uint64, n), make([]int, n)
	for i := range order {
		h := uint64(i) * 0x9e3779b97f4a7c15 // splitmix64
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		keys[i], order[i] = h^h>>31, i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
	return order
}
