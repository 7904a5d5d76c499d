package normalize

import "strings"

// nobody tells whether an id is none: what programs write who have none to give. Taken for an id it would make one customer
// of all who have it.
func nobody(id string) bool {
	if strings.Trim(id, "0-") == "" { // 0, --, 00000000-0000-0000-0000-000000000000
		return id != ""
	}
	switch strings.ToLower(id) {
	case "null", "(null)", "<null>", "nil", "none", "undefined", "nan", "n/a", "na", "unknown", "anonymous", "guest", "test", "true", "false",
		"-1", "[object object]", "{}", "[]", "not set", "(not set)":
		return true
	}
	return false
}
