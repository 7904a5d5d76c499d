package event

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Money is an amount in ten-thousandths of a currency's main unit, so that sums are exact in any order.
// Its range is about ±900 trillion.
type Money int64

// MoneyUnit is one main unit: a pound, a euro, a dollar.
const MoneyUnit Money = 10_000

// ParseMoney reads a JSON number or a decimal string. What has more than four decimals is rounded half away
// from zero. It refuses what is no finite decimal number or out of range.
func ParseMoney(s string) (Money, error) {
	m, wrong := parseMoney(s)
	if wrong != "" {
		return 0, fmt.Errorf("money %q: %s", s, wrong)
	}
	return m, nil
}

// parseMoney says what is wrong with a text without keeping it: most amounts are read where nobody asks why not.
func parseMoney(s string) (m Money, wrong string) {
	number := strings.TrimSpace(s)
	negative := strings.HasPrefix(number, "-")
	if negative || strings.HasPrefix(number, "+") {
		number = number[1:]
	}
	number, exponent, scientific := cutExponent(number)
	whole, fraction, _ := strings.Cut(number, ".")
	if whole == "" && fraction == "" || !allDigits(whole) || !allDigits(fraction) {
		return 0, "not a decimal number"
	}
	if scientific {
		shift, err := strconv.Atoi(exponent)
		if err != nil || shift > maxExponent || shift < -maxExponent {
			return 0, "not a decimal number in range"
		}
		whole, fraction = shiftPoint(whole, fraction, shift)
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > 15 {
		return 0, "out of range"
	}
	for _, c := range whole {
		m = m*10 + Money(c-'0')
	}
	for i := range 4 {
		m *= 10
		if i < len(fraction) {
			m += Money(fraction[i] - '0')
		}
	}
	if len(fraction) > 4 && fraction[4] >= '5' {
		m++
	}
	if m > 9e18 || m < 0 {
		return 0, "out of range"
	}
	if negative {
		m = -m
	}
	return m, ""
}

// maxExponent bounds scientific notation; no float64 prints more.
const maxExponent = 400

// cutExponent splits the scientific notation of producers that print floats.
func cutExponent(s string) (number, exponent string, found bool) {
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// shiftPoint moves the decimal point n digits to the right; to the left when n is negative.
func shiftPoint(whole, fraction string, n int) (w, f string) {
	if n >= 0 {
		fraction += strings.Repeat("0", max(0, n-len(fraction)))
		return whole + fraction[:n], fraction[n:]
	}
	whole = strings.Repeat("0", max(0, -n-len(whole))) + whole
	return whole[:len(whole)+n], whole[len(whole)+n:] + fraction
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// MoneyOf rounds a computed amount, such as a lifetime value, to Money. NaN and what is out of range give 0.
func MoneyOf(f float64) Money {
	if math.IsNaN(f) || math.Abs(f) > 9e14 {
		return 0
	}
	return Money(math.Round(f * float64(MoneyUnit)))
}

// Float is the amount in main units.
func (m Money) Float() float64 { return float64(m) / float64(MoneyUnit) }

// String prints the amount in main units with two to four decimals: "12.50", "0.1234".
func (m Money) String() string {
	sign, amount := "", uint64(m)
	if m < 0 {
		sign, amount = "-", -amount
	}
	s := fmt.Sprintf("%s%d.%04d", sign, amount/uint64(MoneyUnit), amount%uint64(MoneyUnit))
	for range 2 {
		s = strings.TrimSuffix(s, "0")
	}
	return s
}

// Plus sums up without ever wrapping around: what is out of range stays at the bound.
func (m Money) Plus(n Money) Money {
	sum := m + n
	switch {
	case m > 0 && n > 0 && sum < 0:
		return math.MaxInt64
	case m < 0 && n < 0 && sum >= 0:
		return -math.MaxInt64
	}
	return sum
}

// Times is a price times a quantity, which has the same four decimals, rounded half away from zero; what is out of range
// stays at the bound.
func (m Money) Times(quantity Money) Money {
	negative := (m < 0) != (quantity < 0)
	hi, lo := bits.Mul64(magnitude(m), magnitude(quantity))
	lo, carry := bits.Add64(lo, uint64(MoneyUnit)/2, 0)
	hi += carry
	product := Money(math.MaxInt64)
	if hi < uint64(MoneyUnit) {
		if q, _ := bits.Div64(hi, lo, uint64(MoneyUnit)); q <= math.MaxInt64 {
			product = Money(q)
		}
	}
	if negative {
		return -product
	}
	return product
}

func magnitude(m Money) uint64 {
	if m < 0 {
		return uint64(-m)
	}
	return uint64(m)
}
