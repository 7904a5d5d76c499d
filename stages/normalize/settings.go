package normalize

import (
	"errors"
	"fmt"
	"time"

	"attune/pipeline/normal"
	"attune/pipeline/vault"
)

// Settings are what an installation decides about its calls.
type Settings struct {
	// PhoneRegion is the country, as a code or a name, whose phone numbers customers write without country code.
	// Empty (default): such numbers stay as they are written.
	PhoneRegion string `yaml:"phone_region" json:"phone_region"`
	// PersonalFields are personal beside those that always are (email, phone, names, address, birthday, ip, …), in traits and
	// properties, nested ones too. Names are compared without case, underscores, hyphens and spaces. Default none.
	PersonalFields []string `yaml:"personal_fields" json:"personal_fields"`
	// OpenFields are not personal: they go on under Strict, and whatever their names end in and hold. Their members are
	// judged by their own names. Default none; the fields of Segment's ecommerce spec are open without being listed.
	OpenFields []string `yaml:"open_fields" json:"open_fields"`
	// Strict lets only declared fields go on: those that are open, and hashes of those that are personal. What nobody
	// declared stays behind, with its name and all that it holds. Default false.
	Strict bool `yaml:"strict" json:"strict"`
	// MaxLate is how long after it occurred a call may be accepted and still lead to something: an older one is taken as
	// historical, which changes state and fires nothing. Default 168h (7 days); 0: no bound.
	MaxLate time.Duration `yaml:"max_late" json:"max_late"`
	// MaxFuture is how far ahead of the clock a call's corrected time may lie and be taken for now: one that is further
	// ahead is parked (bad_timestamp). Default 24h; 0: no bound.
	MaxFuture time.Duration `yaml:"max_future" json:"max_future"`
}

// DefaultSettings are the defaults.
func DefaultSettings() Settings {
	return Settings{MaxLate: 7 * 24 * time.Hour, MaxFuture: 24 * time.Hour}
}

// Declared is what the settings say of fields.
func (s Settings) Declared() vault.Declared {
	return vault.Declared{Personal: s.PersonalFields, Open: s.OpenFields, Strict: s.Strict}
}

// Validate reports what is wrong with the settings.
func (s Settings) Validate() error {
	errs := s.Declared().Validate("personal_fields", "open_fields")
	if _, ok := normal.New("").Country(s.PhoneRegion); s.PhoneRegion != "" && !ok {
		errs = append(errs, fmt.Errorf("phone_region: %q is no country; write an ISO 3166 code such as DE", s.PhoneRegion))
	}
	for _, bound := range []struct {
		field string
		value time.Duration
	}{{"max_late", s.MaxLate}, {"max_future", s.MaxFuture}} {
		if bound.value < 0 {
			errs = append(errs, fmt.Errorf("%s: %s is negative; write 0 for no bound", bound.field, bound.value))
		}
	}
	return errors.Join(errs...)
}
