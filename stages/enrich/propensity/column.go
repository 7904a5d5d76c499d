package propensity

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
)

const (
	fineBins   = 20 // of a numeric column
	coarseBins = 6  // of any column
	// fewValues is up to how many different numbers are taken as they are, each with a bin.
	fewValues = 25
	// rareValue is how often a text must have been seen to have a bin.
	rareValue = 10

	binMissing, binOther, firstBin = 0, 1, 2
)

// Column says how a value becomes a bin. Bin 0 is missing; bin 1 is a text that was rare or unseen.
type Column struct {
	Name   string    `json:"name"`
	Cuts   []float64 `json:"cuts,omitempty"` // of a numeric column, rising: the bin rises by one at each
	Values []string  `json:"values"`         // of a column of texts, sorted
	Coarse []int     `json:"coarse"`         // by bin
}

func (c *Column) bins() int { return len(c.Coarse) }

// bin is the value's. A value of the wrong kind is missing.
func (c *Column) bin(v Value) int {
	if c.Values != nil {
		if v.missing() {
			return binMissing
		}
		if i, ok := slices.BinarySearch(c.Values, v.text); ok {
			return firstBin + i
		}
		return binOther
	}
	if !v.isNumber() {
		return binMissing
	}
	// The number of cuts at or below, by halves, and without a branch that depends on the value: processors guess those
	// wrong. The sign of the difference, all ones where it is negative, takes the step back.
	lo, cuts := 0, c.Cuts
	for n := len(cuts); n > 0; {
		half := (n + 1) / 2
		below := -int(math.Float64bits(v.number-cuts[lo+half-1]) >> 63)
		lo, n = lo+half&^below, n-half
	}
	return firstBin + lo
}

// Next is the number from which on the value is in another bin, if it only rises; false: there is none.
func (c *Column) Next(v Value) (cut float64, ok bool) {
	if c.Values != nil || !v.isNumber() {
		return 0, false
	}
	if i := c.bin(v) - firstBin; i < len(c.Cuts) {
		return c.Cuts[i], true
	}
	return 0, false
}

// newColumn learns the bins of column i: numeric where at least nine in ten of the known values are numbers.
func newColumn(name string, examples []Example, i int) Column {
	c := Column{Name: name}
	var numbers []float64
	texts := map[string]int{}
	for _, e := range examples {
		switch v := e.Row[i]; {
		case v.missing():
		case v.isNumber():
			numbers = append(numbers, v.number)
			texts[v.text]++
		default:
			texts[v.text]++
		}
	}
	known := 0
	for _, n := range texts {
		known += n
	}
	bins := firstBin
	if known > 0 && len(numbers)*10 >= known*9 {
		c.Cuts = cuts(numbers)
		bins += len(c.Cuts) + 1
	} else {
		c.Values = []string{}
		for _, text := range slices.Sorted(maps.Keys(texts)) {
			if texts[text] >= rareValue {
				c.Values = append(c.Values, strings.Clone(text))
			}
		}
		bins += len(c.Values)
	}
	c.Coarse = make([]int, bins)
	c.Coarse = coarsened(&c, examples, i)
	return c
}

// cuts are the lower bounds of all bins but the first: one a value where these are few, else of about equal size; a value
// that alone would fill a bin has one.
func cuts(numbers []float64) []float64 {
	sort.Float64s(numbers)
	type run struct {
		value float64
		n     int
	}
	var runs []run
	for _, v := range numbers {
		if n := len(runs); n > 0 && runs[n-1].value == v {
			runs[n-1].n++
		} else {
			runs = append(runs, run{v, 1})
		}
	}
	size := len(numbers) / fineBins
	var out []float64
	if len(runs) <= fewValues {
		size = rareValue
	}
	filled := 0
	for i, r := range runs {
		if i > 0 && (filled >= size || r.n >= size && filled > 0) {
			out = append(out, r.value)
			filled = 0
		}
		filled += r.n
	}
	return out
}

// coarsened groups the bins into a few of about equal size: neighbours where numbers have many bins, those of a similar
// rate of the label where the values may be codes.
func coarsened(c *Column, examples []Example, i int) []int {
	bins := c.bins()
	seen, positive := make([]float64, bins), make([]float64, bins)
	var all float64
	for _, e := range examples {
		b := c.bin(e.Row[i])
		seen[b]++
		if e.Label {
			positive[b]++
			all++
		}
	}
	base := all / max(float64(len(examples)), 1)
	order := make([]int, bins)
	for b := range order {
		order[b] = b
	}
	if c.Values != nil {
		rate := func(b int) float64 { return (positive[b] + 20*base) / (seen[b] + 20) }
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rate(a), rate(b)) })
	}
	out := make([]int, bins)
	group, filled, left := 0, 0.0, float64(len(examples))
	for _, b := range order {
		share := left / float64(coarseBins-group)
		if filled > 0 && group < coarseBins-1 && filled+seen[b]/2 > share {
			left -= filled
			group, filled = group+1, 0
		}
		filled += seen[b]
		out[b] = group
	}
	return out
}
