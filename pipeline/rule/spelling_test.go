package rule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"attune/pipeline/event"
)

func valueOf(raw string) event.Value { return event.ValueOf([]byte(raw)) }

func TestSpelled(t *testing.T) {
	for raw, want := range map[string]string{
		`"a&b"`:                             `"a&b"`,
		`"a\u0026b"`:                        `"a&b"`,
		`"America\/New_York"`:               `"America/New_York"`,
		`"\u00e9\ud83d\ude00"`:              `"é😀"`,
		`"say \"so\" \\ \n"`:                `"say \"so\" \\ \u000a"`,
		`12.50`:                             `12.50`,
		`true`:                              `true`,
		`[ 1, "a\/b" , { "k\u0026": null}]`: `[1,"a/b",{"k&":null}]`,
		`{"a b": " c "}`:                    `{"a b":" c "}`,
	} {
		if got := string(spelled(valueOf(raw))); got != want {
			t.Errorf("%s is spelled %s, want %s", raw, got, want)
		}
	}
}

// However a value is written, what is kept of it is the same, and reads as the value.
func TestSpelledIsOneForm(t *testing.T) {
	texts := rapid.StringOfN(rapid.RuneFrom([]rune("ab &</\"\\\né😀\u2028")), 0, 8, -1)
	var values *rapid.Generator[any]
	values = rapid.OneOf(
		rapid.Map(texts, func(s string) any { return s }), rapid.Map(rapid.Int16(), func(n int16) any { return float64(n) }),
		rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return values }), 0, 3), func(l []any) any { return l }),
		rapid.Map(rapid.MapOfN(texts, rapid.Bool(), 0, 3), func(m map[string]bool) any { return m }),
	)
	rapid.Check(t, func(t *rapid.T) {
		v := values.Draw(t, "value")
		escaped, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var plain, wide bytes.Buffer
		e := json.NewEncoder(&plain)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		if err := json.Indent(&wide, escaped, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		forms := []string{string(escaped), string(bytes.TrimSpace(plain.Bytes())), wide.String()}
		want := spelled(valueOf(forms[0]))
		for _, form := range forms {
			if got := spelled(valueOf(form)); !bytes.Equal(got, want) {
				t.Fatalf("%s is spelled %s, and %s is %s", form, got, forms[0], want)
			}
			if hashOf(valueOf(form)) != hashOf(valueOf(forms[0])) {
				t.Fatalf("%s and %s count as two", form, forms[0])
			}
		}
		var before, after any
		if err := json.Unmarshal(escaped, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(want, &after); err != nil || fmt.Sprint(before) != fmt.Sprint(after) {
			t.Fatalf("%s reads as %v, want %v (%v)", want, after, before, err)
		}
	})
}

// Ids that are too large for a double count apart; smaller numbers count by their value.
func TestLargeNumbersCountApart(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`1234567890123456789`, `1234567890123456790`, false},
		{`-9007199254740992`, `-9007199254740993`, false},
		{`1234567890123456789`, `1234567890123456789`, true},
		{`9007199254740991`, `9007199254740991.0`, true},
		{`1e2`, `100`, true},
		{`0`, `-0`, true},
		{`1`, `"1"`, false},
	} {
		if got := hashOf(valueOf(c.a)) == hashOf(valueOf(c.b)); got != c.same {
			t.Errorf("%s and %s are the same: %t", c.a, c.b, got)
		}
	}
}

// Every percentage of at most two decimals can be drawn, and none with more.
func TestPercentages(t *testing.T) {
	c, err := NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	for hundredths := range 10001 {
		when := fmt.Sprintf(`in_percent("x", %d.%02d)`, hundredths/100, hundredths%100)
		if _, err := c.Compile(when); err != nil {
			t.Fatal(err)
		}
	}
	for _, when := range []string{`in_percent("x", 0.001)`, `in_percent("x", 33.333)`, `in_percent("x", 100.01)`, `in_percent("x", 1.005)`} {
		if _, err := c.Compile(when); err == nil {
			t.Errorf("%s is drawn", when)
		}
	}
}
