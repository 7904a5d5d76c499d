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
	address, name := valid(to.Address), valid(to.Name)
	local, domain := address, ""
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		local, domain = address[:at], address[at+1:]
	}
	var halves []string
	for _, s := range []string{name, domain, local} {
		if s != "" {
			halves = append(halves, regexp.QuoteMeta(s))
		}
	}
	return scrubber{
		address: regexp.MustCompile(`(?i)<?"?` + regexp.QuoteMeta(local) + `"?(@|=|%40)` + regexp.QuoteMeta(domain) + `>?|<?[^\s<>"'(),;:]+@[^\s<>"'(),;:]+>?`),
		half:    regexp.MustCompile(`(?i)(^|[^\pL\pN])(?:` + strings.Join(halves, "|") + `)($|[^\pL\pN])`),
	}
}

// valid is s in UTF-8, which a name need not be that comes in another charset's words, nor what a server says.
func valid(s string) string { return strings.ToValidUTF8(s, "?") }

// clean is s in one line, without addresses, cut to a length that a table can hold.
func (sc scrubber) clean(s string) string {
	s = strings.Join(strings.FieldsFunc(valid(s), func(r rune) bool { return r <= ' ' || r == 127 }), " ")
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
