package normalize

import (
	"strings"
	"testing"
)

func TestSettingsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		says     string // empty: fine
	}{
		{"nothing", Settings{}, ""},
		{"everything", Settings{PhoneRegion: "Germany", PersonalFields: []string{"loyalty_card", "Email"}, OpenFields: []string{"plan", "product_phone"}, Strict: true}, ""},
		{"no country", Settings{PhoneRegion: "Atlantis"}, `phone_region: "Atlantis"`},
		{"both", Settings{PersonalFields: []string{"x", "Tax-ID"}, OpenFields: []string{"tax_id"}}, `open_fields[0]: "tax_id" is in personal_fields too`},
		{"an address is personal", Settings{OpenFields: []string{"plan", "E-Mail"}}, `open_fields[1]: "E-Mail" is personal in every installation`},
		{"a path", Settings{OpenFields: []string{"order.note"}}, `open_fields[0]: "order.note" is no field's name`},
		{"the defaults", DefaultSettings(), ""},
		{"negative", Settings{MaxLate: -1}, "max_late: -1ns is negative"},
		{"no name", Settings{PersonalFields: []string{"- "}}, `personal_fields[0]: "- " is no field's name`},
	} {
		err := c.settings.Validate()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.says)
		}
	}
}
