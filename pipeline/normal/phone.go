package normal

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// maxPhone is longer than any number is written; beyond it text isn't looked at.
const maxPhone = 64

// Phone is a number in E.164; false where text is no possible number. region is the country, in any spelling, of
// numbers without country code; empty: the one given to New. A number with an extension has no E.164 form.
func (f *Forms) Phone(text, region string) (number string, ok bool) {
	if len(text) > maxPhone {
		return text, false
	}
	in := f.region
	if region != "" {
		in = f.phoneRegion(region)
	}
	parsed, err := phonenumbers.Parse(strings.TrimPrefix(strings.TrimSpace(text), "tel:"), in)
	if err != nil || parsed.GetExtension() != "" || !phonenumbers.IsPossibleNumber(parsed) {
		return text, false
	}
	return phonenumbers.Format(parsed, phonenumbers.E164), true
}

func (f *Forms) phoneRegion(text string) string {
	if code, ok := f.Country(text); ok {
		return code
	}
	return "ZZ" // the library's word for none
}
