package normal

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bojanz/currency"
	"github.com/shopspring/decimal"
)

// Currency is a currency's ISO 4217 code; false where text is none that is in use.
func Currency(text string) (code string, ok bool) {
	code = strings.ToUpper(strings.TrimSpace(text))
	if len(code) != 3 || !currency.IsValid(code) {
		return text, false
	}
	return code, true
}

// Decimals is how many decimals a currency's minor unit has by ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD.
func Decimals(code string) (int, error) {
	known, ok := Currency(code)
	if !ok {
		return 0, fmt.Errorf("%q is no currency in use: want an ISO 4217 code such as EUR", short(code))
	}
	digits, _ := currency.GetDigits(known)
	return int(digits), nil
}

// Amount is an amount of main units as decimal text, rounded half away from zero to the currency's minor unit.
func Amount(number, code string) (string, error) {
	decimals, err := Decimals(code)
	if err != nil {
		return "", err
	}
	d, err := amount(number)
	if err != nil {
		return "", err
	}
	return d.StringFixed(int32(decimals)), nil
}

// FromMinor is an amount of minor units (cents, and what is a currency's like) in main units, as decimal text:
// 1999 of EUR are 19.99, of JPY 1999.
func FromMinor(number, code string) (string, error) {
	decimals, err := Decimals(code)
	if err != nil {
		return "", err
	}
	d, err := amount(number)
	if err != nil {
		return "", err
	}
	if !d.IsInteger() {
		return "", fmt.Errorf("%q: minor units are whole numbers", short(number))
	}
	return d.Shift(int32(-decimals)).StringFixed(int32(decimals)), nil
}

// amount reads a decimal number of a size that money has.
func amount(number string) (decimal.Decimal, error) {
	number = strings.TrimSpace(number)
	if len(number) <= 40 {
		if mantissa, exponent, scientific := strings.Cut(strings.ToLower(number), "e"); scientific {
			if n, err := strconv.Atoi(exponent); err != nil || n < -40 || n > 20 || mantissa == "" {
				return decimal.Decimal{}, fmt.Errorf("%q is no amount: want a decimal number such as 19.99", short(number))
			}
		}
		if d, err := decimal.NewFromString(number); err == nil {
			return d, nil
		}
	}
	return decimal.Decimal{}, fmt.Errorf("%q is no amount: want a decimal number such as 19.99", short(number))
}

// short keeps what a producer wrote from filling an error.
func short(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
