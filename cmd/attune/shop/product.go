package shop

import "fmt"

// cents is an amount in pence: sums are exact. In JSON it is a number with two decimals.
type cents int64

func (c cents) String() string { return fmt.Sprintf("%d.%02d", c/100, c%100) }

// MarshalJSON writes 59.90, not 59.9.
func (c cents) MarshalJSON() ([]byte, error) { return []byte(c.String()), nil }

const currency = "GBP"

// product is one thing that the shop sells.
type product struct {
	ID       string `json:"product_id"`
	Name     string `json:"name"`
	Category string `json:"category"`
	Brand    string `json:"brand"`
	Price    cents  `json:"price"`
}

// catalogue is what the shop sells, by category. Prices are those of a mid-range shop, in pence.
func catalogue() map[string][]product {
	shelf := func(category string, products ...product) []product {
		for i := range products {
			products[i].Category = category
		}
		return products
	}
	return map[string][]product{
		"sneakers": shelf("sneakers",
			product{ID: "sku-42", Name: "Court Classic", Brand: "Northlane", Price: 8995},
			product{ID: "sku-43", Name: "Harbour Runner", Brand: "Northlane", Price: 11000},
			product{ID: "sku-44", Name: "Trail Fox", Brand: "Fellmark", Price: 12950},
			product{ID: "sku-45", Name: "Canvas Low", Brand: "Pier 9", Price: 4499},
			product{ID: "sku-46", Name: "City Knit", Brand: "Pier 9", Price: 7250},
			product{ID: "sku-47", Name: "Retro 84", Brand: "Oxbow", Price: 9500}),
		"boots": shelf("boots",
			product{ID: "sku-51", Name: "Chelsea Boot", Brand: "Hartwell", Price: 14900},
			product{ID: "sku-52", Name: "Moor Hiker", Brand: "Fellmark", Price: 16450},
			product{ID: "sku-53", Name: "Desert Boot", Brand: "Hartwell", Price: 9900},
			product{ID: "sku-54", Name: "Rain Boot", Brand: "Pier 9", Price: 3999},
			product{ID: "sku-55", Name: "Winter Lace-up", Brand: "Fellmark", Price: 17999}),
		"sandals": shelf("sandals",
			product{ID: "sku-61", Name: "Cork Slide", Brand: "Sunday", Price: 5995},
			product{ID: "sku-62", Name: "Beach Strap", Brand: "Sunday", Price: 2499},
			product{ID: "sku-63", Name: "River Sandal", Brand: "Fellmark", Price: 6750}),
		"bags": shelf("bags",
			product{ID: "sku-71", Name: "Canvas Tote", Brand: "Oxbow", Price: 2995},
			product{ID: "sku-72", Name: "Leather Satchel", Brand: "Hartwell", Price: 18900},
			product{ID: "sku-73", Name: "Roll-top Backpack", Brand: "Northlane", Price: 9450},
			product{ID: "sku-74", Name: "Weekender", Brand: "Hartwell", Price: 22500},
			product{ID: "sku-75", Name: "Belt Bag", Brand: "Pier 9", Price: 3450}),
		"jackets": shelf("jackets",
			product{ID: "sku-81", Name: "Waxed Jacket", Brand: "Hartwell", Price: 19900},
			product{ID: "sku-82", Name: "Shell Anorak", Brand: "Fellmark", Price: 15950},
			product{ID: "sku-83", Name: "Quilted Gilet", Brand: "Oxbow", Price: 7999}),
		"accessories": shelf("accessories",
			product{ID: "sku-91", Name: "Merino Socks", Brand: "Fellmark", Price: 1450},
			product{ID: "sku-92", Name: "Wool Beanie", Brand: "Northlane", Price: 2200},
			product{ID: "sku-93", Name: "Shoe Care Kit", Brand: "Hartwell", Price: 1899},
			product{ID: "sku-94", Name: "Leather Belt", Brand: "Hartwell", Price: 4500}),
	}
}

// categories are the catalogue's, in the order of how well they sell: what stands twice is looked at twice as often.
func categories() []string {
	return []string{"sneakers", "sneakers", "sneakers", "boots", "boots", "bags", "bags", "jackets", "sandals", "accessories"}
}

func firstNames() []string {
	return []string{
		"Maja", "Tomasz", "Aisha", "Oliver", "Ingrid", "Kwame", "Sofia", "Liam", "Priya", "Mateo", "Hannah", "Yusuf",
		"Chloe", "Dmitri", "Amara", "Noah", "Elena", "Rhys", "Mei", "Lucas", "Freya", "Samir", "Nadia", "Jack",
		"Zofia", "Callum", "Leila", "Hugo", "Grace", "Ravi", "Astrid", "Ben", "Carmen", "Femi", "Isla", "Kenji",
	}
}

func lastNames() []string {
	return []string{
		"Lindqvist", "Nowak", "Okafor", "Hughes", "Berg", "Mensah", "Rossi", "Murphy", "Sharma", "Garcia", "Fischer",
		"Demir", "Martin", "Ivanov", "Eze", "Walker", "Popescu", "Evans", "Chen", "Silva", "Larsen", "Haddad", "Petrova",
		"Wilson", "Kaminski", "Fraser", "Karimi", "Dubois", "Thompson", "Patel", "Holm", "Clarke", "Ortega", "Adeyemi",
	}
}
