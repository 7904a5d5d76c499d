package mapping

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func mapOne(t *testing.T, expression, payload string) Result {
	t.Helper()
	m, err := Parse("x.yaml", []byte("name: x\nauthenticate: {token: {query: key}}\ncalls:\n  - event: E\n    user: |\n      "+expression+"\n"), Options{})
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return m.Map(t.Context(), m.Request("r", http.Header{}, url.Values{}, []byte(payload)), Limits{Items: 10, CallBytes: 1 << 20, AllBytes: 1 << 20})
}

// A regular expression works on short texts in all its forms, nested ones too, and says why not on long ones, which
// would take quadratic time that no deadline ends.
func TestRegularExpressions(t *testing.T) {
	for expression, user := range map[string]string{
		`.a | gsub("[^0-9]"; "")`:                           "122",
		`[.a | match("\\d"; "g").string][0]`:                "1",
		`.a | capture("(?<x>\\d)").x`:                       "1",
		`[.a | scan("\\d") | tonumber] | add`:               "5",
		`.a | split("1")[1]`:                                "y22",
		`.a | split("1"; null) | .[0]`:                      "x",
		`[.a, .a] | map(sub("1"; "z")) | join("-")`:         "xzy22-xzy22",
		`.a | sub("(?<d>\\d)"; "<\(.d | gsub("1"; "y"))>")`: "x<y>y22",
	} {
		r := mapOne(t, expression, `{"a":"x1y22"}`)
		if len(r.Calls) != 1 || !strings.Contains(string(r.Calls[0].Payload), `"userId":"`+user+`"`) {
			t.Errorf("%s: %v, %v, want user %s", expression, r.Calls, r.Problems, user)
		}
		r = mapOne(t, expression, `{"a":"`+strings.Repeat(" 1", 100<<10)+`"}`)
		if strings.Contains(expression, `split("1")[`) {
			continue // no regular expression
		}
		if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), "too long for a regular expression") {
			t.Errorf("%s of a long text: %v", expression, r.Problems)
		}
	}
}
