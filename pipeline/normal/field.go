package normal

import "strings"

// Personal is the normal form of a personal field, by its name in the vault: addresses and phone numbers have one.
// False: text stays as it is.
func (f *Forms) Personal(field, text string) (normal string, ok bool) {
	switch {
	case strings.HasSuffix(field, "email"), strings.HasSuffix(field, "emailaddress"):
		return Email(text)
	case strings.HasSuffix(field, "phone"), strings.HasSuffix(field, "phonenumber"), strings.HasSuffix(field, "mobilenumber"):
		return f.Phone(text, "")
	}
	return text, false
}

// HasForm tells whether Plain knows the name: most have none, and need no look at their value.
func HasForm(name string) bool {
	switch name {
	case "country", "countryCode", "country_code", "locale", "language", "currency", "currencyCode", "currency_code":
		return true
	}
	return false
}

// Plain is the normal form of a field that isn't personal, by the name that the producer gave it: countries, locales
// and currencies have one. False: text stays as it is, perhaps because it is normal already.
func (f *Forms) Plain(name, text string) (normal string, ok bool) {
	switch name {
	case "country", "countryCode", "country_code":
		normal, ok = f.Country(text)
	case "locale", "language":
		normal, ok = Locale(text)
	case "currency", "currencyCode", "currency_code":
		normal, ok = Currency(text)
	}
	return normal, ok && normal != text
}
