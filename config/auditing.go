package config

import (
	"errors"
	"fmt"
	"time"
)

// Audit is when the data and the workspace in force are looked over, and what is an alarm.
type Audit struct {
	// Every is the time from one audit to the next, 1m to 7d, by default 1h; 0: only attune audit looks.
	Every time.Duration `yaml:"every"`
	// DataAge is how long no event may have come in, 1m to 30d, by default 24h.
	DataAge time.Duration `yaml:"data_age"`
	// Quiet is how long a campaign may fire nothing, 1d to 365d, by default 30d.
	Quiet time.Duration `yaml:"quiet"`
}

// DefaultAudit looks every hour.
func DefaultAudit() Audit {
	return Audit{Every: time.Hour, DataAge: 24 * time.Hour, Quiet: 30 * 24 * time.Hour}
}

// Validate names every setting that is out of its range.
func (a Audit) Validate() error {
	const day = 24 * time.Hour
	var errs []error
	if a.Every != 0 && (a.Every < time.Minute || a.Every > 7*day) {
		errs = append(errs, fmt.Errorf("every: %s: want 1m to 7d, or 0 for never", a.Every))
	}
	if a.DataAge < time.Minute || a.DataAge > 30*day {
		errs = append(errs, fmt.Errorf("data_age: %s: want 1m to 30d, such as 24h", a.DataAge))
	}
	if a.Quiet < day || a.Quiet > 365*day {
		errs = append(errs, fmt.Errorf("quiet: %s: want 1d to 365d, such as 30d", a.Quiet))
	}
	return errors.Join(errs...)
}
