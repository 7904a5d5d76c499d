// Package pipetest is for tests of what carries events: it makes what producers should not send.
package pipetest

import (
	"math/rand/v2"
	"strings"
)

// Garbage is what no format means, each of about so many bytes, by its name: random bytes, one enormous line, deep nesting,
// invalid UTF-8 and the like. It is the same at each call. None of it is a call.
func Garbage(size int) map[string]string {
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, size)
	_, _ = random.Read(noise)
	full := func(pattern string) string { return strings.Repeat(pattern, size/len(pattern)) }
	return map[string]string{
		"noise": string(noise), "zeros": full("\x00"), "open arrays": full("["), "open objects": full(`{"a":`), "digits": full("7"),
		"quotes": full(`"`), "backslashes": `"` + full(`\\`) + `"`, "a long text": `"` + full("x") + `"`, "numbers": "[1" + full(",1") + "]",
		"empty objects": "[{}" + full(",{}") + "]", "nested": full("[")[:size/2] + full("]")[:size/2], "one name": `{"` + full("a") + `":1}`,
		"a table of quotes": "id,email\n\"" + full("x\n"), "columns": full("a,")[:size/2] + "\n" + full("1,")[:size/2], "invalid UTF-8": `{"id":"` + full("\xff\xfe") + `"}`,
		"separators": full(";\t"), "a number": `{"id":1e` + full("9") + `}`, "text": full("lorem ipsum "),
		"nested objects": `{"type":"track","properties":` + strings.Repeat(`{"a":`, size/6) + "1" + strings.Repeat("}", size/6) + "}",
	}
}
