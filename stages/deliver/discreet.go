package deliver

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"attune/pipeline/vault"
)

// shortest is the length, in characters, from which a personal value is looked for: shorter ones are in every text.
const shortest = 3

// discreet is text without the customer's personal values. A destination knows them from the mail, and may
// repeat them in its answer, which is stored and logged.
func discreet(text string, entry vault.Entry) string {
	if text == "" {
		return ""
	}
	var values []string
	for _, f := range entry.Fields {
		var v any
		if json.Unmarshal(f.Value, &v) == nil {
			values = appendTexts(values, v)
		}
	}
	if len(values) == 0 {
		return text
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // the whole before its parts
	return regexp.MustCompile("(?i)"+strings.Join(values, "|")).ReplaceAllLiteralString(text, "[personal]")
}

// appendTexts adds the texts in a JSON value, as patterns.
func appendTexts(to []string, v any) []string {
	switch v := v.(type) {
	case string:
		if v = strings.TrimSpace(v); utf8.RuneCountInString(v) >= shortest {
			to = append(to, regexp.QuoteMeta(v))
		}
	case []any:
		for _, item := range v {
			to = appendTexts(to, item)
		}
	case map[string]any:
		for _, field := range v {
			to = appendTexts(to, field)
		}
	}
	return to
}
