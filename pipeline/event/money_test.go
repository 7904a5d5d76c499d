package event

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseMoney(t *testing.T) {
	for _, c := range []struct {
		text string
		want Money
	}{
		{"12.5", 125_000}, {" -0.00005 ", -1}, {"0.00004", 0}, {"+1", 10_000}, {".5", 5_000}, {"5.", 50_000}, {"1e3", 10_000_000},
		{"1.23456E-2", 123}, {"8007199254740993e-1", 8_007_199_254_740_993_000}, {"900000000000000", 9e18}, {"-900000000000000", -9e18}, {"000000000000000000012", 120_000},
		{"12e-400", 0}, {"1.00005", 10_001}, {"-1.00005", -10_001}, {"0e400", 0},
	} {
		got, err := ParseMoney(c.text)
		if err != nil || got != c.want {
			t.Errorf("ParseMoney(%q) = %d, %v, want %d", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{
		"", ".", "-", "-+5", "+-5", "--5", "1,5", "0x1Ep2", "1_0", "NaN", "Inf", "1e", "e5", "1e5e5", "1e401", "1e999999999999999999999",
		"900000000000000.0001", "9007199254740993e-1", "1000000000000000", "922337203685477.5808", "1e15", "€5", "12 3",
	} {
		if m, err := ParseMoney(text); err == nil {
			t.Errorf("ParseMoney(%q) = %d, want an error", text, m)
		}
	}
}

// What is parsed is the exact decimal, rounded half away from zero to four places, in plain and in scientific
// notation.
func TestParseMoneyIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[+-]?[0-9]{1,14}(\.[0-9]{0,9})?`).Draw(t, "number")
		if rapid.Bool().Draw(t, "scientific") {
			text += fmt.Sprintf("e%d", rapid.IntRange(-20, 8).Draw(t, "exponent"))
		}
		exact, ok := new(big.Rat).SetString(strings.TrimPrefix(text, "+"))
		if !ok {
			t.Fatalf("bad test input %q", text)
		}
		exact.Mul(exact, big.NewRat(int64(MoneyUnit), 1))
		half := big.NewRat(1, 2)
		if exact.Sign() < 0 {
			half.Neg(half)
		}
		exact.Add(exact, half)
		want := new(big.Int).Quo(exact.Num(), exact.Denom()) // towards zero
		inRange := want.CmpAbs(big.NewInt(9e18)) <= 0
		got, err := ParseMoney(text)
		if (err == nil) != inRange {
			t.Fatalf("ParseMoney(%q) = %d, %v; exact %s ten-thousandths", text, got, err, want)
		}
		if inRange && big.NewInt(int64(got)).Cmp(want) != 0 {
			t.Fatalf("ParseMoney(%q) = %d, want %s", text, got, want)
		}
	})
}

func TestMoneyStringRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Money(rapid.Int64Range(-9e18, 9e18).Draw(t, "m"))
		got, err := ParseMoney(m.String())
		if err != nil || got != m {
			t.Fatalf("%d prints %q, which reads as %d, %v", m, m, got, err)
		}
		if _, decimals, _ := strings.Cut(m.String(), "."); len(decimals) < 2 || len(decimals) > 4 {
			t.Fatalf("%d prints %q: want two to four decimals", m, m)
		}
	})
	if got := Money(math.MinInt64).String(); got != "-922337203685477.5808" {
		t.Errorf("the lowest prints %q", got)
	}
}

// A constant written like an amount equals the amount's Float: rules compare that way.
func TestMoneyFloatIsTheNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Money(rapid.Int64Range(-1<<53, 1<<53).Draw(t, "m"))
		want, err := strconv.ParseFloat(m.String(), 64)
		if err != nil || m.Float() != want {
			t.Fatalf("%s has Float %v", m, m.Float())
		}
		if back := MoneyOf(m.Float()); m > -1<<50 && m < 1<<50 && back != m {
			t.Fatalf("%s comes back from its Float as %s", m, back)
		}
	})
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e15, -1e15} {
		if MoneyOf(f) != 0 {
			t.Errorf("MoneyOf(%v) = %s", f, MoneyOf(f))
		}
	}
}

func TestMoneyNeverWrapsAround(t *testing.T) {
	for _, tt := range []struct{ a, b, want Money }{
		{1, 2, 3}, {-1, -2, -3}, {math.MaxInt64, 1, math.MaxInt64}, {-math.MaxInt64, -5, -math.MaxInt64}, {math.MaxInt64, -1, math.MaxInt64 - 1},
	} {
		if got := tt.a.Plus(tt.b); got != tt.want {
			t.Errorf("%d and %d are %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
