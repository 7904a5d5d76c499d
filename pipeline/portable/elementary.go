// Package portable has the exponential and the logarithm with the same bits on every platform. Those of math have assembly
// on some processors and may be compiled with fused multiply-add on others, so that the last digit differs; what decides
// about customers must not. Every product that meets a sum is rounded by a float64 conversion, which the Go specification
// guarantees to prevent fusing. Errors stay within a few units in the last place.
package portable

import "math"

const (
	ln2Hi = 6.93147180369123816490e-01 // ln 2 in two parts; the first ends in 32 zero bits, so k*ln2Hi is exact
	ln2Lo = 1.90821492927058770002e-10

	// expMax bounds the argument of exp, so that no result overflows or becomes subnormal.
	expMax = 700
)

// Exp is e^x; x beyond ±700 is taken as ±700.
func Exp(x float64) float64 {
	if x > expMax {
		x = expMax
	}
	if x < -expMax {
		x = -expMax
	}
	half := 0.5
	if x < 0 {
		half = -0.5
	}
	k := int64(float64(x*math.Log2E) + half)
	f := float64(k)
	r := x - float64(f*ln2Hi) - float64(f*ln2Lo)
	return ExpSmall(r) * math.Float64frombits(uint64(k+1023)<<52)
}

// ExpSmall is e^x for |x| <= ln(2)/2, by Taylor's series; the first term left out is below 3e-19.
func ExpSmall(x float64) float64 {
	s := 1.0 / 87178291200
	s = 1.0/6227020800 + float64(s*x)
	s = 1.0/479001600 + float64(s*x)
	s = 1.0/39916800 + float64(s*x)
	s = 1.0/3628800 + float64(s*x)
	s = 1.0/362880 + float64(s*x)
	s = 1.0/40320 + float64(s*x)
	s = 1.0/5040 + float64(s*x)
	s = 1.0/720 + float64(s*x)
	s = 1.0/120 + float64(s*x)
	s = 1.0/24 + float64(s*x)
	s = 1.0/6 + float64(s*x)
	s = 1.0/2 + float64(s*x)
	s = 1 + float64(s*x)
	return 1 + float64(s*x)
}

// Log is the natural logarithm of a positive, normal number.
func Log(x float64) float64 {
	bits := math.Float64bits(x)
	k := int64(bits>>52) - 1023
	m := math.Float64frombits(bits&(1<<52-1) | 1023<<52)
	if m > math.Sqrt2 {
		m /= 2
		k++
	}

	// ln m = 2 artanh(s); |s| <= 0.1716, the first term left out is below 1e-18.
	s := (m - 1) / (m + 1)
	q := float64(s * s)
	p := 1.0 / 23
	p = 1.0/21 + float64(p*q)
	p = 1.0/19 + float64(p*q)
	p = 1.0/17 + float64(p*q)
	p = 1.0/15 + float64(p*q)
	p = 1.0/13 + float64(p*q)
	p = 1.0/11 + float64(p*q)
	p = 1.0/9 + float64(p*q)
	p = 1.0/7 + float64(p*q)
	p = 1.0/5 + float64(p*q)
	p = 1.0/3 + float64(p*q)
	p = float64(2*s) + float64(float64(2*s*q)*p)
	f := float64(k)
	return float64(f*ln2Hi) + (p + float64(f*ln2Lo))
}

// Log1p is Log(1+x) for x >= 0, exact for small x (Kahan's correction of the rounded sum).
func Log1p(x float64) float64 {
	u := 1 + x
	if u == 1 {
		return x
	}
	return Log(u) + (x-(u-1))/u
}

// Expm1 is e^x - 1, exact for small x.
func Expm1(x float64) float64 {
	if x > 0.4 || x < -0.4 {
		return Exp(x) - 1
	}
	// Taylor's series for |x| <= 0.4; the first term left out is below 1e-20 of the sum.
	s := 1.0 / 1307674368000
	s = 1.0/87178291200 + float64(s*x)
	s = 1.0/6227020800 + float64(s*x)
	s = 1.0/479001600 + float64(s*x)
	s = 1.0/39916800 + float64(s*x)
	s = 1.0/3628800 + float64(s*x)
	s = 1.0/362880 + float64(s*x)
	s = 1.0/40320 + float64(s*x)
	s = 1.0/5040 + float64(s*x)
	s = 1.0/720 + float64(s*x)
	s = 1.0/120 + float64(s*x)
	s = 1.0/24 + float64(s*x)
	s = 1.0/6 + float64(s*x)
	s = 1.0/2 + float64(s*x)
	s = 1 + float64(s*x)
	return s * x
}

// Logistic is 1/(1+e^-x), the probability whose log odds are x.
func Logistic(x float64) float64 { return 1 / (1 + Exp(-x)) }
