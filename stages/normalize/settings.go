package normalize

import (
	"fmt"

	"attune/pipeline/normal"
)

// Settings are what an installation decides about its calls.
type Settings struct {
	// PhoneRegion is the country, as a code or a name, whose phone numbers customers write without country code.
	// Empty (default): such numbers stay as they are written.
	PhoneRegion string `yaml:"phone_region" json:"phone_region"`
}

// Validate reports what is wrong with the settings.
func (s Settings) Validate() error {
	if s.PhoneRegion == "" {
		return nil
	}
	if _, ok := normal.New("").Country(s.PhoneRegion); !ok {
		return fmt.Errorf("phone_region: %q is no country; write an ISO 3166 code such as DE", s.PhoneRegion)
	}
	return nil
}
