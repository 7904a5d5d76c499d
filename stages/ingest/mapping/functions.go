package mapping

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/itchyny/gojq"

	"attune/pipeline/normal"
	"attune/pipeline/spelling"
)

// own are the functions that a mapping has beyond jq's. What has no normal form stays as it is; null stays null.
func own(forms *normal.Forms) []gojq.CompilerOption {
	form := func(name string, read func(text string) (string, bool)) gojq.CompilerOption {
		return gojq.WithFunction(name, 0, 0, func(v any, _ []any) any {
			text, ok := plain(v)
			if !ok {
				return v
			}
			if normal, ok := read(text); ok {
				return normal
			}
			return v
		})
	}
	money := func(name string, read func(number, code string) (string, error)) gojq.CompilerOption {
		return gojq.WithFunction(name, 1, 1, func(v any, args []any) any {
			if v == nil {
				return nil
			}
			number, ok := plain(v)
			code, also := args[0].(string)
			if !ok || !also {
				return fmt.Errorf("%s needs a number and a currency, got %s and %s", name, gojq.TypeOf(v), gojq.TypeOf(args[0]))
			}
			amount, err := read(number, code)
			if err != nil {
				return err
			}
			return amount
		})
	}
	return []gojq.CompilerOption{
		form("email", normal.Email), form("country", forms.Country), form("locale", normal.Locale), form("currency", normal.Currency),
		gojq.WithFunction("phone", 0, 1, func(v any, args []any) any {
			text, ok := plain(v)
			if !ok {
				return v
			}
			region := ""
			if len(args) == 1 {
				region, _ = args[0].(string)
			}
			if number, ok := forms.Phone(text, region); ok {
				return number
			}
			return v
		}),
		gojq.WithFunction("text", 0, 0, func(v any, _ []any) any {
			if text, ok := plain(v); ok {
				return text
			}
			return v
		}),
		gojq.WithFunction("folded", 0, 0, func(v any, _ []any) any {
			switch v := v.(type) {
			case string:
				return fold(v)
			case map[string]any:
				m := make(map[string]any, len(v))
				for _, name := range slices.Sorted(maps.Keys(v)) { // of two names that fold to one, the first that says something
					if folded := fold(name); m[folded] == nil {
						m[folded] = v[name]
					}
				}
				return m
			}
			return v
		}),
		money("amount", normal.Amount), money("from_minor", normal.FromMinor), gojq.WithFunction("sum", 0, 0, sum),
		gojq.WithFunction("_short", 0, 0, short),
		gojq.WithFunction("_minus", 2, 2, func(_ any, args []any) any { return minus(args[0], args[1]) }),
		gojq.WithFunction("_times", 2, 2, func(_ any, args []any) any { return times(args[0], args[1]) }),
	}
}

// fold makes the spellings of a field's name alike: First Name, first_name and firstName are firstname.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '_' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, strings.ToLower(name))
}

// plain is text, or a number as it is written.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case nil, bool, []any, map[string]any:
		return "", false
	case string:
		return v, true
	}
	b, err := gojq.Marshal(v)
	return string(b), err == nil
}

// nearest hints at the known word that was probably meant.
func nearest(word string, known []string) string {
	if best := spelling.Nearest(word, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(known) > 20 {
		return "the documentation of mappings lists what can be used"
	}
	return "there are " + strings.Join(known, ", ")
}
