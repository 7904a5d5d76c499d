package clv

import (
	"math"

	"attune/pipeline/portable"
)

// integrate is the logarithm of the integral from a to b of e^h(u), for a concave h with the slope dh: Gauss and
// Legendre's rule of 16 points in panels that are at most 2 wide and within which h changes by 16 at most, so that each
// is exact to the last digits. What is below e^-40 of the largest is left out. The integrand must be analytic within pi
// of the real axis.
func integrate(a, b float64, h, dh func(float64) float64) float64 {
	// Half of the nodes and weights on (-1, 1); the others mirror them.
	x := [8]float64{
		0.98940093499164994, 0.94457502307323260, 0.86563120238783176, 0.75540440835500300,
		0.61787624440264377, 0.45801677765722737, 0.28160355077925892, 0.09501250983763744,
	}
	w := [8]float64{
		0.02715245941175406, 0.06225352393864778, 0.09515851168249290, 0.12462897125553395,
		0.14959598881657682, 0.16915651939500256, 0.18260341504492361, 0.18945061045506847,
	}
	if !(b > a) {
		return math.Inf(-1)
	}
	top, mode := h(a), a
	if dh(a) > 0 { // the largest lies further on
		mode = peak(a, b, dh)
		top = h(mode)
	}
	sum := 0.0
	add := func(from, to float64) {
		half, middle := (to-from)/2, (from+to)/2
		for i := range x {
			d := float64(half * x[i])
			sum += float64(float64(half*w[i]) * (portable.Exp(h(middle-d)-top) + portable.Exp(h(middle+d)-top)))
		}
	}
	for u := mode; u < b && h(u) > top-40; {
		next := u + panel(b-u, func(d float64) float64 { return dh(u + d) })
		add(u, next)
		u = next
	}
	for u := mode; u > a && h(u) > top-40; {
		next := u - panel(u-a, func(d float64) float64 { return dh(u - d) })
		add(next, u)
		u = next
	}
	return top + portable.Log(sum)
}

// panel is how far to go, at most left, so that h changes little; dh is its slope at a distance, steepest at the end.
func panel(left float64, dh func(float64) float64) float64 {
	width := min(left, 2)
	for abs(float64(dh(width)*width)) > 16 {
		width /= 2
	}
	return width
}

// peak is near where the falling slope dh crosses zero, or b.
func peak(a, b float64, dh func(float64) float64) float64 {
	if dh(b) >= 0 {
		return b
	}
	for range 60 {
		middle := a + (b-a)/2
		if dh(middle) > 0 {
			a = middle
		} else {
			b = middle
		}
	}
	return a
}
