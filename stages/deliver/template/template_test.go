package template_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"attune/stages/deliver/template"
)

func data(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	err := json.Unmarshal([]byte(`{
		"customer": {"first_name": "Zoë <b>", "clv": 20, "orders": 3, "segments": ["loyal", "vip"], "traits": {"size": "42"}},
		"event": {"name": "Product Added", "properties": {
			"evil": "<script>alert(1)</script>", "quote": "\" onload='x'", "list": ["<i>", 2], "object": {"k": "<u>"},
			"price": "12.5", "quantity": 2, "text": "aaa", "huge": 1000000000,
			"products": [{"name": "Boot", "price": 30.5}, {"name": "Shoe & Co", "price": 20}]}},
		"campaign": "cart", "lines": "one\r\nBcc: x@example.com\u2028two"}`), &m)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRender(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"text and a field", "Hi {{ customer.traits.size }}!\n", "Hi 42!\n"},
		{"escapes", `{{ event.properties.evil }}`, "&lt;script&gt;alert(1)&lt;/script&gt;"},
		{"escapes quotes", `<a title="{{ event.properties.quote }}">`, `<a title="&#34; onload=&#39;x&#39;">`},
		{"escapes what a list holds", `{{ event.properties.list }}`, `[&#34;\u003ci\u003e&#34;,2]`},
		{"escapes what an object holds", `{{ event.properties.object }}`, `{&#34;k&#34;:&#34;\u003cu\u003e&#34;}`},
		{"escapes joined", `{{ event.properties.list | join("<") }}`, `&lt;i&gt;&lt;2`},
		{"escapes once", `{{ event.properties.evil | escape | upper }}`, "&lt;SCRIPT&gt;ALERT(1)&lt;/SCRIPT&gt;"},
		{"escapes concatenated", `{{ "<" ~ customer.first_name }}`, "&lt;Zoë &lt;b&gt;"},
		{"missing", "[{{ nothing }}{{ customer.nothing.at.all }}{{ nothing[0].x }}{{ nothing | upper }}]", "[]"},
		{"default", `{{ customer.nick | default("friend") }}`, "friend"},
		{"whole numbers", `{{ customer.clv }} {{ customer.clv / 8 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 3 }}`, "20 2.5 3 3 8"},
		{"a price in text", `{{ (event.properties.price * event.properties.quantity) | money }}`, "25.00"},
		{"no repetition of text", `[{{ event.properties.text * event.properties.huge }}]`, "[]"},
		{"division by nothing", `[{{ 1 / 0 }}{{ 1 % 0 }}{{ 1 // 0 }}]`, "[]"},
		{"a loop", `{% for p in event.properties.products %}{{ loop.index }}. {{ p.name }}{% if not loop.last %}, {% endif %}{% endfor %}`, "1. Boot, 2. Shoe &amp; Co"},
		{"a loop over nothing", `{% for p in event.properties.none %}x{% else %}empty{% endfor %}`, "empty"},
		{"a loop with a condition", `{% for p in event.properties.products if p.price > 25 %}{{ p.name }}{% endfor %}`, "Boot"},
		{"a loop over an object", `{% for k, v in customer.traits %}{{ k }}={{ v }}{% endfor %}`, "size=42"},
		{"if", `{% if "vip" in customer.segments %}v{% elif true %}e{% else %}n{% endif %}`, "v"},
		{"not in", `{% if "new" not in customer.segments %}old{% endif %}`, "old"},
		{"elif", `{% if false %}a{% elif customer.orders >= 3 and customer.clv == 20 %}b{% else %}c{% endif %}`, "b"},
		{"else", `{% if customer.orders < 3 or nothing %}a{% else %}c{% endif %}`, "c"},
		{"inline if", `{{ "a" if customer.orders > 5 else "b" }}`, "b"},
		{"tests", `{{ nothing is defined }} {{ customer.orders is odd }} {{ nothing is not defined }}`, "False True True"},
		{"set", `{% set total = event.properties.products | sum(attribute="price") %}{{ total | money }}`, "50.50"},
		{"slices", `{{ customer.segments[0] }} {{ "abcdef"[1:3] }} {{ customer.segments[:1] | length }} {{ customer.segments[-1] }}`, "loyal bc 1 vip"},
		{"raw", `{% raw %}{{ not }}{% endraw %}`, "{{ not }}"},
		{"comment", `a{# {{ no }} #}b`, "ab"},
		{"whitespace control", "a  {{- 1 -}}  b", "a1b"},
		{"filters", `{{ "hello wORLD" | title }} {{ " x " | trim }} {{ "a b&c" | urlencode }} {{ "<b>x</b>" | striptags }} {{ 2.345 | round(2) }}`, "Hello World x a%20b%26c x 2.35"},
		{"truncate", `{{ "one two three" | truncate(9) }}`, "one two…"},
		{"sort, map, first", `{{ event.properties.products | sort(attribute="price") | map(attribute="name") | first }}`, "Shoe &amp; Co"},
		{"scope of a loop", `{% set x = 1 %}{% for p in customer.segments %}{% set x = 2 %}{% endfor %}{{ x }}`, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := template.Parse("t.html", c.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsed.Render(data(t))
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestRenderTextIsOneUnescapedLine(t *testing.T) {
	parsed, err := template.Parse("subject", "{{ customer.first_name }}: {{ lines }}\n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsed.RenderText(data(t))
	if want := "Zoë <b>: one Bcc: x@example.com two"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	plain, err := parsed.RenderPlain(data(t))
	if err != nil || !strings.Contains(plain, "one\r\nBcc") || !strings.Contains(plain, "<b>") {
		t.Errorf("plain: got %q, %v", plain, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"unclosed output", "line\n  {{ customer.x", `t.html:2:`},
		{"unclosed tag", "{% if x %}\nyes", `t.html:2:`},
		{"unknown tag", "a\n{% include 'x' %}", `t.html:2:4: tag "include" is not available: there are if, for, set and raw`},
		{"import", "{% import '/etc/passwd' as x %}", `t.html:1:4: tag "import" is not available`},
		{"extends", "{% extends '/etc/passwd' %}", `tag "extends" is not available`},
		{"autoescape", "{% autoescape false %}{% endautoescape %}", `tag "autoescape" is not available`},
		{"macro", "{% macro f() %}{% endmacro %}", `tag "macro" is not available`},
		{"end without beginning", "{% endif %}", `t.html:1:4: tag "endif" without its beginning`},
		{"range", "{% for i in range(10) %}{% endfor %}", `t.html:1:18: function "range" is not available`},
		{"method", `{{ "x".upper() }}`, `function "upper" is not available: templates have filters only: {{ value | upper }}`},
		{"unknown filter", "{{ a | uper }}", `t.html:1:8: unknown filter "uper"`},
		{"safe", "{{ a | safe }}", `t.html:1:8: filter "safe" is not available: what is printed is always escaped`},
		{"unknown test", "{% if a is gone %}{% endif %}", `t.html:1:12: unknown test "gone"`},
		{"filter inside a tag", "{% for p in l %}\n{{ p | nope }}{% endfor %}", `t.html:2:8: unknown filter "nope"`},
		{"no expression", "{{ }}", `t.html:1:4: `},
		{"half an expression", "{{ a + }}", `t.html:1:`},
		{"for without in", "{% for a b %}{% endfor %}", `t.html:1:10: for wants "in" after its names`},
		{"two elses", "{% if a %}{% else %}{% else %}{% endif %}", `an if has one else`},
		{"stray in", "{{ a and in b }}", "t.html:1:"},
		{"lexer", "{{ a ? b }}", "t.html:1:"},
		{"unclosed comment", "{# a", "t.html:1:"},
		{"unclosed string", `{{ "a }}`, "t.html:1:"},
		{"deep", strings.Repeat("{{ ", 1) + strings.Repeat("(", 5000), "nested too deep"},
		{"deep tags", strings.Repeat("{% if a %}", 5000), "nested more than 100 deep"},
		{"deep expression", "{{ a" + strings.Repeat(" ~ a", 5000) + " }}", "nested more than 100 deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := template.Parse("t.html", c.source)
			var e *template.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a template.Error", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	grow := `{% set x = "0123456789abcdef" %}` + strings.Repeat(`{% set x = x ~ x %}`, 40)
	nested := "{% for a in l %}{% for b in l %}{% for c in l %}{% for d in l %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}"
	long := "{% for a in l %}{% for b in l %}{{ a }}{% endfor %}{% endfor %}"
	list := make([]any, 1000)
	for i := range list {
		list[i] = "some text that is printed"
	}
	for _, c := range []struct{ name, source, want string }{
		{"a growing value", grow, "grows beyond"},
		{"replace", `{% set x = "` + strings.Repeat("a", 3000) + `" %}{{ x | replace("a", x) }}`, "grows beyond"},
		{"nested loops", nested, "takes more than"},
		{"output", long, "prints more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := template.Parse("t.html", c.source)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.Render(map[string]any{"l": list}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRenderLeavesTheDataAlone(t *testing.T) {
	parsed, err := template.Parse("t", `{% set customer = 1 %}{% set l = event.properties.products | reverse %}{{ l | length }}`)
	if err != nil {
		t.Fatal(err)
	}
	d := data(t)
	before, _ := json.Marshal(d)
	if _, err := parsed.Render(d); err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(d); string(before) != string(after) {
		t.Errorf("the data changed: %s", after)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"{{ a.b[0] | default('x') }}", "{% for a, b in c if d %}{{ loop.index }}{% else %}{% endfor %}",
		"{% if a is defined and b not in c %}{% elif x %}{% endif %}", "{% raw %}{{ {% endraw %}", "{# #}", "{{ {'a': 1}['a'] }}",
		"{{ a[1:2] ~ -b ** 2 }}", "{% set a = (1, 2) %}", "{{-", "{%- if", "{{ a if b else c }}", "{{ 1e999 }}{{ 0x }}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		parsed, err := template.Parse("t", source)
		if err != nil {
			return
		}
		_, _ = parsed.Render(data(t))
	})
}
