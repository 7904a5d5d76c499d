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
