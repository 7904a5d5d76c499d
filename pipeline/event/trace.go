package event

import "strings"

// IsTrace tells whether text is a W3C traceparent, such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01. It
// travels as it is from the call to the mail. Its companion tracestate does not: anything may stand in that, and the log
// keeps no personal field.
func IsTrace(text string) bool {
	if len(text) != 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' || text[:2] == "ff" {
		return false
	}
	for i := range len(text) {
		if c := text[i]; i != 2 && i != 35 && i != 52 && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return strings.Trim(text[3:35], "0") != "" && strings.Trim(text[36:52], "0") != ""
}
