package enrich

import (
	"errors"
	"fmt"
	"slices"

	"attune/pipeline/event"
)

// Config sets how customers are valued.
type Config struct {
	// HorizonWeeks is how far the lifetime value looks ahead, in weeks: 1 to 520, by default 52.
	HorizonWeeks float64 `yaml:"horizon_weeks" json:"horizon_weeks"`
	// Margin is the share of revenue that counts as value: above 0 and at most 1, by default 1 (the value is revenue).
	Margin float64 `yaml:"margin" json:"margin"`
	// Lifecycle says when a customer is new, active, at risk and lapsed.
	Lifecycle Lifecycle `yaml:"lifecycle" json:"lifecycle"`
	// Loyalty is the table of loyalty tiers.
	Loyalty Loyalty `yaml:"loyalty" json:"loyalty"`
	// Propensities are what is foretold of customers, at most 20; by default purchase: Order Completed within 30d. A list
	// replaces the default.
	Propensities []Propensity `yaml:"propensities" json:"propensities"`
}

// Lifecycle has the bounds of the stages of life, in days of 24 hours. Who never ordered is a visitor.
type Lifecycle struct {
	// NewDays is how long after the first order a customer is new: 1 to 3650, by default 30.
	NewDays int `yaml:"new_days" json:"new_days"`
	// AtRiskDays is how long after the latest order a customer is at risk, and active until then: 1 to 3650, by default 90.
	AtRiskDays int `yaml:"at_risk_days" json:"at_risk_days"`
	// LapsedDays is how long after the latest order a customer has lapsed: more than at_risk_days and at most 3650, by
	// default 180.
	LapsedDays int `yaml:"lapsed_days" json:"lapsed_days"`
}

// Loyalty is a table of tiers. A customer has the last tier whose demands are all met.
type Loyalty struct {
	// WindowDays is how many days, UTC, with today as the last, count: 1 to 3650; 0 (the default): all that are kept,
	// which are the latest 3660 with a purchase and those with a refund.
	WindowDays int `yaml:"window_days" json:"window_days,omitempty"`
	// Tiers are in rising order, at most 20.
	Tiers []Tier `yaml:"tiers" json:"tiers,omitempty"`
}

// Tier is one line of the table.
type Tier struct {
	// Name is what rules and analysts call it: lower-case letters, digits, - and _, at most 63.
	Name string `yaml:"name" json:"name"`
	// Spent is the least that purchases brought, without what was refunded, in main currency units; by default 0.
	Spent float64 `yaml:"spent" json:"spent,omitempty"`
	// PurchaseDays is the least number of days with a purchase; by default 0.
	PurchaseDays int `yaml:"purchase_days" json:"purchase_days,omitempty"`
}

const (
	mostDays  = 3650
	mostTiers = 20
)

// DefaultConfig is a year ahead, in revenue; new for 30 days, at risk after 90, lapsed after 180; no tiers; whether there
// is a purchase within 30 days.
func DefaultConfig() Config {
	return Config{
		HorizonWeeks: 52, Margin: 1, Lifecycle: Lifecycle{NewDays: 30, AtRiskDays: 90, LapsedDays: 180},
		Propensities: []Propensity{{Name: "purchase", Event: event.OrderCompleted, Within: days(30)}},
	}
}

// Validate reports every setting outside its range.
func (c Config) Validate() error {
	var errs []error
	if !(c.HorizonWeeks >= 1 && c.HorizonWeeks <= 520) {
		errs = append(errs, fmt.Errorf("horizon_weeks: %v: want 1 to 520 weeks; 52 is a year", c.HorizonWeeks))
	}
	if !(c.Margin > 0 && c.Margin <= 1) {
		errs = append(errs, fmt.Errorf("margin: %v: want more than 0 and at most 1; 1 values customers by revenue", c.Margin))
	}
	return errors.Join(append(errs, c.Lifecycle.validate(), c.Loyalty.validate(), validatePropensities(c.Propensities))...)
}

func (l Lifecycle) validate() error {
	var errs []error
	if l.NewDays < 1 || l.NewDays > mostDays {
		errs = append(errs, fmt.Errorf("lifecycle.new_days: %d: want 1 to %d days after the first order, such as 30", l.NewDays, mostDays))
	}
	if l.AtRiskDays < 1 || l.AtRiskDays > mostDays {
		errs = append(errs, fmt.Errorf("lifecycle.at_risk_days: %d: want 1 to %d days after the latest order, such as 90", l.AtRiskDays, mostDays))
	}
	if l.LapsedDays <= l.AtRiskDays || l.LapsedDays > mostDays {
		errs = append(errs, fmt.Errorf("lifecycle.lapsed_days: %d: want more than at_risk_days (%d) and at most %d", l.LapsedDays, l.AtRiskDays, mostDays))
	}
	return errors.Join(errs...)
}

func (l Loyalty) validate() error {
	var errs []error
	if l.WindowDays < 0 || l.WindowDays > mostDays {
		errs = append(errs, fmt.Errorf("loyalty.window_days: %d: want 1 to %d days, or 0 for all time", l.WindowDays, mostDays))
	}
	if len(l.Tiers) > mostTiers {
		errs = append(errs, fmt.Errorf("loyalty.tiers: has %d lines, at most %d are allowed", len(l.Tiers), mostTiers))
	}
	for i, t := range l.Tiers {
		field := fmt.Sprintf("loyalty.tiers[%d]", i)
		if !isName(t.Name) {
			errs = append(errs, fmt.Errorf("%s.name: %q: want lower-case letters, digits, - and _, at most 63, such as gold", field, t.Name))
		}
		if slices.ContainsFunc(l.Tiers[:i], func(before Tier) bool { return before.Name == t.Name }) {
			errs = append(errs, fmt.Errorf("%s.name: %q stands there twice; give one of them another name", field, t.Name))
		}
		if !(t.Spent >= 0 && t.Spent <= 9e14) {
			errs = append(errs, fmt.Errorf("%s.spent: %v: want 0 or more, in main currency units", field, t.Spent))
		}
		if t.PurchaseDays < 0 || t.PurchaseDays > mostDays {
			errs = append(errs, fmt.Errorf("%s.purchase_days: %d: want 0 to %d", field, t.PurchaseDays, mostDays))
		}
		if i > 0 && t.Spent <= l.Tiers[i-1].Spent && t.PurchaseDays <= l.Tiers[i-1].PurchaseDays {
			errs = append(errs, fmt.Errorf("%s: asks for no more than %q before it, which nobody would have then: the tiers stand in rising order", field, l.Tiers[i-1].Name))
		}
	}
	return errors.Join(errs...)
}
