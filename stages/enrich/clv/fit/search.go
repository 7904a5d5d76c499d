package fit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/diff/fd"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
)

// Methods of a Fit.
const (
	MLE = "mle" // maximum likelihood
	MAP = "map" // maximum a posteriori
)

const (
	// sound is the range that a parameter must not leave for its maximum likelihood to be believed.
	soundLeast, soundMost = 1e-3, 1e3
	// leastLog and mostLog are how far a logarithm may go at all: the parameters' own range.
	leastLog, mostLog = -9.2, 11.5
	// priorDeviation is the standard deviation of a parameter's logarithm where the prior has to help.
	priorDeviation = 3.0
	// unknown is the standard error of a logarithm above which the customers tell nothing of the parameter.
	unknown = 10

	gradientStep   = 1e-5
	hessianStep    = 2e-3
	gradientEnough = 2e-7
	gradientFair   = 1e-4 // below it a search that stopped early has arrived for all practical purposes
)

// problem is what is searched: the logarithms of the parameters at which the mean log likelihood is largest.
type problem struct {
	dim         int
	prior       []float64   // its mean
	starts      [][]float64 // where to begin; none: at 1 and at the prior's mean
	doubt       string      // why the likelihood alone is not to be believed, if that is known
	weight      float64     // how many customers the likelihood speaks of
	likelihood  func(logs []float64) float64
	evaluations int // how many the search may take
}

// solution is where the search ended.
type solution struct {
	logs        []float64
	covariance  *mat.SymDense
	method      string
	reason      string // why it is not maximum likelihood
	evaluations int
}

// solve tries the likelihood alone first.
func solve(p problem) solution {
	starts := p.starts
	if len(starts) == 0 {
		starts = [][]float64{make([]float64, p.dim), p.prior}
	}
	var plain solution
	if p.doubt == "" {
		var unsettled error
		plain, unsettled = p.search(0, starts)
		doubt := cmp.Or(plain.doubt(p.dim), unsettled)
		if doubt == nil {
			plain.method = MLE
			return plain
		}
		p.doubt = doubt.Error()
	}
	prior, unsettled := p.search(1/(priorDeviation*priorDeviation), starts)
	prior.method, prior.reason = MAP, p.doubt
	if unsettled != nil {
		prior.reason += "; with the prior: " + unsettled.Error()
	}
	prior.evaluations += plain.evaluations
	return prior
}

// doubt is why a maximum of the likelihood alone is not to be believed; nil: it is.
func (s solution) doubt(dim int) error {
	for _, v := range s.logs {
		if runaway(v) {
			return fmt.Errorf("a parameter of the largest likelihood runs to %.3g", math.Exp(v))
		}
	}
	for i := range dim {
		if v := s.covariance.At(i, i); !(v > 0 && v < unknown*unknown) {
			return errors.New("the likelihood does not bend in every direction")
		}
	}
	return nil
}

func runaway(logarithm float64) bool {
	return !(logarithm >= math.Log(soundLeast) && logarithm <= math.Log(soundMost))
}

// search minimizes the mean negative log likelihood with a normal prior of that precision. Its error says that it did not
// settle; the result is the best point seen all the same.
func (p problem) search(precision float64, starts [][]float64) (best solution, err error) {
	objective := func(logs []float64) float64 {
		best.evaluations++
		inside, outside, penalty := make([]float64, p.dim), 0.0, 0.0
		for i, v := range logs {
			inside[i] = min(max(v, leastLog), mostLog)
			outside += (v - inside[i]) * (v - inside[i])
			penalty += precision * (v - p.prior[i]) * (v - p.prior[i]) / 2
		}
		v := (penalty-p.likelihood(inside))/p.weight + outside
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return math.MaxFloat64 / 1e10
		}
		return v
	}
	gradient := func(out, logs []float64) {
		fd.Gradient(out, objective, logs, &fd.Settings{Formula: fd.Central, Step: gradientStep})
	}
	least := math.Inf(1)
	for i, start := range starts {
		left := p.evaluations - best.evaluations
		if i > 0 && left <= 0 {
			break
		}
		converger := &settled{FunctionConverge: optimize.FunctionConverge{Absolute: 1e-13, Iterations: 5}, free: precision == 0}
		result, _ := optimize.Minimize( // a line search that fails at the last digits is no error: the slope is looked at below
			optimize.Problem{Func: objective, Grad: gradient}, start,
			&optimize.Settings{GradientThreshold: gradientEnough, MajorIterations: max(left/(3*p.dim), 3), Converger: converger},
			&optimize.BFGS{},
		)
		if result != nil && result.F < least {
			least, best.logs = result.F, result.X
		}
	}
	if best.logs == nil {
		best.logs = make([]float64, p.dim)
	}
	slope := make([]float64, p.dim)
	gradient(slope, best.logs)
	for i, v := range best.logs {
		best.logs[i] = min(max(v, leastLog), mostLog)
	}
	if precision > 0 || !slices.ContainsFunc(best.logs, runaway) { // else nobody will ask for it
		best.covariance = p.covariance(objective, best.logs)
	}
	for _, s := range slope {
		if math.Abs(s) > gradientFair {
			return best, fmt.Errorf("the search did not settle within %d evaluations", best.evaluations)
		}
	}
	return best, nil
}

// settled ends a search that no longer gains, or, where no prior would call it back, that runs away.
type settled struct {
	optimize.FunctionConverge
	free bool
}

// Converged is asked by the search after each iteration.
func (s *settled) Converged(at *optimize.Location) optimize.Status {
	if s.free {
		for _, v := range at.X {
			if runaway(v) {
				return optimize.MethodConverge
			}
		}
	}
	return s.FunctionConverge.Converged(at)
}

// covariance is that of the logarithms: the inverse of the objective's second derivatives times the weight. It is zero
// where these are not positive definite.
func (p problem) covariance(objective func([]float64) float64, at []float64) *mat.SymDense {
	hessian := mat.NewSymDense(p.dim, nil)
	fd.Hessian(hessian, objective, at, &fd.Settings{Formula: fd.Central, Step: hessianStep})
	hessian.ScaleSym(p.weight, hessian)
	var factors mat.Cholesky
	inverse := mat.NewSymDense(p.dim, nil)
	if !factors.Factorize(hessian) || factors.InverseTo(inverse) != nil {
		return mat.NewSymDense(p.dim, nil)
	}
	return inverse
}
