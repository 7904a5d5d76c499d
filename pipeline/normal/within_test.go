package normal

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWithoutAddresses(t *testing.T) {
	for _, c := range []struct{ text, want string }{ // want "": the text holds none
		// free text
		{"write to Ada.L+news@Shop.example, or bo@x.co.uk.", "write to <ada.l+news@shop.example>, or <bo@x.co.uk>."},
		{"Ada <ada@shop.example>, Bo <bo@shop.example>", "Ada <<ada@shop.example>>, Bo <<bo@shop.example>>"},
		{`{"to":["ada@shop.example"]}`, `{"to":["<ada@shop.example>"]}`},
		{"(ada@shop.example)\nada_l@shop.example!", "(<ada@shop.example>)\n<ada_l@shop.example>!"},
		{"'ada@shop.example' o'brien@shop.example *ada@shop.example*", "'<ada@shop.example>' <o'brien@shop.example> *<ada@shop.example>*"},
		{"order-ada@shop.example-17", "<order-ada@shop.example>-17"},
		{"„jörg@bücher.de“ …ada@shop.example…", "„<jörg@bücher.de>“ …<ada@shop.example>…"},
		{"请写信给 ada@shop.example谢谢, иван@почта.рф", "请写信给 <ada@shop.example>谢谢, <иван@почта.рф>"},
		{"ada@shop.xn--p1ai/x", "<ada@shop.xn--p1ai>/x"},
		{"a@b.example@c.example", "<a@b.example>@c.example"},
		{"ada@shop.example.pdf", "<ada@shop.example>.pdf"},
		{"ada@shop.example_x", "<ada@shop.example>_x"},
		// URLs
		{"https://shop.example/?email=ada%40shop.example&q=1", "https://shop.example/?email=<ada@shop.example>&q=1"},
		{"https://shop.example/?email=Ada%2BNews%40Shop.example#x", "https://shop.example/?email=<ada+news@shop.example>#x"},
		{"/login?next=https%3A%2F%2Fshop.example%2F%3Femail%3Dada%252Bx%2540shop.example%26q%3D1", "/login?next=https%3A%2F%2Fshop.example%2F%3Femail%3D<ada+x@shop.example>%26q%3D1"},
		{"?q=mail+ada%40shop.example+now", "?q=mail+<ada@shop.example>+now"},
		{"?q=ada+l@shop.example", "?q=<ada+l@shop.example>"},
		{"?q=mail%20ada%40shop%2Eexample%20now&r=%", "?q=mail%20<ada@shop.example>%20now&r=%"},
		{"j%C3%B6rg%40b%C3%BCcher.de", "<jörg@bücher.de>"},
		{"?q=jos%E9.l%40shop.example", "?q=<jos\uFFFD.l@shop.example>"}, // Latin-1
		{"ada%25252540shop.example", "<ada@shop.example>"},
		{"https://ada:secret@shop.example/", "https://ada:<secret@shop.example>/"},
		{"mailto:ada@shop.example?subject=x", "mailto:<ada@shop.example>?subject=x"},
		// neither
		{"", ""},
		{"at 40% or 50%40 off, @ada, a @ b, ada@home", ""},
		{"https://shop.example/@ada.lovelace/x", ""},
		{"https://maps.example/@52.5200,13.4050,15z", ""},
		{"https://cdn.example/npm/react@18.2.0/umd/react.js", ""},
		{"https://cdn.example/img/logo@2x.png 3 @ 9.99, 3@9.99", ""},
		{"ada@", ""},
		{"@shop.example", ""},
		{"%40", ""},
		{"%4", ""},
		{"ada@.example ada@shop..", ""},
	} {
		got, found := WithoutAddresses(c.text, func(address string) string { return "<" + address + ">" })
		want := c.want
		if want == "" {
			want = c.text
		}
		if got != want || found != (c.want != "") {
			t.Errorf("%q becomes\n%q, %v, want\n%q", c.text, got, found, want)
		}
	}
}

// Wherever an address stands and however often the text was encoded, it is found as it is, and the rest stays.
func TestAddressesAreFoundAnywhere(t *testing.T) {
	around := rapid.StringMatching(`([a-z ]{0,5}[ /?&=<>,;:"()\[\]#]@?)?`)
	rapid.Check(t, func(t *rapid.T) {
		address := rapid.StringMatching(`[a-zé0-9]([a-z0-9._+'-]{0,6}[a-z0-9])?@([a-z0-9]{1,5}\.){1,2}(de|example|xn--p1ai)`).Draw(t, "address")
		before, after := around.Draw(t, "before"), rapid.StringMatching(`([ /?&=<>,;:"()\[\]#][a-z @]{0,5})?`).Draw(t, "after")
		text, want := before+address+after, before+"*"+after
		for range rapid.IntRange(0, 3).Draw(t, "encoded") {
			text, want = url.QueryEscape(text), strings.ReplaceAll(url.QueryEscape(want), "%2A", "*")
			want = strings.ReplaceAll(want, "%252A", "*")
		}
		var found []string
		got, _ := WithoutAddresses(text, func(address string) string {
			found = append(found, address)
			return "*"
		})
		if len(found) != 1 || found[0] != address || got != want {
			t.Fatalf("%q: found %q, left %q, want %q", text, found, got, want)
		}
	})
}

// A long text takes a time that grows with its length, whatever it repeats: were it the square, this test would not end.
func TestWithoutAddressesOfLongTexts(t *testing.T) {
	for _, part := range []string{"a", "@", "a@", "@a.", "%", "%25", "%40", "a.b@", "a@b.c", ".", "xn--"} {
		for _, text := range []string{strings.Repeat(part, 1<<19), strings.Repeat(part, 1<<19) + "@a.de", "a@" + strings.Repeat(part, 1<<19)} {
			WithoutAddresses(text, strings.ToUpper)
		}
	}
}
