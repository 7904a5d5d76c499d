package normal

import "strings"

// Email is an address in its normal form; false where text is none.
func Email(text string) (address string, ok bool) {
	address = strings.TrimSpace(text)
	if open := strings.LastIndexByte(address, '<'); open >= 0 && strings.HasSuffix(address, ">") {
		address = address[open+1 : len(address)-1]
	}
	if len(address) > 7 && strings.EqualFold(address[:7], "mailto:") {
		address = address[7:]
	}
	local, domain, _ := strings.Cut(address, "@")
	if local == "" || domain == "" || strings.ContainsAny(domain, "@<>") || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xa0 }) {
		return text, false
	}
	return strings.ToLower(address), true
}

// IsAddress tells whether text is an e-mail address and hardly anything else, for fields whose name says nothing: the domain
// ends in a top-level domain.
func IsAddress(text string) bool {
	address, ok := Email(text)
	local, domain, _ := strings.Cut(address, "@")
	if !ok || strings.ContainsAny(local, "/?&=") { // of a URL
		return false
	}
	dot := strings.LastIndexByte(domain, '.')
	return dot > 0 && dot < len(domain)-1 && topLevel(domain[dot+1:]) == len(domain)-dot-1 &&
		!strings.ContainsFunc(domain, func(r rune) bool { return r < 0x80 && !isLetter(r) && (r < '0' || r > '9') && r != '-' && r != '.' })
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
