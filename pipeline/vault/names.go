package vault

import (
	"maps"
	"slices"
	"strings"
)

// Names knows which fields are personal by their name: the one list for what is kept apart and for what tests of
// a workspace take to be. It never changes and is safe for concurrent use.
type Names struct {
	fields  map[string]string // by plain name, the field's name in the vault
	endings []string          // personal also at the end of a longer name, which is then the field's own
}

// NewNames is the default list. Names are compared without case, underscores, hyphens and spaces.
func NewNames() *Names {
	return &Names{
		fields: map[string]string{
			"email": "email", "emails": "emails", "emailaddress": "email", "mail": "email",
			"phone": "phone", "phonenumber": "phone", "mobile": "phone", "telephone": "phone",
			"firstname": "first_name", "givenname": "first_name",
			"lastname": "last_name", "surname": "last_name", "familyname": "last_name",
			"fullname": "name", "customername": "name", "username": "username",
			"address": "address", "street": "street", "streetaddress": "street", "address1": "street", "address2": "street_2",
			"shippingaddress": "shipping_address", "billingaddress": "billing_address",
			"postcode": "postal_code", "postalcode": "postal_code", "zip": "postal_code", "zipcode": "postal_code",
			"birthday": "birthday", "birthdate": "birthday", "dateofbirth": "birthday", "dob": "birthday",
			"ip": "ip", "ipaddress": "ip", "ssn": "ssn", "passport": "passport", "iban": "iban", "avatar": "avatar",
		},
		endings: []string{ // customer_email, shippingFirstName, contact-phone
			"email", "emailaddress", "phone", "phonenumber", "mobilenumber", "firstname", "lastname", "fullname", "surname",
			"recipientname", "streetaddress", "shippingaddress", "billingaddress", "postcode", "postalcode", "zipcode", "birthday", "birthdate", "ipaddress",
		},
	}
}

// Plain lists the names that are personal by themselves, in their plain spelling, sorted.
func (n *Names) Plain() []string { return slices.Sorted(maps.Keys(n.fields)) }

// Personal tells whether a field of this name is personal, and what the vault calls it. In traits, name is the
// customer's; elsewhere it is a product's or a page's. Of a name with dots, which rules read as a path, the last
// part counts.
func (n *Names) Personal(name string, traits bool) (field string, ok bool) {
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		name, traits = name[dot+1:], false
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == ' ':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
	if plain == "name" && traits {
		return "name", true
	}
	if field, ok = n.fields[plain]; ok {
		return field, true
	}
	for _, ending := range n.endings {
		if strings.HasSuffix(plain, ending) {
			return plain, true
		}
	}
	return "", false
}
