package mapping

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/shopspring/decimal"
)

// maxFactors bounds a product in a sum.
const maxFactors = 4

// sum adds up the numbers of an array, exactly, as decimals: 0.1 and 0.2 are 0.3. An array in it counts as the product of
// its numbers. Numbers may be text, as CSV has them. The sum of nothing is null, as jq's add has it.
func sum(v any, _ []any) any {
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return errors.New("sum needs an array: [.lines[] | .price] | sum")
	}
	if len(list) == 0 {
		return nil
	}
	total := decimal.Zero
	for _, one := range list {
		factors, many := one.([]any)
		if !many {
			factors = []any{one}
		}
		if len(factors) == 0 || len(factors) > maxFactors {
			return fmt.Errorf("sum multiplies at most %d numbers: [.quantity, .price]", maxFactors)
		}
		product := decimal.New(1, 0)
		for _, f := range factors {
			text, ok := plain(f)
			n, numeric := exact(text)
			if !ok || !numeric {
				return errors.New("sum needs numbers, and what is null or other text is none")
			}
			product = product.Mul(n)
		}
		total = total.Add(product)
	}
	return json.Number(total.String())
}

// exact reads a plain or scientific decimal number of sane size.
func exact(s string) (decimal.Decimal, bool) {
	if s == "" || len(s) > 64 {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(s)
	// A huge exponent is cheap to read and ruinous to add or print.
	if err != nil || d.Exponent() > 30 || d.Exponent() < -30 {
		return decimal.Zero, false
	}
	return d, true
}
