package normal

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

var update = flag.Bool("update", false, "write countries.txt")

// Names that have changed since the CLDR of golang.org/x/text, and what people write. By code.
func spoken() map[string]string {
	return map[string]string{
		"GB": "UK|Great Britain|England|Scotland|Wales|Northern Ireland|U.K.", "US": "USA|U.S.A.|United States of America|America",
		"NL": "Holland|The Netherlands", "CZ": "Czech Republic|Tschechische Republik", "TR": "Türkiye|Turkey", "MK": "North Macedonia|Macedonia",
		"SZ": "Eswatini|Swaziland", "CI": "Ivory Coast", "RU": "Russian Federation", "KR": "Republic of Korea|Korea", "VN": "Viet Nam",
		"IR": "Islamic Republic of Iran", "MD": "Republic of Moldova", "SY": "Syrian Arab Republic", "TZ": "United Republic of Tanzania",
		"VE": "Bolivarian Republic of Venezuela", "BO": "Plurinational State of Bolivia", "AE": "UAE|Emirates", "BN": "Brunei Darussalam",
		"CD": "Democratic Republic of the Congo", "CG": "Republic of the Congo", "CV": "Cabo Verde", "LA": "Lao People's Democratic Republic",
		"VA": "Vatican", "PS": "Palestine|State of Palestine", "HK": "Hong Kong", "MO": "Macau|Macao", "TL": "East Timor", "MM": "Burma",
		"DE": "BRD|Bundesrepublik Deutschland", "SE": "Sverige", "NO": "Norge", "DK": "Danmark", "FI": "Suomi", "CN": "中国", "JP": "日本", "GR": "Hellas",
	}
}

// countries.txt holds CLDR's names, so that the program need not carry the library's tables.
func TestCountryNamesAreCLDRs(t *testing.T) {
	languages := []language.Tag{language.English, language.German, language.French, language.Spanish, language.Italian, language.Dutch, language.Portuguese, language.Polish}
	owners := map[string]map[string]bool{}
	names := map[string][]string{}
	add := func(code, name string) {
		if name == "" || slices.ContainsFunc(names[code], func(n string) bool { return fold(n) == fold(name) }) {
			return
		}
		names[code] = append(names[code], name)
		if owners[fold(name)] == nil {
			owners[fold(name)] = map[string]bool{}
		}
		owners[fold(name)][code] = true
	}
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			region, err := language.ParseRegion(string([]rune{a, b}))
			if err != nil || !region.IsCountry() || region.Canonicalize() != region {
				continue
			}
			for _, l := range languages {
				add(region.String(), display.Regions(l).Name(region))
			}
			for name := range strings.SplitSeq(spoken()[region.String()], "|") {
				add(region.String(), name)
			}
		}
	}
	var out strings.Builder
	out.WriteString("# Countries by name: English, German, French, Spanish, Italian, Dutch, Portuguese, Polish (CLDR), and what people write.\n")
	out.WriteString("# Made by: go test ./pipeline/normal -run CLDR -update\n")
	for _, code := range slices.Sorted(func(yield func(string) bool) {
		for code := range names {
			if !yield(code) {
				return
			}
		}
	}) {
		kept := slices.DeleteFunc(names[code], func(n string) bool { return len(owners[fold(n)]) > 1 }) // in doubt: in no one's name
		fmt.Fprintf(&out, "%s\t%s\n", code, strings.Join(kept, "|"))
	}
	if *update {
		if err := os.WriteFile("countries.txt", []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(out.String(), countryNames); diff != "" {
		t.Errorf("countries.txt is stale, run with -update (-want +got):\n%s", diff)
	}
}
