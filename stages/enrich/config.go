package enrich

import (
	"errors"
	"fmt"
)

// Config sets how customers are valued.
type Config struct {
	// HorizonWeeks is how far the lifetime value looks ahead, in weeks: 1 to 520, by default 52.
	HorizonWeeks float64 `yaml:"horizon_weeks"`
	// Margin is the share of revenue that counts as value: above 0 and at most 1, by default 1 (the value is revenue).
	Margin float64 `yaml:"margin"`
}

// DefaultConfig is a year ahead, in revenue.
func DefaultConfig() Config { return Config{HorizonWeeks: 52, Margin: 1} }

// Validate reports every setting outside its range.
func (c Config) Validate() error {
	var errs []error
	if !(c.HorizonWeeks >= 1 && c.HorizonWeeks <= 520) {
		errs = append(errs, fmt.Errorf("horizon_weeks: %v: want 1 to 520 weeks; 52 is a year", c.HorizonWeeks))
	}
	if !(c.Margin > 0 && c.Margin <= 1) {
		errs = append(errs, fmt.Errorf("margin: %v: want more than 0 and at most 1; 1 values customers by revenue", c.Margin))
	}
	return errors.Join(errs...)
}
