package clv

import "fmt"

// Counts is a model of how often a customer buys: BGNBD, MBGNBD or ParetoNBD, or one of these WithOwnRate. All are values,
// safe for concurrent use. The methods never return NaN or an infinity.
type Counts interface {
	// Name is how files and commands call the model: bgnbd, mbgnbd or paretonbd.
	Name() string
	// Alive is the probability that the customer has not left for good.
	Alive(p Purchases) float64
	// Expected is the mean number of days with a purchase in the coming weeks (0 to 1e6).
	Expected(p Purchases, weeks float64) float64
	// Active is the probability of at least one purchase in the coming weeks (0 to 1e6).
	Active(p Purchases, weeks float64) float64
	// AtLeast is the probability of at least n days (1 to 1e9) with a purchase in the coming weeks (0 to 1e6).
	AtLeast(p Purchases, weeks, n float64) float64
	// Discounted is Expected with each purchase counted e^(-rate t) at its week t; rate is 0 to 1.
	Discounted(p Purchases, weeks, rate float64) float64
	// Validate reports every parameter outside its range.
	Validate() error
	// Parameters are the model's, by the order in which the papers have them.
	Parameters() [4]float64

	// pairs is the mean of N(N-1) for the number N of days with a purchase in the coming weeks.
	pairs(p Purchases, weeks float64) float64
}

// drawn is counts WithOwnRate, where there is a share of it.
func drawn(counts Counts, share float64) Counts {
	if share == 0 {
		return counts
	}
	return WithOwnRate{counts, share}
}

// Names of the models of counts.
const (
	NameBGNBD     = "bgnbd"
	NameMBGNBD    = "mbgnbd"
	NameParetoNBD = "paretonbd"
)

// NewCounts is the model of a name with the given parameters, in the order of Parameters. They are not checked.
func NewCounts(name string, v [4]float64) (Counts, error) {
	switch name {
	case NameBGNBD:
		return BGNBD{R: v[0], Alpha: v[1], A: v[2], B: v[3]}, nil
	case NameMBGNBD:
		return MBGNBD{R: v[0], Alpha: v[1], A: v[2], B: v[3]}, nil
	case NameParetoNBD:
		return ParetoNBD{R: v[0], Alpha: v[1], S: v[2], Beta: v[3]}, nil
	}
	return nil, fmt.Errorf("clv: there is no model %q of counts: choose among %s, %s and %s", name, NameBGNBD, NameMBGNBD, NameParetoNBD)
}
