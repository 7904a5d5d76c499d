package normal

import (
	"strings"

	"golang.org/x/text/language"
)

// maxLocale is longer than any locale is written.
const maxLocale = 256

// Locale is a BCP 47 language tag; false where text is none. Of an Accept-Language header the first counts, and
// what POSIX appends (.UTF-8, @euro) goes.
func Locale(text string) (tag string, ok bool) {
	if usual(text) {
		return text, true
	}
	if len(text) > maxLocale {
		return text, false
	}
	first := strings.TrimSpace(text)
	if i := strings.IndexAny(first, ",;.@"); i >= 0 {
		first = first[:i]
	}
	parsed, err := language.Parse(strings.ReplaceAll(strings.TrimSpace(first), "_", "-"))
	if err != nil || parsed == language.Und {
		return text, false
	}
	return parsed.String(), true
}

// usual tells whether text is as browsers write it, de or de-DE, which needs no parsing.
func usual(text string) bool {
	lower := func(c byte) bool { return c >= 'a' && c <= 'z' }
	upper := func(c byte) bool { return c >= 'A' && c <= 'Z' }
	if len(text) != 2 && (len(text) != 5 || text[2] != '-' || !upper(text[3]) || !upper(text[4])) || !lower(text[0]) || !lower(text[1]) {
		return false
	}
	switch text[:2] {
	case "in", "iw", "ji", "jw", "mo", "sh", "tl": // replaced by others
		return false
	}
	return len(text) == 2 || text[3:] != "UK"
}
