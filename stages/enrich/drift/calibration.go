package drift

import "math"

// calibrationBins is into how many bins of equal width probabilities are cut.
const calibrationBins = 15

// leastMiss is the least calibration error for an alarm.
const leastMiss = 0.05

// Calibration tells whether probabilities still say how often it happens. The value is the expected calibration error, as
// propensity.Judge has it: how far the mean probability and the share of what happened are apart, over bins of equal width
// (Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015). before is the
// same of when the model was made.
//
// Where all is as it was, what a bin is off is about a normal variable with the variance V = sum p(1-p) over its values, of
// whose absolute value sqrt(2V/pi) is the mean and V(1-2/pi) the variance. The threshold is before and what chance exceeds
// once in ten thousand times beside it, and at least 0.05; for an alarm there must be a hundred values.
func Calibration(probabilities []float64, happened []bool, before float64) Finding {
	var off, variance [calibrationBins]float64
	for i, p := range probabilities {
		bin := max(min(int(p*calibrationBins), calibrationBins-1), 0)
		off[bin] += p
		if happened[i] {
			off[bin]--
		}
		variance[bin] += p * (1 - p)
	}
	n := float64(len(probabilities))
	f := Finding{Threshold: leastMiss, Values: len(probabilities)}
	if n == 0 {
		return f
	}
	var mean, spread float64
	for bin := range off {
		f.Value += math.Abs(off[bin]) / n
		mean += math.Sqrt(2 * variance[bin] / math.Pi)
		spread += variance[bin] * (1 - 2/math.Pi)
	}
	f.Threshold = max(leastMiss, before+(mean+onceInTenThousand*math.Sqrt(spread))/n)
	f.Alarm = f.Value > f.Threshold && n >= leastValues
	return f
}
