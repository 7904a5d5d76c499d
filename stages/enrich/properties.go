package enrich

import "attune/pipeline/event"

// properties are an event's that are looked at, or those of one product in an order, read in one pass.
type properties struct {
	revenue, total, value, price, quantity, products, productID, sku, category, brand, currency, discount, coupon event.Value
}

func read(o event.Object) (p properties) {
	o.Visit(func(name []byte, v event.Value) { // of two with one name the last
		switch string(name) {
		case "revenue":
			p.revenue = v
		case "total":
			p.total = v
		case "value":
			p.value = v
		case "price":
			p.price = v
		case "quantity":
			p.quantity = v
		case "products":
			p.products = v
		case "product_id":
			p.productID = v
		case "sku":
			p.sku = v
		case "category":
			p.category = v
		case "brand":
			p.brand = v
		case "currency":
			p.currency = v
		case "discount":
			p.discount = v
		case "coupon":
			p.coupon = v
		}
	})
	return p
}

// amount is the exact amount of an order or refund; nothing where there is no readable one.
func (p *properties) amount() event.Money { return event.Amount(p.revenue, p.total, p.products) }

// worth is what any other event says that it is about: nothing, where it says nothing readable.
func (p *properties) worth() event.Money {
	for _, v := range [...]event.Value{p.revenue, p.total, p.value} {
		if amount, ok := v.Money(); ok {
			return max(amount, 0)
		}
	}
	amount, _ := event.Cost(p.price, p.quantity)
	return max(amount, 0)
}

// product is the id of the product that an event is about; empty: it names none.
func (p *properties) product() []byte {
	if id := content(p.productID); len(id) > 0 {
		return id
	}
	return content(p.sku)
}

// discounted tells whether an order was made at a discount: it, or one of its products, has a coupon or a discount.
func (p *properties) discounted() bool {
	if p.reduced() {
		return true
	}
	for product := range p.products.Items {
		fields, _ := product.Object()
		if line := read(fields); line.reduced() {
			return true
		}
	}
	return false
}

func (p *properties) reduced() bool {
	off, _ := p.discount.Money()
	return off > 0 || len(content(p.coupon)) > 0
}

// content is a text's own bytes, or a number's; nothing for whatever else there may be. They are not to be kept.
func content(v event.Value) []byte {
	raw := v.Raw()
	if len(raw) == 0 {
		return nil
	}
	switch c := raw[0]; {
	case c == '"':
		if text, ok := v.Plain(); ok {
			return text
		}
		text, _ := v.Text()
		return []byte(text)
	case c == '-' || c >= '0' && c <= '9':
		return raw
	}
	return nil
}
