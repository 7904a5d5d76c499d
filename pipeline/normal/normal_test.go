package normal

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// want "" stands for: no normal form, the text stays as it is.
func TestForms(t *testing.T) {
	german, none := New("Germany"), New("")
	phone := func(f *Forms, region string) func(string) (string, bool) {
		return func(s string) (string, bool) { return f.Phone(s, region) }
	}
	for _, c := range []struct {
		name string
		read func(string) (string, bool)
		text string
		want string
	}{
		{"email", Email, " Ada.L@Shop.Example\n", "ada.l@shop.example"},
		{"email", Email, "Ada Lovelace <Ada@shop.example>", "ada@shop.example"},
		{"email", Email, "MailTo:ADA+news@shop.example", "ada+news@shop.example"},
		{"email", Email, "JÖRG@BÜCHER.DE", "jörg@bücher.de"},
		{"email", Email, "ada.l@shop.example", "ada.l@shop.example"},
		{"email", Email, "ADA.L@SHOP.EXAMPLE", "ada.l@shop.example"},
		{"email", Email, "ada at shop.example", ""},
		{"email", Email, "@shop.example", ""},
		{"email", Email, "ada@", ""},
		{"email", Email, "a@b@c", ""},
		{"email", Email, "ada @shop.example", ""},
		{"email", Email, "", ""},

		{"phone with code", phone(none, ""), "+49 (0)30 / 123 456-78", "+493012345678"},
		{"phone with code", phone(none, ""), "tel:+1-541-754-3010", "+15417543010"},
		{"phone, international prefix", phone(german, ""), "0044 20 7946 0000", "+442079460000"},
		{"phone, national, region of New", phone(german, ""), "030 12345678", "+493012345678"},
		{"phone, national, region of the call", phone(german, "USA"), "(541) 754-3010", "+15417543010"},
		{"phone, region by another spelling", phone(none, "Royaume-Uni"), "020 7946 0000", "+442079460000"},
		{"phone, code without plus", phone(german, ""), "493012345678", "+493012345678"},
		{"phone, national, no region", phone(none, ""), "030 12345678", ""},
		{"phone, too short", phone(none, ""), "+49 1", ""},
		{"phone, extension", phone(none, ""), "+1 541 754 3010 ext. 7", ""},
		{"phone, words", phone(german, ""), "call me", ""},
		{"phone, endless", phone(german, ""), "+49" + strings.Repeat("1", 1<<20), ""},

		{"country", none.Country, "de", "DE"},
		{"country", none.Country, " DEU ", "DE"},
		{"country", none.Country, "276", "DE"},
		{"country", none.Country, "Germany", "DE"},
		{"country", none.Country, "DEUTSCHLAND", "DE"},
		{"country", none.Country, "uk", "GB"},
		{"country", none.Country, "U.S.A.", "US"},
		{"country", none.Country, "United States of America", "US"},
		{"country", none.Country, "côte d'ivoire", "CI"},
		{"country", none.Country, "Türkiye", "TR"},
		{"country", none.Country, "Eswatini", "SZ"},
		{"country", none.Country, "Europe", ""},
		{"country", none.Country, "EU", ""},
		{"country", none.Country, "ZZ", ""},
		{"country", none.Country, "001", ""},
		{"country", none.Country, "", ""},

		{"locale", Locale, "de-DE", "de-DE"},
		{"locale", Locale, "en", "en"},
		{"locale", Locale, "de_de", "de-DE"},
		{"locale", Locale, "EN-us", "en-US"},
		{"locale", Locale, "de_DE.UTF-8", "de-DE"},
		{"locale", Locale, "ca_ES@valencia", "ca-ES"},
		{"locale", Locale, "zh-hant-tw", "zh-Hant-TW"},
		{"locale", Locale, "en-UK", "en-GB"},
		{"locale", Locale, "iw-IL", "he-IL"},
		{"locale", Locale, "fr-CH, fr;q=0.9, en;q=0.8", "fr-CH"},
		{"locale", Locale, "german, please", ""},
		{"locale", Locale, "C", ""},
		{"locale", Locale, "und", ""},
		{"locale", Locale, "*", ""},
		{"locale", Locale, "", ""},

		{"currency", Currency, "eur", "EUR"},
		{"currency", Currency, " USD ", "USD"},
		{"currency", Currency, "€", ""},
		{"currency", Currency, "DEM", ""},
		{"currency", Currency, "", ""},
	} {
		got, ok := c.read(c.text)
		if !ok {
			got = ""
		}
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s of %.60q: %q, %v; want %q", c.name, c.text, got, ok, c.want)
		}
	}
}

