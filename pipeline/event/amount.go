package event

// Amount is what an order or a refund comes to: its revenue, else its total, else what its products cost; nothing where
// none of them is readable. It may be negative, as refunds are often written.
func Amount(revenue, total, products Value) (sum Money) {
	for _, v := range [...]Value{revenue, total} {
		if amount, ok := v.Money(); ok {
			return amount
		}
	}
	for product := range products.Items {
		var price, quantity Value
		fields, _ := product.Object()
		fields.Visit(func(name []byte, v Value) {
			switch string(name) {
			case "price":
				price = v
			case "quantity":
				quantity = v
			}
		})
		if amount, ok := Cost(price, quantity); ok {
			sum = sum.Plus(amount)
		}
	}
	return sum
}

// Cost is what so many of a product cost altogether, one where no quantity is given; false where it can't be read.
func Cost(price, quantity Value) (Money, bool) {
	each, ok := price.Money()
	if !ok {
		return 0, false
	}
	if quantity.Null() {
		return each, true
	}
	many, ok := quantity.Money() // "how many", with the same four decimals
	return each.Times(many), ok
}

// Revenue is what the event says that it brought in, with its sign. Products tell of money only where they were bought or
// returned: lists and carts show them too.
func (e *Event) Revenue() Money {
	var revenue, total, products Value
	e.Properties.Visit(func(name []byte, v Value) { // of two with one name the last
		switch string(name) {
		case "revenue":
			revenue = v
		case "total":
			total = v
		case "products":
			products = v
		}
	})
	if e.Type != Track || e.Name != OrderCompleted && e.Name != OrderRefunded {
		products = Value{}
	}
	return Amount(revenue, total, products)
}
