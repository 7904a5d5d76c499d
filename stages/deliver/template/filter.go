package template

import (
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/nodes"
)

// markup matches tags and comments of HTML.
var markup = regexp.MustCompile(`<!--(?s:.*?)-->|<[^>]*>`)

func filterNames() []string {
	return []string{
		"abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "items", "join", "last",
		"length", "lower", "map", "max", "min", "money", "replace", "reverse", "round", "sort", "string", "striptags",
		"sum", "title", "trim", "truncate", "unique", "upper", "urlencode",
	}
}

// filter runs one filter. What it can't work on gives nothing rather than an error: the data come from outside.
func (r *rendering) filter(call *nodes.FilterCall, v any) (any, error) {
	args, err := r.list(call.Args)
	if err != nil {
		return nil, err
	}
	attribute := ""
	if e, ok := call.Kwargs["attribute"]; ok {
		a, err := r.eval(e)
		if err != nil {
			return nil, err
		}
		attribute = text(a)
	}
	arg := func(i int) any {
		if i < len(args) {
			return args[i]
		}
		return nil
	}
	list, isList := v.([]any)
	r.steps += len(list)
	switch call.Name {
	case "default", "d":
		if v == nil || truth(arg(1)) && !truth(v) {
			return arg(0), nil
		}
		return v, nil
	case "e", "escape": // everything printed is escaped, once
		return v, nil
	case "string":
		return text(v), nil
	case "upper":
		return strings.ToUpper(text(v)), nil
	case "lower":
		return strings.ToLower(text(v)), nil
	case "capitalize":
		return capitalize(text(v)), nil
	case "title":
		return titled(text(v)), nil
	case "trim":
		return strings.TrimSpace(text(v)), nil
	case "striptags":
		return strings.Join(strings.Fields(markup.ReplaceAllString(text(v), "")), " "), nil
	case "urlencode":
		return strings.ReplaceAll(url.QueryEscape(text(v)), "+", "%20"), nil
	case "truncate":
		return truncate(text(v), arg(0)), nil
	case "replace":
		s, old, with := text(v), text(arg(0)), text(arg(1))
		if old == "" {
			return s, nil
		}
		if n := strings.Count(s, old); len(s)+n*(len(with)-len(old)) > MaxOutput {
			return nil, r.fail(call.Token, "a value grows beyond %d KiB", MaxOutput>>10)
		}
		return strings.ReplaceAll(s, old, with), nil
	case "length", "count":
		switch v := v.(type) {
		case string:
			return float64(runes(v)), nil
		case map[string]any:
			return float64(len(v)), nil
		}
		return float64(len(list)), nil
	case "items":
		m, _ := v.(map[string]any)
		pairs := make([]any, 0, len(m))
		for _, k := range sortedKeys(m) {
			pairs = append(pairs, []any{k, normal(m[k])})
		}
		return pairs, nil
	case "abs", "float", "int", "round", "money":
		return numeric(call.Name, v, arg(0)), nil
	case "reverse":
		if s, ok := v.(string); ok {
			list := []rune(s)
			slices.Reverse(list)
			return string(list), nil
		}
	}
	if !isList {
		return nil, nil
	}
	return r.ofList(call, list, attribute, arg(0))
}

func (r *rendering) ofList(call *nodes.FilterCall, list []any, attribute string, arg any) (any, error) {
	of := func(v any) any {
		if attribute == "" {
			return normal(v)
		}
		return path(normal(v), attribute)
	}
	switch call.Name {
	case "first":
		return item(list, 0.0), nil
	case "last":
		return item(list, -1.0), nil
	case "map":
		mapped := make([]any, len(list))
		for i, v := range list {
			mapped[i] = of(v)
		}
		return mapped, nil
	case "join":
		parts := make([]string, 0, 2*len(list))
		for i, v := range list {
			if i > 0 {
				parts = append(parts, text(arg))
			}
			parts = append(parts, text(of(v)))
		}
		return r.join(call.Token, parts...)
	case "reverse":
		list = slices.Clone(list)
		slices.Reverse(list)
		return list, nil
	case "sort":
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b any) int {
			c, _ := compare(of(a), of(b))
			return c
		})
		return list, nil
	case "unique":
		seen := map[string]bool{}
		unique := make([]any, 0, len(list))
		for _, v := range list {
			if k := text(of(v)); !seen[k] {
				seen[k] = true
				unique = append(unique, v)
			}
		}
		return unique, nil
	case "sum":
		sum := 0.0
		for _, v := range list {
			f, _ := number(of(v))
			sum += f
		}
		return sum, nil
	case "min", "max":
		var best any
		for _, v := range list {
			c, ok := compare(of(v), of(best))
			if best == nil || ok && (c < 0) == (call.Name == "min") && c != 0 {
				best = normal(v)
			}
		}
		return best, nil
	}
	return nil, nil
}

func numeric(name string, v, arg any) any {
	f, ok := number(v)
	if !ok {
		if name == "int" || name == "float" {
			return 0.0
		}
		return nil
	}
	switch name {
	case "abs":
		return math.Abs(f)
	case "int":
		return math.Trunc(f)
	case "round":
		digits, _ := number(arg)
		scale := math.Pow(10, math.Max(0, math.Min(digits, 12)))
		if rounded := math.Round(f*scale) / scale; !math.IsInf(rounded, 0) {
			return rounded
		}
	case "money":
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return f
}

func capitalize(s string) string {
	list := []rune(strings.ToLower(s))
	if len(list) > 0 {
		list[0] = unicode.ToUpper(list[0])
	}
	return string(list)
}

func titled(s string) string {
	begins := true
	return strings.Map(func(c rune) rune {
		defer func() { begins = !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '\'' }()
		if begins {
			return unicode.ToTitle(c)
		}
		return unicode.ToLower(c)
	}, s)
}

// truncate cuts at a word's end where there is one, and says so with an ellipsis; the default length is 255.
func truncate(s string, length any) string {
	limit := 255
	if f, ok := number(length); ok && f >= 1 && f < MaxOutput {
		limit = int(f)
	}
	list := []rune(s)
	if len(list) <= limit {
		return s
	}
	cut := string(list[:limit-1])
	if i := strings.LastIndexFunc(cut, unicode.IsSpace); i > 0 {
		cut = cut[:i]
	}
	return strings.TrimRightFunc(cut, unicode.IsSpace) + "…"
}
