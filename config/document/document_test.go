package document_test

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"attune/config/document"
)

// TestInTextFindsEachCharacter looks up the marked character of a scalar's text in the file.
func TestInTextFindsEachCharacter(t *testing.T) {
	for _, c := range []struct {
		name, file   string
		line, column int // in the text
		want         string
	}{
		{"plain", "when: abc X\n", 1, 5, "1:11"},
		{"plain over two lines", "when: abc\n  de X\n", 1, 8, "2:6"},
		{"double quoted", "when: \"a \\\"b\\\" X\"\n", 1, 7, "1:16"},
		{"double quoted with an escape", "when: \"\\u00e9 X\"\n", 1, 3, "1:15"},
		{"double quoted newline", "when: \"a\\nX\"\n", 2, 1, "1:11"},
		{"single quoted", "when: 'it''s X'\n", 1, 6, "1:14"},
		{"folded", "when: >\n  abc\n  de X\n", 1, 8, "3:6"},
		{"folded after a comment", "# c\nwhen: > # c\n\n  abc\n\n  X\n", 3, 1, "6:3"},
		{"folded and stripped", "when: >-\n    é ü X\n", 1, 5, "2:9"},
		{"literal", "when: |\n  abc\n\n    X\n", 3, 3, "4:5"},
		{"in a flow map", "{when: 'a X'}\n", 1, 3, "1:11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, problems := document.Parse("f", []byte(c.file))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			line, column := doc.InText("when", c.line, c.column)
			if got := place(line, column); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if r := []rune(strings.Split(c.file, "\n")[line-1]); r[column-1] != 'X' {
				t.Errorf("there stands %q", r[column-1])
			}
		})
	}
}

func place(line, column int) string {
	digits := func(n int) string { return string(rune('0'+n/10)) + string(rune('0'+n%10)) }
	return strings.TrimPrefix(digits(line), "0") + ":" + strings.TrimPrefix(digits(column), "0")
}

// TestInTextOfBlocks holds for any text without tabs: each character that is no space is found where it stands.
func TestInTextOfBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringMatching(`[a-zé"'#:&\\]( ?[a-zé"'#:&\\]){0,8}`), 1, 5).Draw(t, "lines")
		header := rapid.SampledFrom([]string{">", ">-", "|", "|-"}).Draw(t, "header")
		doc, problems := document.Parse("f", []byte("k: "+header+"\n  "+strings.Join(lines, "\n  ")+"\n"))
		if len(problems) > 0 {
			t.Fatalf("%v", problems)
		}
		column := 0 // in the text, when it is folded into one line
		for i, line := range lines {
			for j, r := range []rune(line) {
				if header[0] == '|' {
					column = j
				}
				atLine := 1
				if header[0] == '|' {
					atLine = i + 1
				}
				if l, c := doc.InText("k", atLine, column+1); !unicode.IsSpace(r) && (l != i+2 || c != j+3) {
					t.Fatalf("%q of line %d: got %d:%d, want %d:%d", r, i, l, c, i+2, j+3)
				}
				column++
			}
			column++
		}
	})
}

func TestDecodeKinds(t *testing.T) {
	var v struct {
		D  time.Duration     `yaml:"d"`
		F  float64           `yaml:"f"`
		U  uint8             `yaml:"u"`
		I  int64             `yaml:"i"`
		M  map[string]string `yaml:"m"`
		L  []bool            `yaml:"l"`
		P  *int              `yaml:"p"`
		A  any               `yaml:"a"`
		No string            `yaml:"-"`
	}
	doc, problems := document.Parse("f", []byte("d: 1d12h\nf: 1e3\nu: 255\ni: -5\nm: {a: b, 1: c}\nl: [true, false]\np: 3\na: {x: [1, 2.5, null, t]}\n"))
	problems = append(problems, doc.Decode(&v)...)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if v.D != 36*time.Hour || v.F != 1000 || v.U != 255 || v.I != -5 || v.M["a"] != "b" || v.M["1"] != "c" || len(v.L) != 2 || !v.L[0] || *v.P != 3 {
		t.Errorf("got %+v", v)
	}
	if list := v.A.(map[string]any)["x"].([]any); len(list) != 4 || list[0] != uint64(1) || list[1] != 2.5 || list[2] != nil || list[3] != "t" {
		t.Errorf("any: %#v", list)
	}
	for _, text := range []string{"u: 256", "u: -1", "i: 99999999999999999999", "f: .inf", "d: 1.5.5h", "d: 3h2d", "d: -1h", "l: [1]", "No: x", "p: x"} {
		doc, problems := document.Parse("f", []byte(text))
		if problems = append(problems, doc.Decode(&v)...); len(problems) != 1 {
			t.Errorf("%s: %d problems: %v", text, len(problems), problems)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "3d": 72 * time.Hour, "2w1d": 15 * 24 * time.Hour,
		"1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		if got, err := document.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "h", "1x", "1h1h", "1m1h", " 1h", "1h ", "-1h", "1..5h", "99999999w", "1h30"} {
		if got, err := document.ParseDuration(text); err == nil {
			t.Errorf("%q was taken as %v", text, got)
		}
	}
}

func TestDeepFilesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"flow":  strings.Repeat("[", 100_000),
		"maps":  strings.Repeat("{a: ", 100_000),
		"lists": strings.Repeat("- ", 100_000) + "a",
		"keys":  strings.Repeat("? ", 100_000) + "a",
		"size":  strings.Repeat("a", document.MaxSize+1),
		"spaces": func() string {
			var b strings.Builder
			for i := range 1000 {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}(),
	} {
		if _, problems := document.Parse("f", []byte(text)); len(problems) == 0 {
			t.Errorf("%s: was accepted", name)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"audience", "unless", "wait", "when"}
	for word, want := range map[string]string{
		"audiance": `did you mean "audience"?`, "Unless": `did you mean "unless"?`, "wiat": `did you mean "wait"?`,
		"something": "there are audience, unless, wait and when",
	} {
		if got := document.DidYouMean(word, known); got != want {
			t.Errorf("%s: got %s, want %s", word, got, want)
		}
	}
	if got := document.DidYouMean("x", []string{"only"}); got != "there is only only" {
		t.Errorf("got %s", got)
	}
	if got := document.DidYouMean("x", nil); got != "" {
		t.Errorf("got %s", got)
	}
}
