package rule

import (
	"fmt"
	"strings"
	"testing"
)

func TestMentions(t *testing.T) {
	c := compiler(t)
	for text, want := range map[string]string{
		`trait("plan") == "pro" && has_trait("email")`:                      "trait plan 1:1 value, trait email 1:27",
		"did(\"A\", {\"a.b\": \"x\",\n \"c\": {\"exists\": true}}, \"1d\")": "property a.b 1:11 value, property c 2:2",
		`trait("phone") != true || trait("email") in ["hash:a", "hash:b"]`:  "trait phone 1:1, trait email 1:27",
		`trait("email") in ["hash:a", "b"]`:                                 "trait email 1:1 value",
		`trait("email").matches("^hash:")`:                                  "trait email 1:1 value",
		`trait("age") > 3 || "x" in trait("tags")`:                          "trait age 1:1 value, trait tags 1:28 value",
		`distinct("A", "email", {"k": ["a"]}, "1d") > 2`:                    "property email 1:15, property k 1:25 value",
		`sum("A", "total") > 2 || max("A", "b", "1d") > 2`:                  "property total 1:10 value, property b 1:35 value",
		`last("A", "ip", {"x": 1}) == "hash:a" || first("A", "ip") == "b"`:  "property ip 1:11, property x 1:18 value, property ip 1:53 value",
		`event.properties.a.b == "x" || has_property("c")`:                  "property a.b 1:1 value, property c 1:32",
		`sequence([["A", {"k": 1}], "B"], "2h", "30d")`:                     "property k 1:18 value",
		`until(trait("birthday")) < "7d" || did("A", "today")`:              "trait birthday 1:7 value",
	} {
		r, err := c.Compile(text, WithEvent())
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, m := range r.Mentions() {
			kind, value := "property", ""
			if m.Trait {
				kind = "trait"
			}
			if m.Value {
				value = " value"
			}
			got = append(got, fmt.Sprintf("%s %s %d:%d%s", kind, m.Path, m.Line, m.Column, value))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s names\n%s\nnot\n%s", text, s, want)
		}
	}
}
