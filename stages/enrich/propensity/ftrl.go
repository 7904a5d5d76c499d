package propensity

import (
	"math"

	"attune/pipeline/portable"
)

// Settings of FTRL-proximal. They were chosen once; see TestShoppers for what they are worth.
const (
	alpha  = 0.06
	beta   = 1.0
	l1     = 0.6
	l2     = 2.0
	passes = 3
)

// ftrl learns weights one example at a time.
type ftrl struct {
	z, n        []float64
	biasZ       float64
	biasN       float64
	information []float64 // sum of p(1-p) of the examples that used a weight
}

func newFTRL(size int) *ftrl {
	return &ftrl{z: make([]float64, size), n: make([]float64, size), information: make([]float64, size)}
}

// weight is the minimizer of the regularized linear approximation: zero where the evidence is below l1.
func (f *ftrl) weight(i int32) float64 {
	z := f.z[i]
	if abs(z) <= l1 {
		return 0
	}
	if z < 0 {
		z += l1
	} else {
		z -= l1
	}
	return -z / ((beta+math.Sqrt(f.n[i]))/alpha + l2)
}

func (f *ftrl) bias() float64 { return -f.biasZ / ((beta + math.Sqrt(f.biasN)) / alpha) }

// learn takes one example and returns the log odds from before.
func (f *ftrl) learn(active []int32, label bool) float64 {
	var weights [3 * maxColumns]float64
	odds := f.bias()
	for k, i := range active {
		weights[k] = f.weight(i)
		odds += weights[k]
	}
	p := portable.Logistic(odds)
	g := p
	if label {
		g = p - 1
	}
	square, bends := g*g, p*(1-p)
	step := func(z, n *float64, w float64) {
		sigma := (math.Sqrt(*n+square) - math.Sqrt(*n)) / alpha
		*z += g - sigma*w
		*n += square
	}
	for k, i := range active {
		step(&f.z[i], &f.n[i], weights[k])
		f.information[i] += bends
	}
	step(&f.biasZ, &f.biasN, f.bias())
	return odds
}
