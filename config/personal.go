package config

// personalFields are the fields of a customer that a mail's templates may show from the vault.
func personalFields() []string {
	return []string{
		"email", "phone", "first_name", "last_name", "name", "username", "address", "street", "street_2",
		"shipping_address", "billing_address", "postal_code", "birthday", "avatar",
	}
}
