package smtp

import (
	"net/mail"
	"regexp"
	"strings"
)

// maxResponse bounds what is kept of a server's words.
const maxResponse = 300

// scrubber removes the recipient from what a server says: the whole address, its two halves and the name, in any
// case, and every other address.
type scrubber struct{ address, half *regexp.Regexp }

func newScrubber(to *mail.Address) scrubber {
	local, domain := to.Address, ""
	if at := strings.LastIndexByte(to.Address, '@'); at >= 0 {
		local, domain = to.Address[:at], to.Address[at+1:]
	}
	var halves []string
	for _, s := range []string{to.Name, domain, local} {
		if s != "" {
			halves = append(halves, regexp.QuoteMeta(s))
		}
	}
	return scrubber{
		address: regexp.MustCompile(`(?i)<?"?` + regexp.QuoteMeta(local) + `"?(@|=|%40)` + regexp.QuoteMeta(domain) + `>?|<?[^\s<>"'(),;:]+@[^\s<>"'(),;:]+>?`),
		half:    regexp.MustCompile(`(?i)(^|[^\pL\pN])(?:` + strings.Join(halves, "|") + `)($|[^\pL\pN])`),
	}
}

// clean is s in one line, without addresses, cut to a length that a table can hold.
func (sc scrubber) clean(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 127 }), " ")
	s = sc.address.ReplaceAllString(s, "[address]")
	// Twice: neighbours share the character between them.
	for range 2 {
		s = sc.half.ReplaceAllString(s, "$1[recipient]$2")
	}
	if r := []rune(s); len(r) > maxResponse {
		s = string(r[:maxResponse-1]) + "…"
	}
	return s
}
