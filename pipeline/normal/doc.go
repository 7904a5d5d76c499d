// Package normal gives one form to values that producers write in many: e-mail addresses, phone numbers,
// countries, locales, currencies, amounts and times. It is pure: no I/O and no clock.
//
//	value      normal form                                    read as well
//	e-mail     trimmed, lower case                            "Ada <Ada@Shop.example>", mailto:
//	phone      E.164, such as +493012345678                   national numbers, where a region is given
//	country    ISO 3166-1 alpha-2, such as DE                 alpha-3, UN M.49, names in eight languages
//	locale     BCP 47, such as de-DE                          de_DE.UTF-8, Accept-Language
//	currency   ISO 4217, such as EUR                          lower case
//	amount     decimal text in main units, such as 19.99      minor units, by ISO 4217's decimals
//	time       an instant                                     RFC 3339, its kin without zone, Unix s, ms, µs, ns
//
// What can't be read for certain stays as the producer wrote it: a wrong guess would merge two customers, an
// unknown form only keeps them apart. The local part of an address is folded too, against the letter of
// RFC 5321, since no provider of note tells A@x from a@x and producers write both.
//
// Inside longer texts and URLs, WithoutAddresses finds addresses.
package normal
