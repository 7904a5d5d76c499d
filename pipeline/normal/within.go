package normal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// WithoutAddresses replaces the e-mail addresses inside a text, each by what instead gives for its normal form; false
// where the text holds none. It finds addresses in free text, in mail headers and in URLs, percent-encoded ones too,
// however often (ann%40shop.example, ann%2540shop.example), of letters, digits and . _ + - ' before the @. In doubt it
// takes more for a part of the address than belongs to it: what goes too far only keeps two addresses apart.
//
// The time that it takes grows with the text's length. It is pure and safe for concurrent use if instead is.
func WithoutAddresses(text string, instead func(address string) string) (without string, found bool) {
	if strings.IndexByte(text, '@') < 0 && strings.IndexByte(text, '%') < 0 {
		return text, false
	}
	plain, from := unescape(text)
	var b strings.Builder
	done := 0 // of plain
	for at := 0; at < len(plain); at++ {
		if plain[at] != '@' {
			continue
		}
		// Who encodes an @ encodes a plus too: one that is encoded less often is a space.
		width := func(i int) int { return from[i+1] - from[i] }
		start := at - localPart(plain[done:at], func(plus int) bool { return width(done+plus) < width(at) })
		end := at + 1 + domainPart(plain[at+1:])
		if start == at || end == at+1 {
			continue
		}
		b.WriteString(text[from[done]:from[start]])
		b.WriteString(instead(strings.ToLower(plain[start:end])))
		done, at, found = end, end-1, true
	}
	if !found {
		return text, false
	}
	b.WriteString(text[from[done]:])
	return b.String(), true
}

// unescape undoes percent-encoding, repeated too, and tells for each byte of plain, and for its end, where in text it
// begins.
func unescape(text string) (plain string, from []int) {
	b := make([]byte, 0, len(text))
	from = make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		from = append(from, i)
		c, end := escaped(text, i)
		b, i = append(b, c), end
	}
	return string(b), append(from, len(text))
}

// escaped reads the byte that begins at i, and where the next one does. A percent sign that is encoded again, as %25, goes
// on as an encoded byte where two more digits follow.
func escaped(text string, i int) (c byte, end int) {
	c, end = text[i], i+1
	for c == '%' && end+2 <= len(text) {
		high, low := digit(text[end]), digit(text[end+1])
		if high < 0 || low < 0 {
			break
		}
		c, end = byte(high<<4|low), end+2
	}
	return c, end
}

// digit is a hexadecimal digit's value; -1 for what is none.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// localPart is how many bytes at the end of text can be an address's part before the @. isSpace tells whether a plus is
// one.
func localPart(text string, isSpace func(plus int) bool) int {
	start := len(text)
	for start > 0 {
		r, size := utf8.DecodeLastRuneInString(text[:start])
		if !isWord(r) && r != utf8.RuneError && !strings.ContainsRune(".+-'", r) || r == '+' && isSpace(start-1) {
			break
		}
		start -= size
	}
	return len(strings.TrimLeft(text[start:], ".+-'"))
}

// domainPart is how many bytes at the beginning of text are a domain that ends in a top-level domain; 0 for none.
func domainPart(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && r != '-' && (!isWord(r) || r == '_') })
	if end < 0 {
		end = len(text)
	}
	for domain := text[:end]; ; {
		dot := strings.LastIndexByte(domain, '.')
		if dot <= 0 {
			return 0
		}
		if n := topLevel(domain[dot+1:]); n > 0 {
			return dot + 1 + n
		}
		domain = domain[:dot]
	}
}

func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return isLetter(r) || r >= '0' && r <= '9' || r == '_'
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
}

// topLevel is how many bytes at the beginning of a label can be a top-level domain: letters, of ASCII or of other
// scripts, or what stands for these in ASCII. 0 for none, and for the ending of a file's name that is none, as in
// logo@2x.png.
func topLevel(label string) int {
	if len(label) > 4 && strings.EqualFold(label[:4], "xn--") {
		if end := strings.IndexFunc(label, func(r rune) bool { return r != '-' && (r >= utf8.RuneSelf || !isWord(r)) }); end > 0 {
			label = label[:end]
		}
		return len(strings.TrimRight(label, "-"))
	}
	end := strings.IndexFunc(label, func(r rune) bool {
		return r < utf8.RuneSelf && !isLetter(r) || (r < utf8.RuneSelf) != (label[0] < utf8.RuneSelf)
	})
	if end < 0 {
		end = len(label)
	}
	if end < 2 || isFile(label[:end]) {
		return 0
	}
	return end
}

// isFile tells of the endings of files that pages name, none of which is a top-level domain.
func isFile(ending string) bool {
	switch strings.ToLower(ending) {
	case "png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "bmp", "ico", "tif", "tiff",
		"css", "js", "json", "xml", "html", "htm", "php", "pdf", "csv", "txt", "mp4", "webm":
		return true
	}
	return false
}