// What a field's name leads to; HasForm names the same fields.
func TestFieldNames(t *testing.T) {
	f := New("DE")
	for name, want := range map[string]string{
		"email": "a@b.example", "customeremail": "a@b.example", "billingemailaddress": "a@b.example", "street": "",
	} {
		if got, ok := f.Personal(name, "A@b.example"); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{"phone", "workphone", "contactphonenumber", "mobilenumber"} {
		if got, ok := f.Personal(name, "030 12345678"); !ok || got != "+493012345678" {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	for name, text := range map[string]string{
		"country": "Germany", "countryCode": "deu", "country_code": "de", "locale": "de_DE", "language": "DE", "currency": "eur", "currencyCode": "eur", "currency_code": "eur",
		"plan": "de", "name": "Germany", "": "de",
	} {
		if _, ok := f.Plain(name, text); ok != HasForm(name) {
			t.Errorf("%s: %q has a form: %v, by its name: %v", name, text, ok, HasForm(name))
		}
	}
	if _, ok := f.Plain("country", "DE"); ok {
		t.Error("what is normal already is said to change")
	}
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		read         func(number, code string) (string, error)
		number, code string
		want, err    string
	}{
		{FromMinor, "1999", "EUR", "19.99", ""},
		{FromMinor, "-5", "usd", "-0.05", ""},
		{FromMinor, "1999", "JPY", "1999", ""},
		{FromMinor, "1999", "KWD", "1.999", ""},
		{FromMinor, "1999", "IQD", "1.999", ""}, // ISO has three decimals where CLDR has none
		{FromMinor, "12345", "CLF", "1.2345", ""},
		{FromMinor, "1e3", "EUR", "10.00", ""},
		{FromMinor, "19.99", "EUR", "", "minor units are whole numbers"},
		{FromMinor, "x", "EUR", "", "no amount"},
		{FromMinor, "1", "XYZ", "", "no currency in use"},
		{FromMinor, "1e999999999", "EUR", "", "no amount"},
		{FromMinor, strings.Repeat("9", 1000), "EUR", "", "no amount"},
		{Amount, "19.9", "EUR", "19.90", ""},
		{Amount, "0.125", "EUR", "0.13", ""},
		{Amount, "-0.125", "EUR", "-0.13", ""},
		{Amount, "1234.5", "JPY", "1235", ""},
		{Amount, "1.0005", "TND", "1.001", ""},
		{Amount, "19,90", "EUR", "", "no amount"},
		{Amount, "NaN", "EUR", "", "no amount"},
		{Amount, "", "EUR", "", "no amount"},
	} {
		got, err := c.read(c.number, c.code)
		if got != c.want || c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%.20q %s: %q, %v; want %q %q", c.number, c.code, got, err, c.want, c.err)
		}
	}
}

func TestTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"2026-05-01T12:00:00Z":            "2026-05-01T12:00:00Z",
		"2026-05-01T12:00:00.123456+02":   "",
		"20260501120000":                  "", // not the year 2612
		"202605011200":                    "",
		"2026-05-01T12:00:00.5+02:00":     "2026-05-01T10:00:00.5Z",
		"2026-05-01T12:00:00-0500":        "2026-05-01T17:00:00Z",
		"2026-05-01 12:00:00 +0200":       "2026-05-01T10:00:00Z",
		"2026-05-01 12:00:00 UTC":         "2026-05-01T12:00:00Z",
		"2026-05-01T12:00:00":             "2026-05-01T10:00:00Z",
		"2026-01-01 12:00":                "2026-01-01T11:00:00Z",
		"2026-05-01":                      "2026-04-30T22:00:00Z",
		"Fri, 01 May 2026 12:00:00 +0000": "2026-05-01T12:00:00Z",
		"Fri, 01 May 2026 12:00:00 GMT":   "2026-05-01T12:00:00Z",
		"Fri, 01 May 2026 12:00:00 PST":   "",
		"2026-05-01 12:00:00.5":           "2026-05-01T10:00:00.5Z",
		"1777636800":                      "2026-05-01T12:00:00Z",
		"1777636800.25":                   "2026-05-01T12:00:00.25Z",
		"1.7776368e9":                     "2026-05-01T12:00:00Z",
		"1777636800123":                   "2026-05-01T12:00:00.123Z",
		"1777636800123456":                "2026-05-01T12:00:00.123456Z",
		"1777636800123456789":             "2026-05-01T12:00:00.123456789Z",
		"04/05/2026":                      "",
		"20260501":                        "",
		"-1":                              "",
		"99999999999999999999":            "",
		"yesterday":                       "",
		"":                                "",
	} {
		got, err := Time(text, berlin)
		if shown := got.Format(time.RFC3339Nano); err == nil && shown != want || err != nil && want != "" {
			t.Errorf("%q: %s, %v; want %q", text, shown, err, want)
		}
	}
	if got, err := Time("2026-05-01 12:00:00", nil); err != nil || got != time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) {
		t.Errorf("without a zone: %s, %v", got, err)
	}
}

