package normal

import (
	_ "embed"
	"strings"

	"golang.org/x/text/language"
)

//go:embed countries.txt
var countryNames string

// Forms reads values. It never changes and is safe for concurrent use.
type Forms struct {
	region    string            // of phone numbers without country code; "ZZ": they stay as they are
	countries map[string]string // alpha-2 by folded name
}

// New takes the country, in any spelling, whose phone numbers are written without country code; empty or unknown:
// such numbers stay as they are.
func New(region string) *Forms {
	f := &Forms{countries: make(map[string]string, 2300)}
	for line := range strings.Lines(countryNames) {
		code, names, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || strings.HasPrefix(code, "#") {
			continue
		}
		for name := range strings.SplitSeq(names, "|") {
			f.countries[fold(name)] = code
		}
	}
	f.region = f.phoneRegion(region)
	return f
}

// Country is a country's ISO 3166-1 alpha-2 code.
func (f *Forms) Country(text string) (code string, ok bool) {
	text = strings.TrimSpace(text)
	if len(text) == 2 || len(text) == 3 {
		if region, err := language.ParseRegion(text); err == nil && region.IsCountry() {
			return region.Canonicalize().String(), true
		}
	}
	code, ok = f.countries[fold(text)]
	return code, ok
}

// fold makes spellings of a name alike: without case, punctuation and space.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '.', ',', '-', '_', '\'', '’', '(', ')', '\u00a0':
			return -1
		}
		return r
	}, strings.ToLower(name))
}
