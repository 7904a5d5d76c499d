package vault

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Names knows which fields are personal by their name: the one list for what is kept apart and for what tests of
// a workspace take to be. It never changes and is safe for concurrent use.
type Names struct {
	fields  map[string]string // by plain name, the field's name in the vault
	endings []string          // personal also at the end of a longer name, which is then the field's own
	open    map[string]bool   // by plain name: not personal, whatever it ends in
	own     map[string]bool   // those of them that the installation declared
	strict  bool
}

// Declared is what an installation says of its fields, beside the default list. Names are compared without case,
// underscores, hyphens and spaces, wherever the field stands.
type Declared struct {
	// Personal fields go into the vault as well.
	Personal []string
	// Open fields are not personal, whatever they end in and whatever text they hold; their members are judged by their
	// own names.
	Open []string
	// Strict lets nothing on that is neither personal nor open.
	Strict bool
}

// Validate reports what is wrong with the declaration: personal and open give each entry's place.
func (d Declared) Validate(personal, open string) []error {
	var errs []error
	standard := NewNames(Declared{})
	declared := map[string]bool{}
	for i, name := range d.Personal {
		field := fmt.Sprintf("%s[%d]", personal, i)
		if !isName(name) {
			errs = append(errs, fmt.Errorf("%s: %q is no field's name; write it as producers do, without dots, such as loyalty_card", field, name))
		}
		declared[plain(name)] = true
	}
	for i, name := range d.Open {
		field := fmt.Sprintf("%s[%d]", open, i)
		_, known := standard.fields[plain(name)]
		switch {
		case !isName(name):
			errs = append(errs, fmt.Errorf("%s: %q is no field's name; write it as producers do, without dots, such as category", field, name))
		case declared[plain(name)]:
			errs = append(errs, fmt.Errorf("%s: %q is in %s too; decide for one", field, name, personal))
		case known:
			errs = append(errs, fmt.Errorf("%s: %q is personal in every installation; let producers send what is not personal under another name", field, name))
		}
	}
	return errs
}

func isName(name string) bool {
	return plain(name) != "" && !strings.Contains(name, ".") && len(name) <= 100
}

// NewNames is the default list with what an installation has declared.
func NewNames(d Declared) *Names {
	n := &Names{
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
			"ip": "ip", "ipaddress": "ip", "clientip": "ip", "customerip": "ip", "userip": "ip", "remoteip": "ip", "browserip": "ip",
			"remoteaddr": "ip", "ssn": "ssn", "passport": "passport", "iban": "iban", "avatar": "avatar",
		},
		endings: []string{ // customer_email, shippingFirstName, contact-phone
			"email", "emailaddress", "phone", "phonenumber", "phoneno", "mobilenumber", "mobileno", "firstname", "middlename", "lastname",
			"fullname", "surname", "customername", "contactname", "recipientname", "streetaddress", "shippingaddress", "billingaddress", "postcode", "postalcode", "zipcode", "birthday", "birthdate", "ipaddress",
		},
		open: map[string]bool{}, own: map[string]bool{}, strict: d.Strict,
	}
	for _, name := range d.Personal {
		if _, known := n.fields[plain(name)]; !known {
			n.fields[plain(name)] = name
		}
	}
	for _, name := range slices.Concat(ecommerce(), d.Open) {
		n.open[plain(name)] = true
	}
	for _, name := range d.Open {
		n.own[plain(name)] = true
	}
	return n
}

// ecommerce are the fields of Segment's ecommerce spec, of its campaigns and of consent that hold no free text and no
// address of a page: what is open without being declared.
func ecommerce() []string {
	return strings.Fields(`
		products product_id sku name brand category variant price quantity position coupon value
		cart_id checkout_id order_id affiliation subtotal total revenue shipping tax discount currency
		list_id promotion_id creative step shipping_method payment_method rating
		campaign source medium term content channel country locale timezone`)
}

// Plain lists the names that are personal by themselves, in their plain spelling, sorted.
func (n *Names) Plain() []string { return slices.Sorted(maps.Keys(n.fields)) }

// Personal tells whether a field of this name is personal, and what the vault calls it. In traits and in an object that
// is a person, name is theirs; elsewhere it is a product's or a page's. Of a name with dots, which rules read as a path,
// the last part counts.
func (n *Names) Personal(name string, person bool) (field string, ok bool) {
	if within, last := cut(name); within != "" {
		name, person = last, IsPerson(within)
	}
	plain := plain(name)
	if plain == "name" && person {
		return "name", true
	}
	if field, ok = n.fields[plain]; ok {
		return field, true
	}
	for _, ending := range n.endings {
		if strings.HasSuffix(plain, ending) && !n.open[plain] {
			return plain, true
		}
	}
	return "", false
}

// IsPerson tells whether an object of this name, or those in a list of this name, are people.
func IsPerson(name string) bool {
	_, name = cut(name)
	switch strings.TrimSuffix(plain(name), "s") {
	case "customer", "user", "buyer", "shopper", "member", "subscriber", "contact", "recipient", "consignee", "guest", "person", "people":
		return true
	}
	return false
}

// cut takes the last part off a name with dots.
func cut(name string) (within, last string) {
	dot := strings.LastIndexByte(name, '.')
	return name[:max(0, dot)], name[dot+1:]
}

// Open tells whether the installation declared that a field of this name holds nothing personal.
func (n *Names) Open(name string) bool { return n.own[plain(name)] }

// Withheld tells whether a field stays behind, its name included: only what is declared may go on, and it is not.
func (n *Names) Withheld(name string) bool {
	if !n.strict {
		return false
	}
	name = plain(name)
	_, personal := n.fields[name]
	return !personal && !n.open[name]
}

// plain is a name without case, underscores, hyphens and spaces.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == ' ':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
}