// A normal form is its own normal form.
func TestNormalFormsStay(t *testing.T) {
	f := New("DE")
	reads := map[string]func(string) (string, bool){
		"email": Email, "locale": Locale, "currency": Currency, "country": f.Country,
		"phone": func(s string) (string, bool) { return f.Phone(s, "") },
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`[A-Za-zé.+]{1,8}@[A-Za-z]{1,8}\.[a-z]{2,3}`),
			rapid.StringMatching(`\+?[0-9 ()-]{3,20}`), rapid.StringMatching(`[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?`), rapid.String(),
		).Draw(t, "text")
		for name, read := range reads {
			once, ok := read(text)
			if !ok {
				if once != text && name != "country" {
					t.Fatalf("%s: %q was not read and became %q", name, text, once)
				}
				continue
			}
			if twice, ok := read(once); !ok || twice != once {
				t.Fatalf("%s: %q becomes %q, and that %q, %v", name, text, once, twice, ok)
			}
		}
	})
}

func FuzzForms(f *testing.F) {
	for _, s := range []string{"Ada <a@b.c>", "+49 30 123", "tel:+1;ext=5;phone-context=x", "de_DE", "1e999", "2026-05-01", "\xff", "x-private-1-2-3"} {
		f.Add(s, "EUR")
	}
	forms := New("DE")
	f.Fuzz(func(t *testing.T, s, code string) {
		Email(s)
		WithoutAddresses(s, strings.ToUpper)
		Locale(s)
		forms.Country(s)
		forms.Phone(s, code)
		_, _ = Time(s, nil)
		if text, err := FromMinor(s, code); err == nil && len(text) > 100 {
			t.Errorf("%q of %q becomes %d bytes", s, code, len(text))
		}
		if text, err := Amount(s, code); err == nil && len(text) > 100 {
			t.Errorf("%q of %q becomes %d bytes", s, code, len(text))
		}
	})
}

func BenchmarkForms(b *testing.B) {
	f := New("DE")
	for name, read := range map[string]func(){
		"email":         func() { Email("Ada@shop.example") },
		"phone":         func() { f.Phone("030 12345678", "") },
		"locale":        func() { Locale("de-DE") },
		"locale_parsed": func() { Locale("de_DE") },
		"country":       func() { f.Country("Germany") },
		"currency":      func() { Currency("EUR") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
	}
}

func TestIsAddress(t *testing.T) {
	for text, want := range map[string]bool{
		"ada@shop.example": true, " Ada.L+news@SHOP.example ": true, "Ada <ada@shop.example>": true, "mailto:ada@shop.example": true, "jörg@bücher.de": true,
		"": false, "@ada": false, "ada@home": false, "ada@shop.": false, "3@9.99": false, "pkg@1.2.3": false, "2 @ 3.x": false, "write to ada@shop.example": false,
		"ada@xn--bcher-kva.xn--p1ai": true, "ada@bücher.рф": true, "logo@2x.png": false, "ada@shop.example.PDF": false, "ada@shop.c0m": false, "ada@shop.examplé": false,
		"https://ada@shop.example": false, "/u/ada@shop.example": false, "email=ada@shop.example": false, "https://shop.example/@ada.lovelace": false, "ada@shop.example/x.y": false, "a@b@shop.example": false, "ada@.x": false,
	} {
		if got := IsAddress(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
